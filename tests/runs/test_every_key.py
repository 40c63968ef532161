"""Every key that an option writes has an effect: another value changes something.

The keys are those of composed configurations, not a list. Of each, values that its rule allows are
tried until one changes the data's batches, the model's weights or outputs, the loss or what is
decoded, three updates and forty learning rates, or what the trainer, its callbacks and the records
are made with.
"""

import functools
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from seqpipe.build import (
    build_data,
    build_model,
    build_module,
    build_task,
    instantiate,
)
from seqpipe.checks import build_checked_trainer
from seqpipe.config.compose import compose
from seqpipe.config.config_view import Tree
from seqpipe.diagnostics.settings import Settings
from seqpipe.runs.observers import build_observers, check_diagnostics
from seqpipe.tracking.base import NoTracker

TINY = ("hidden_size=4", "data.cache=null", "trainer.accelerator=cpu", "data.batch_size=4")
ADDING = (
    *("data=adding", "data.length=6", "data.source.train=24", "data.source.valid=8"),
    "data.source.test=8",
)
DATES = ("data=dates", "data.source.train=24", "data.source.valid=8", "data.source.test=8")
COPY = ("data=copy_memory", "data.length=4", *ADDING[2:])
WORDS = ("data.x.by=words", "data.y.by=words")
CASES = {
    **{f"cell={cell}": (*ADDING, f"cell={cell}") for cell in ("rnn", "gru", "gru_simplified")},
    **{f"cell={cell}": (*ADDING, f"cell={cell}") for cell in ("lstm", "lstm_peephole")},
    **{f"optim={name}": (*ADDING, f"optim={name}") for name in ("sgd", "adam", "adamw", "rmsprop")},
    **{f"scheduler={s}": (*ADDING, f"scheduler={s}") for s in ("step", "cosine", "plateau")},
    **{f"scheduler={s}": (*ADDING, f"scheduler={s}") for s in ("none", "decay", "warmup_cosine")},
    "averaging=ema": (*ADDING, "averaging=ema"),
    "averaging=asgd": (*ADDING, "averaging=asgd"),
    **{
        f"decay={name}": (
            *(*DATES, f"architecture.teacher_forcing_decay={name}"),
            "architecture.teacher_forcing=0.5",
        )
        for name in ("linear", "exponential", "inverse_sigmoid")
    },
    "digits": ("data=digits",),
    "digits_flat": ("data=digits_flat", "architecture.head.hidden=[4]"),
    "ordinal": (
        *("data=table", "data.path={folder}/table.csv", "task=ordinal"),
        "data.y._target_=seqpipe.data.fields.labels.Ordinal",
    ),
    "copy_memory": COPY,
    "dates": DATES,
    "beam": (*DATES, "task.decoding=beam"),
    "table": ("data=table", "data.path={folder}/table.csv"),
    "conll": ("data=conll", "data.path={folder}/tags.conll"),
    "crf": ("data=conll", "data.path={folder}/tags.conll", "architecture.head=crf"),
    "pairs": ("data=pairs", "data.path={folder}/pairs.tsv", *WORDS),
    "transcription": (
        *("data=pairs", "data.path={folder}/pairs.tsv", *WORDS),
        *("architecture=many_to_many", "task=transcription"),
    ),
    "lines": ("data=lines", "data.path={folder}/lines.txt"),
}

# key, or its end -> why another value need not change anything that is compared here
EXEMPT = {
    "task.positive": "the cases have more than two classes; tests/tasks/test_class_scores.py",
    "task.spans": "the tags mark spans of their own; tests/tasks/test_entities.py",
    "task.background": "belongs to task.spans=runs; tests/tasks/test_entities.py",
    "task.bleu_lowercase": "belongs to task.bleu=...; tests/tasks/test_text_metrics.py",
    "callbacks.early_stopping.check_on_train_epoch_end": "only false is allowed",
    "trainer.strategy": "of several processes; tests/runs/test_processes.py",
    "trainer.process_timeout": "of several processes; tests/runs/test_processes.py",
    "resume": "names a checkpoint; tests/runs/test_resume.py",
    "folds": "acts together with a fold; tests/data/test_folds.py",
    "fold": "acts together with folds; tests/data/test_folds.py",
    "data.folds": "acts together with a fold; tests/data/test_folds.py",
    "data.fold": "acts together with folds; tests/data/test_folds.py",
    "baselines": "measures beside the training; tests/runs/test_baselines.py",
    "architecture.coverage_penalty": "acts with coverage=true; tests/models/test_coverage.py",
    "architecture.keys": "of piano rolls; tests/models/test_notes_in_order.py",
    "preflight": "chooses which checks run; tests/runs/test_preflight.py",
    "data.x": "null where nothing is read; a field is walked where there is one",
    "match_parameters": "replaces hidden_size; tests/runs/test_matched_size.py",
    "match_parameters_count": "acts with match_parameters; tests/runs/test_matched_size.py",
    "trainer.accelerator": "other hardware, where the machine has it",
    "data.cache": "where prepared data is kept; tests/data/test_cache.py",
    "data.num_workers": "the same batches from other processes; tests/data/test_batching.py",
    "data.on_error": "acts on bad records only; tests/data/test_tables.py",
    "data.path": "names the data itself",
    "data.keep": "acts where a sequence is longer than data.max_length",
    "data.longer": "acts where a sequence is longer than data.max_length",
    "data.eval_window": "needs a text that is cut; tests/data/test_dataset.py",
    "data.source.path": "names the data itself",
    "data.source.encoding": "the sample files are ASCII; tests/data/test_tables.py",
    "data.source.quote": "the sample files hold no quotes; tests/data/test_tables.py",
    "data.source.strip": "the sample files hold no white space to strip; tests/data/test_tables.py",
    "data.source.columns": "which columns are read; those of x and y always are",
    "data.source.blank": "the sample files hold no blank line; tests/data/test_line_sources.py",
    "data.source.comment": "the sample files hold no comment; tests/data/test_conll.py",
    "data.source.invalid": "the sample files hold no broken tag; tests/data/test_conll.py",
    "data.source.scheme": "`auto` finds what another value says; tests/data/test_conll.py",
    "data.source.spans": "names a column; tests/data/test_conll.py",
    "data.source.format": "names what the file's end says; tests/data/test_tables.py",
    "data.source.separator": "`auto` finds what another value says; tests/data/test_conll.py",
    "data.y.scheme": "`auto` finds what another value says; tests/data/test_tags.py",
    "trainer.enable_progress_bar": "what the terminal shows",
    "trainer.checkpoint_every": "no number changes; tests/training/test_save_points.py",
    "trainer.max_bad_steps": "acts on updates that are not finite; tests/runs/test_bad_steps.py",
    "cell.kernel": "all kernels give the same answers; tests/nn/test_kernels.py",
    "trainer.threads": "may change no more than the last digit; tests/runs/test_threads.py",
    "logger.tracking_uri": "where the record is kept; tests/tracking/test_store.py",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small file for each reader of files."""
    made = tmp_path_factory.mktemp("every_key")
    words = "The cat sat on a mat and saw no Dog".split()
    texts = [" ".join(words[(k * m) % 10] for m in range(1, 3 + k % 5)) for k in range(40)]
    rows = "".join(f"{text} w{k % 7},{k % 3}\n" for k, text in enumerate(texts))
    (made / "table.csv").write_text(f"text,label\n{rows}")
    pairs = "".join(f"{text} w{k % 9} x\tSay {k % 4} r{k % 15}\n" for k, text in enumerate(texts))
    (made / "pairs.tsv").write_text(pairs)
    (made / "lines.txt").write_text("".join(f"{text}\n" for text in [*texts, *texts[:9]]))
    blocks = [
        "".join(f"{w} {'B-X' if w in ('cat', 'Dog') else 'O'}\n" for w in text.split())
        for text in texts
    ]
    (made / "tags.conll").write_text("\n".join(blocks))
    return made


def digest(*parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def numbers(tensor: torch.Tensor | None) -> Any:
    return None if tensor is None else (tuple(tensor.shape), tensor.double().flatten().tolist())


@functools.lru_cache(maxsize=64)
def data_of(written: str) -> Any:
    return build_data(OmegaConf.create(json.loads(written)))


def plain(value: Any, depth: int = 3) -> Any:
    """Numbers, words and flags of an object, and of what it holds."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple, set)):
        return [plain(one, depth) for one in list(value)[:20]]
    if isinstance(value, dict):
        left_out = ("trainer", "_loggers")  # they point back, and hold the time of their last call
        items = [(str(k), v) for k, v in value.items() if str(k) not in left_out]
        return {k: plain(v, depth) for k, v in items[:80]}
    if isinstance(value, functools.partial):
        return plain(value.keywords, depth)
    held = getattr(value, "__dict__", None)
    if depth == 0 or held is None or isinstance(value, torch.Tensor):
        return type(value).__name__
    return [type(value).__name__, plain({k: v for k, v in held.items()}, depth - 1)]


def effects(cfg: DictConfig) -> Iterator[str]:
    """What a configuration comes to, part by part, the cheapest first."""
    whole = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(whole, dict)
    keys = {"data": whole["data"], "trainer": {"enable_progress_bar": False}, "task": whole["task"]}
    head = {"head": whole["architecture"].get("head", {})}
    data = data_of(json.dumps({**keys, "architecture": head}, sort_keys=True))
    batches = [b for split in ("train", "valid") for b in data.loader(split, shuffle=True)]
    yield digest(
        data.description,
        [(b.index.tolist(), numbers(b.x), numbers(b.y)) for b in batches],
    )
    task = build_task(cfg, data)
    torch.manual_seed(cfg.seed)
    model = build_model(cfg, data.spec, task.output_size)
    state = {k: numbers(v) for k, v in model.state_dict().items()}
    torch.manual_seed(3)
    batch = data.batch("train", range(4))
    outputs = model.train()(batch.x, batch.x_lengths, batch.y, batch.y_lengths)
    loss = task.loss(outputs, batch, training=True)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)
        model.eval()
        outputs = model(batch.x, batch.x_lengths, batch.y, batch.y_lengths)
        decoded = task.predict(model, outputs, batch)
    yield digest(state, float(loss), plain(vars(task), 1), str(decoded), plain(model, 4))
    module = build_module(cfg, model, task, {})
    yield digest(updates(module))
    trainer, _ = build_checked_trainer(cfg, Path("root"), Path("somewhere"))
    made = [trainer, vars(trainer)["callbacks"]]
    exact = torch.get_deterministic_debug_mode()
    torch.use_deterministic_algorithms(False)
    yield digest(plain(made, 4), plain(instantiate(cfg.logger), 2), exact)
    yield digest(looked_at(cfg, model, data))


def looked_at(cfg: DictConfig, model: Any, data: Any) -> Any:
    """Which examples a run looks into the model with, and how often; what it refuses of that."""
    asked = instantiate(cfg.diagnostics)
    typed = {k: v for k, v in vars(asked).items() if v != getattr(Settings(), k)}
    check_diagnostics([f"diagnostics.{name}={value}" for name, value in typed.items()], model)
    tracker = NoTracker(root=Path(), output_dir=Path())
    made = build_observers(cfg, model, build_task(cfg, data), data, tracker)
    return [(type(one), getattr(one, "settings", None), one.batch.index.tolist()) for one in made]


def updates(module: Any) -> Any:
    """Weights after three steps of random gradients, and forty learning rates."""
    torch.manual_seed(1)
    optimizer = module.optimizer()
    schedule = module.make_schedule(optimizer, total_steps=40, monitor="val/loss", mode="min")
    for _ in range(3):
        for parameter in module.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()
    weights = [numbers(parameter) for parameter in module.parameters()]
    rates, parts = [], schedule if isinstance(schedule, list) else [schedule]
    for step in range(40 if schedule is not None else 0):
        for scheduler in (part["scheduler"] for part in parts):
            by_metric = isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
            scheduler.step(*([1.0 + step // 20] if by_metric else []))
        rates.append(optimizer.param_groups[0]["lr"])
    return weights, rates


OTHERS: dict[str, list[Any]] = {
    "group": [["text", "label"], ["tokens", "tags"], ["x", "y"]],
    "delimiter": ["';'"],
    "length_penalty": [0.5],
    "input_std": [0.5],
    "init_range": [0.5],
    "monitor": ["val/macro_f1", "val/mae"],
    "free_running": [2],
    "flush_seconds": [1.0],
    "system_metrics": [5.0],
    "offline": [True, "auto"],
    "experiment_name": ["another"],
}
"""A key's last name, and values to try first."""


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_same_configuration_comes_to_the_same(folder):
    cfg, _ = compose([*TINY, *ADDING])
    assert list(effects(cfg)) == list(effects(cfg))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_another_value_of_every_key_changes_something(folder, inert_keys):
    inert = []  # in one test: a key that was seen to act is not walked again in the cases below
    walked: set[tuple[str, str]] = set()
    for name, words in CASES.items():
        case = (*TINY, *(word.format(folder=folder) for word in words))
        found = inert_keys(case, effects, EXEMPT, walked, more=OTHERS)
        inert += [f"{name}: {one}" for one in found]
    assert not inert, "\n".join(inert)


def test_every_exemption_has_its_reason_and_names_a_key_that_exists():
    assert all(EXEMPT.values())
    unknown = set(EXEMPT)
    for case in reversed(CASES.values()):  # until all are found: composing takes its time
        known = [f"{key}." for key, _ in _leaves(case)]
        unknown = {key for key in unknown if not any(k.startswith(f"{key}.") for k in known)}
        if not unknown:
            break
    assert not unknown


def _leaves(case: tuple[str, ...]) -> list[tuple[str, Any]]:
    cfg, _ = compose([word.format(folder=".") for word in case])
    return list(Tree(cfg).leaves())
