"""Tables: what the configuration holds, and the rules of keys that no class of ours takes."""

from dataclasses import replace
from typing import Any

from seqpipe.bounds import CHECKPOINT_EVERY, MONITOR_OR_AUTO, SEED, THREADS
from seqpipe.rules import (
    Rule,
    choice,
    either,
    flag,
    list_of,
    null,
    real,
    text,
    whole,
)

PANEL = (
    *("seed", "folds", "fold", "hidden_size", "match_parameters", "match_parameters_count"),
    *("depth", "bidirectional", "dropout"),
    *("input_dropout", "output_dropout", "locked_dropout"),
    *("activation_penalty", "temporal_activation_penalty"),
    *("weight_noise", "init_range", "freeze", "resume", "preflight", "baselines"),
)
OF_SWEEPS = ("workers", "skip_done")  # keys of the panel about how the jobs of a sweep are started
GROUPS = (
    *("data", "architecture", "task", "cell", "optim", "scheduler"),
    *("averaging", "trainer", "callbacks", "logger", "diagnostics"),
)
# Keys of earlier versions that are commands now.
FORMER_KEYS = {
    "describe": "python -m seqpipe describe, with the same keys",
    "replay": "python -m seqpipe replay file=..., with the same keys",
}
# Keys that some options of their group do not have, with the reason.
OF_OTHER_OPTIONS = {
    "logger.system_metrics": (
        "this logger does not record them; allowed: leave it out, or logger=mlflow or logger=csv"
    ),
}
# Keys that records of older versions lack, with the values for which they did the same.
ADDED: dict[str, Any] = {
    **{"input_dropout": 0.0, "output_dropout": None, "locked_dropout": False},
    **{"activation_penalty": 0.0, "temporal_activation_penalty": 0.0},
    "weight_noise": 0.0,
    **{"match_parameters": None, "match_parameters_count": "recurrent"},
    "init_range": None,
    "freeze": [],
    "averaging": {"_target_": None},
    "folds": None,
    "fold": None,
    "baselines": False,
}
FOLDS = ("folds", "fold")  # keys of the panel and of data that may be missing, which is null
CAN_BE_NONE = ("cell", "averaging")  # groups whose option `none` makes nothing
MAY_BE_NULL = ("experiment", "sweep", "launcher")  # groups without a node of their own
DATA_TARGET = "seqpipe.data.dataset.SequenceData"  # what takes the data node

# Parameters that only the run can know: in YAML they would be accepted and then replaced.
GIVEN_BY_THE_RUN: dict[str, tuple[str, ...]] = {
    "data": ("recipe", "show_progress", "fitted", "only", "check"),
    "cell": ("input_size", "hidden_size"),
    "architecture": (
        *("x_kind", "x_size", "x_characters", "x_vectors", "longest_x"),
        *("y_kind", "y_size", "y_vectors"),
        *("input_size", "output_size", "bos", "eos"),
    ),
    "task": ("y", "longest_y", "crf"),
    "optim": ("params",),
    "scheduler": ("optimizer", "total_steps", "monitor", "mode"),
    "trainer": (
        *("callbacks", "logger", "default_root_dir"),
        *("use_distributed_sampler", "enable_model_summary", "enable_checkpointing"),
    ),
    "callbacks": ("dirpath",),
    "logger": ("root", "output_dir"),
}

# Of those, what each class or function at a key must take, and one that does.
PASSED_BY_THE_RUN: dict[str, tuple[tuple[str, ...], str]] = {
    "cell": (("input_size", "hidden_size"), "seqpipe.nn.cells.LSTM"),
    "architecture.encoder": (("input_size",), "seqpipe.nn.recurrent.RecurrentStack"),
    "architecture.decoder": (("input_size",), "seqpipe.nn.recurrent.RecurrentStack"),
    "architecture.head": (("input_size", "output_size"), "seqpipe.nn.head.Head"),
    "task": (("y",), "seqpipe.tasks.classification.Classification"),
    "scheduler": (("total_steps", "monitor", "mode"), "seqpipe.training.schedules.cosine"),
    "logger": (("root", "output_dir"), "seqpipe.tracking.csv.CsvTracker"),
}

# Groups whose options get their remaining arguments once the data is read.
COMPLETED_BY_THE_RUN = ("cell", "architecture", "task", "optim", "scheduler", "logger")

# Keys that the run reads itself: an option of the user's own must have them too.
READ_BY_THE_RUN: dict[str, tuple[str, ...]] = {
    "data": (
        *("x", "batch_size", "batch_tokens", "num_workers", "seed"),
        *("window", "eval_window", "bptt"),
        *("max_length", "longer", "keep", "folds", "fold", "on_error", "cache"),
    ),
    "task": ("monitor", "mode"),
    "trainer": (
        *("max_epochs", "max_steps", "overfit_batches"),
        *("limit_test_batches", "enable_progress_bar", "max_bad_steps"),
    ),
}

# Of those, what the run keeps to itself: no arguments of what the node is built into.
TAKEN_BY_THE_RUN: dict[str, tuple[str, ...]] = {
    "trainer": ("checkpoint_every", "max_bad_steps", "threads", "process_timeout"),
    "optim": ("weight_decay_on",),
}

_PART = text(r"[^.\s]+(\.[^.\s]+)*", "a part of the model, as encoder or layers.0")
PARTS = replace(either(list_of(_PART), _PART), allowed="parts of the model, as [input,layers.0]")
BATCHES = either(whole(1), real("(0, 1]"), null())

# Values that no constructor of ours takes; those that one does are in its annotations. The first
# pattern that fits a dotted key decides; a star fits any part, dots included.
RULES: dict[str, Rule] = {
    "seed": SEED,
    "workers": either(whole(1), null()),
    "skip_done": flag(),
    "match_parameters": either(whole(1), null()),
    "match_parameters_count": choice("recurrent", "all"),
    "weight_noise": real("[0, inf)"),
    "init_range": either(real("(0, inf)"), null()),
    "freeze": PARTS,
    "preflight": choice("quick", "full", "none"),
    "baselines": flag(),
    "bidirectional": either(flag(), choice("auto")),  # written as true or false where composed
    "resume": either(text(allowed="a checkpoint file"), null()),
    "data.path": either(
        text(r".+", "a folder or file"), list_of(text(allowed="a folder or file")), null()
    ),
    "data.*.replace.*.*": text(),
    "data.*.columns.*": either(whole(), text(r".+", "a column of the record")),
    "data.*.features.*": either(text(allowed="a class"), null()),
    "optim.lr": real("(0, inf)"),
    "optim.weight_decay": real("[0, inf)"),
    "optim.weight_decay_on": choice("matrices", "all"),
    "optim.momentum": real("[0, 1)"),
    "optim.alpha": real("[0, 1)"),
    "optim.betas": list_of(real("[0, 1)"), length=2),
    "optim.eps": real("(0, inf)"),
    "optim.nesterov": flag(),
    "optim.amsgrad": flag(),
    "callbacks.*.patience": whole(0),
    "callbacks.*.monitor": MONITOR_OR_AUTO,
    "callbacks.*.mode": choice("min", "max"),
    "callbacks.*.min_delta": real("[0, inf)"),
    "callbacks.*.check_on_train_epoch_end": Rule(
        "false, as an epoch may end without a validation",
        lambda value: isinstance(value, bool),
        lambda value: value is False,
    ),
    "trainer.accelerator": choice("auto", "cpu", "gpu", "cuda", "mps", "tpu"),
    "trainer.devices": either(
        whole(1), choice("auto", -1), list_of(whole(0)), text(r"-1|\d+(,\d+)*", "device numbers")
    ),
    "trainer.num_nodes": whole(1),
    "trainer.strategy": text(r".+", "a strategy"),  # which: see compatibility
    "trainer.precision": choice(32, "bf16-mixed", "16-mixed", 64, "32-true", "64-true", "32", "64"),
    "trainer.max_epochs": either(whole(1), choice(-1)),
    "trainer.min_epochs": either(whole(1), null()),
    "trainer.max_steps": either(whole(1), choice(-1)),
    "trainer.min_steps": either(whole(1), null()),
    "trainer.max_time": either(
        text(r"(?!0+:00:00:00)\d+:\d\d:\d\d:\d\d", "DD:HH:MM:SS, a second or more"), null()
    ),
    "trainer.gradient_clip_val": either(real("(0, inf)"), null()),
    "trainer.gradient_clip_algorithm": choice("norm", "value"),
    "trainer.accumulate_grad_batches": whole(1),
    "trainer.check_val_every_n_epoch": whole(1),
    "trainer.val_check_interval": either(whole(1), real("(0, 1]")),
    "trainer.log_every_n_steps": whole(1),
    "trainer.limit_*_batches": BATCHES,
    "trainer.overfit_batches": either(whole(0), real("[0, 1]")),
    "trainer.num_sanity_val_steps": whole(-1),
    "trainer.deterministic": either(flag(), choice("warn")),
    "trainer.detect_anomaly": flag(),
    "trainer.max_bad_steps": whole(0),
    "trainer.checkpoint_every": CHECKPOINT_EVERY,
    "trainer.process_timeout": whole(1, 604_800),  # a week
    "trainer.threads": either(THREADS, choice("auto")),
    "trainer.enable_*": flag(),
}
