"""Compares candidate defaults of the front panel on many data sets, by validation.

    SEQPIPE_SHARED=../shared python benchmarks/defaults.py [--candidates panel] [--sets digits]
    python benchmarks/defaults.py --table

Each candidate changes a few keys of the panel and trains on each set with a small budget (few
epochs, few examples of the large sets), or with `--full` as long as a user would. The candidate
`recipe` is `experiment=NAME`. The result is the best value of the set's own monitor on the
validation split; no test split is read. Each result is a line of `--results` (JSON), so an
interrupted run continues where it stopped; `--table` prints the results as Markdown. The benchmark
uses one thread and takes about four minutes per candidate on an idle core.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning
import torch

from seqpipe.build import build_data, build_model, build_module, build_task, build_trainer
from seqpipe.config.adjustments import settle_monitor
from seqpipe.config.compose import compose
from seqpipe.errors import ConfigError
from seqpipe.tracking.base import NoTracker

CANDIDATES: dict[str, dict[str, Any] | None] = {
    "recipe": None,  # experiment=NAME, with the same budget
    "panel": {},
    "pooling flatten": {"architecture.pooling": "flatten"},
    "pooling last": {"architecture.pooling": "last"},
    "pooling mean": {"architecture.pooling": "mean"},
    "lr 0.003": {"optim.lr": 0.003},
    "dropout 0": {"dropout": 0.0},
    "no clipping": {"trainer.gradient_clip_val": "null"},
    "no warm-up": {"scheduler": "cosine"},
    "hidden 64": {"hidden_size": 64},
    "batch 16": {"data.batch_size": 16},
    "one direction": {"bidirectional": False},
    "both directions": {"bidirectional": True},
    "dropout 0.5": {"dropout": 0.5},
    "locked": {"locked_dropout": True},
    "EMA": {"averaging": "ema"},
    "decay": {"optim.weight_decay": 1e-4, "optim.weight_decay_on": "all"},
    "spelled": {"data.x.by": "spelled"},
    "bptt 50": {"data.bptt": 50},
    "not relative": {"data.source.relative_to_last": False},
}
"""The keys that differ from the panel: lr 0.01, warm-up and cosine, dropout 0.2, pooling max."""

SETS: dict[str, tuple[str | None, list[str]]] = {  # folder of the shared data, and the budget
    "digits": (None, ["trainer.max_epochs=15"]),
    "adding": (None, ["data.length=30", "data.source.train=4000", "trainer.max_epochs=6"]),
    "copy_memory": (None, ["data.length=5", "data.source.train=4000", "trainer.max_epochs=5"]),
    "dates": (None, ["data.source.train=3000", "trainer.max_epochs=4"]),
    "python_docs": (None, ["trainer.limit_train_batches=40", "trainer.max_epochs=2"]),
    "python_tokens": (None, ["data.source.files=12", "trainer.max_epochs=2"]),
    "identifiers": (None, ["trainer.limit_train_batches=100", "trainer.max_epochs=3"]),
    "sst2": ("sentiment_sst2", ["trainer.limit_train_batches=100", "trainer.max_epochs=3"]),
    "sst5": ("sentiment_sst5", ["trainer.limit_train_batches=100", "trainer.max_epochs=3"]),
    "uci_sentences": ("sentiment_uci_sentences", ["trainer.max_epochs=6"]),
    "fine_food": ("sentiment_finefood_stars", ["trainer.max_epochs=6"]),
    "ud_ewt": ("pos_ud_english_ewt", ["trainer.max_epochs=3"]),
    "wnut17": ("ner_wnut17", ["trainer.max_epochs=3"]),
    "splice": ("dna_splice_uci", ["trainer.max_epochs=8"]),
    "promoters": ("dna_promoters_uci", ["trainer.max_epochs=40"]),
    "celegans": ("dna_genes_celegans", ["trainer.max_epochs=3"]),
    "japanese_vowels": ("ts_japanese_vowels", ["trainer.max_epochs=25"]),
    "basic_motions": ("ts_basic_motions", ["trainer.max_epochs=40"]),
    "gesture_point_history": ("gesture_point_history", ["trainer.max_epochs=8"]),
    "sunspots": ("ts_forecasting", ["trainer.max_epochs=6"]),
    "airline_passengers": ("ts_forecasting", ["trainer.max_epochs=60"]),
    "min_temperatures": ("ts_forecasting", ["trainer.max_epochs=6"]),
    "mnist_rows": ("image_mnist_t10k", ["trainer.limit_train_batches=100", "trainer.max_epochs=3"]),
    "jsb_chorales": ("music_jsb_chorales", ["trainer.max_epochs=8"]),
    "names": ("names_makemore", ["trainer.limit_train_batches=150", "trainer.max_epochs=2"]),
    "tiny_shakespeare": (
        "lm_tinyshakespeare",
        ["trainer.limit_train_batches=40", "trainer.max_epochs=2"],
    ),
    "oneills": ("music_abc_oneills", ["trainer.max_epochs=2"]),
    "fsdd": ("speech_fsdd", ["trainer.max_epochs=25"]),
    "cmudict": ("g2p_cmudict", ["trainer.limit_train_batches=80", "trainer.max_epochs=2"]),
}


class Best(pytorch_lightning.Callback):
    """The best value of a metric over all validations.

    Args:
        monitor: the metric.
        mode: `min` or `max`.
    """

    def __init__(self, monitor: str, mode: str) -> None:
        self.monitor, self.better = monitor, min if mode == "min" else max
        self.values: list[float] = []

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        """Adds the value of this validation."""
        self.values.append(trainer.callback_metrics[self.monitor].item())

    @property
    def value(self) -> float:
        """The best value so far."""
        return self.better(self.values)


def overrides_of(
    candidate: dict[str, Any] | None, name: str, data: Path, *, full: bool
) -> list[str] | None:
    """The overrides of one candidate on one set; None where it changes nothing or is refused."""
    folder, budget = SETS[name]
    path = [f"data.path={data / folder}"] if folder else []
    fixed = ["diagnostics=none", "trainer.enable_progress_bar=false"]
    budget = [] if full else ["callbacks=none", *budget]
    if candidate is None:
        return [f"experiment={name}", *path, *fixed, *budget]
    overrides = [f"data={name}", *path, *fixed, *budget]
    composed = [*overrides, *(f"{key}={value}" for key, value in candidate.items())]
    before, _ = compose(overrides)
    try:
        after, _ = compose(composed)
    except ConfigError:  # it means nothing there: a generated text has one direction
        return None
    return composed if not candidate or after != before else None


def trained(overrides: list[str]) -> dict[str, Any]:
    """Trains, and returns the best validation."""
    cfg, _ = compose(overrides)
    begin = time.process_time()
    data = build_data(cfg)
    task = build_task(cfg, data)
    settle_monitor(cfg, task.monitor)
    pytorch_lightning.seed_everything(cfg.seed, workers=True, verbose=False)
    module = build_module(cfg, build_model(cfg, data.spec, task.output_size), task)
    best = Best(cfg.task.monitor, cfg.task.mode)
    with tempfile.TemporaryDirectory() as folder:
        tracker = NoTracker(root=Path(folder), output_dir=Path(folder))
        trainer = build_trainer(cfg, Path(folder), tracker)
        trainer.callbacks.append(best)
        trainer.fit(module, data.loader("train", shuffle=True), data.loader("valid"))
    seconds = time.process_time() - begin
    return {"monitor": cfg.task.monitor, "mode": cfg.task.mode, "best": best.value, "cpu": seconds}


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """The results so far."""
    if path.is_file():
        yield from map(json.loads, path.read_text().splitlines())


def table(found: list[dict[str, Any]]) -> str:
    """Sets down, candidates across; the best value of each set in bold, an empty cell: not run."""
    candidates = [name for name in CANDIDATES if any(name == one["candidate"] for one in found)]
    rows = [["set", "metric", *candidates], ["---"] * (len(candidates) + 2)]
    for name in SETS:
        results = {one["candidate"]: one for one in found if one["set"] == name}
        if not results:
            continue
        monitor, mode = next((one["monitor"], one["mode"]) for one in results.values())
        best = (min if mode == "min" else max)(one["best"] for one in results.values())
        row = [name, f"{monitor.removeprefix('val/')}, {mode}"]
        for candidate in candidates:
            value = results[candidate]["best"] if candidate in results else None
            text = "" if value is None else f"{value:.3g}"
            row.append(f"**{text}**" if value == best else text)
        rows.append(row)
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> None:
    """Trains what is missing, or prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidates", nargs="*", default=list(CANDIDATES), choices=CANDIDATES)
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=SETS)
    parser.add_argument("--results", type=Path, help="outputs/defaults.jsonl, or _full.jsonl")
    parser.add_argument("--shared", default=os.environ.get("SEQPIPE_SHARED", "../shared"))
    parser.add_argument("--full", action="store_true", help="train as long as a user would")
    parser.add_argument("--table", action="store_true", help="train nothing")
    arguments = parser.parse_args()
    default = "outputs/defaults_full.jsonl" if arguments.full else "outputs/defaults.jsonl"
    results = arguments.results or Path(default)
    found = list(lines(results))
    done = {(one["candidate"], one["set"]) for one in found}
    data = (Path(arguments.shared) / "data").resolve()
    torch.set_num_threads(1)
    for candidate in () if arguments.table else arguments.candidates:
        for name in arguments.sets:
            if (candidate, name) in done:
                continue
            overrides = overrides_of(CANDIDATES[candidate], name, data, full=arguments.full)
            if overrides is None:
                continue
            result = trained(overrides)
            line = {"candidate": candidate, "set": name, **result}
            results.parent.mkdir(parents=True, exist_ok=True)
            with results.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)
            found.append(line)
    print(table(found))


if __name__ == "__main__":
    main()
