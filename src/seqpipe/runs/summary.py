"""What a run is, in words: its name, the table at its start, the lines at its end."""

import hashlib
import json
import math
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from rich.table import Table
from torch import nn

from seqpipe.config.compose import Launch
from seqpipe.config.params import flat_params
from seqpipe.data.dataset import SequenceData
from seqpipe.diagnostics.preflight import Preflight
from seqpipe.nn.recurrent import RecurrentStack
from seqpipe.report.findings import Finding
from seqpipe.rules import best_of
from seqpipe.tracking.base import Dataset, Tracker
from seqpipe.tracking.provenance import environment_tags
from seqpipe.training.checkpoints import Validation
from seqpipe.training.module import SequenceModule

IN_THE_NAME = ("data", "cell", "hidden_size", "depth", "bidirectional", "experiment", "sweep")
STAGES = {"train": "train", "valid": "val", "test": "test"}


@dataclass(frozen=True)
class RunFacts:
    """What the closing lines and the page of a run are about.

    Args:
        launch: how it was started.
        data: what it was trained on.
        module: what was trained, with the weights that count.
        metrics: `test/...`, `val/...` of the last epoch, `best/val/...` of those weights.
        chosen: their validation.
        checkpoint: their file; None where none is kept: then they are the last.
        folder: the run's.
        tracker: what recorded it.
        seconds: of training.
        findings: what is told on the page beside curves and examples, such as gradients.
        checked: what was found before its first step; None: nothing was looked at.
    """

    launch: Launch
    data: SequenceData
    module: SequenceModule
    metrics: dict[str, float]
    chosen: Validation
    checkpoint: Path | None
    folder: Path
    tracker: Tracker
    seconds: float
    findings: tuple[Finding, ...] = ()
    checked: Preflight | None = None


def command(launch: Launch) -> str:
    """The command that repeats the run, quoted for a shell."""
    word = () if launch.command == "train" else (launch.command,)
    return shlex.join(["python", "-m", "seqpipe", *word, *launch.flags, *launch.overrides])


def run_name(cfg: DictConfig, launch: Launch) -> str:
    """What ran, at a glance: `digits lstm 3x128 bidirectional optim.lr=0.01`."""
    cell = launch.choices.get("cell", "custom")
    words = [launch.choices.get("data", "data"), "feedforward" if cell == "none" else cell]
    words.append(f"{cfg.depth}x{cfg.hidden_size}")
    if cfg.bidirectional:
        words.append("bidirectional")
    words += [o for o in launch.overrides if o.lstrip("+~").split("=")[0] not in IN_THE_NAME]
    return " ".join(words)


def machine(accelerator: str) -> dict[str, str]:
    """Tags of what may change the last digits of a sum.

    Args:
        accelerator: `trainer.accelerator`, which decides whether a GPU is used.

    Returns:
        `device` (`cpu`, or the name of the GPU), `threads` of torch, `cpu.capability` (the vector
        instructions that torch uses).
    """
    device = accelerator.replace("auto", "cpu")
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    elif accelerator in ("auto", "gpu") and torch.backends.mps.is_available():
        device = "mps"
    return {
        "device": device,
        "threads": str(torch.get_num_threads()),
        "cpu.capability": torch.backends.cpu.get_cpu_capability(),
    }


def identity(cfg: DictConfig, launch: Launch, data: SequenceData, folder: Path) -> dict[str, Any]:
    """What the tracker is told at the start: name, experiment, params, tags, datasets."""
    name = launch.choices.get("data", "data")
    tags = {
        "data": name,
        "command": command(launch),
        "trains": "yes" if launch.command == "train" else "no",
        "folder": str(folder),
        **environment_tags(launch.root),
        **machine(cfg.trainer.accelerator),
        **dict(launch.tags),
    }
    if launch.command == "train":
        tags["partial"] = part_of(cfg, data) or "no"
    if launch.sweep is not None:
        tags["sweep"] = launch.sweep
    if cfg.resume is not None:
        tags["resumed_from"] = str(cfg.resume)
    datasets = {
        stage: Dataset(name, data.digests[split], data.sizes[split], data.description)
        for split, stage in STAGES.items()
    }
    return {
        "run_name": run_name(cfg, launch),
        "experiment": name,
        "params": flat_params(cfg, launch.choices),
        "tags": tags,
        "datasets": datasets,
    }


def part_of(cfg: DictConfig, data: SequenceData) -> str | None:
    """The setting because of which not all of a split is trained on, validated or tested.

    Returns:
        as typed, `trainer.limit_val_batches=3`; None where the splits are whole.
    """
    limits = {
        "overfit_batches": None,
        "limit_train_batches": "train",
        "limit_val_batches": "valid",
        "limit_test_batches": "test",
        "fast_dev_run": None,
    }
    for key, split in limits.items():
        limit = cfg.trainer.get(key)
        if limit is None or limit is False or (split is None and limit == 0):
            continue
        whole = limit == 1.0 if isinstance(limit, float) else False
        if split is not None and isinstance(limit, int):  # no split has more batches than examples
            whole = limit >= data.sizes[split]
        if not whole:
            return f"trainer.{key}={limit}"
    return None


def judged_on(cfg: DictConfig, data: SequenceData) -> str:
    """A hash of what is validated and tested: runs that share it can be compared.

    It is of the records of both splits and of y: how it is read, its classes, its unit, its steps.
    How x is read and how batches are made is the model's matter.
    """
    y, splits = data.spec.y, ("valid", "test")
    told = {
        "records": [data.digests[split] for split in splits],
        "steps": [data.columns(split).y.steps for split in splits],
        "read": OmegaConf.to_container(cfg.data.y, resolve=True),
        "unit": [y.kind, y.size, y.names, y.mean, y.scale],
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:16]


def best_metrics(chosen: Validation) -> dict[str, float]:
    """`best/epoch`, and `best/val/<name>` for each `val/<name>`: of the weights that are tested."""
    numbers = {best_of(name): value for name, value in chosen.metrics.items()}
    return {"best/epoch": float(chosen.epoch), **numbers}


def _kept(facts: RunFacts) -> tuple[str, str]:
    """(best epoch or last epoch, the monitored metric's name for those weights)."""
    monitor = facts.module.task.monitor
    if facts.checkpoint is None:
        return "last epoch", monitor
    return "best epoch", best_of(monitor)


def layers(model: nn.Module) -> Iterator[tuple[str, str, int]]:
    """(part, what it is, parameters) of each part of a model, top to bottom."""
    for name, part in model.named_children():
        count = sum(p.numel() for p in part.parameters())
        if isinstance(part, RecurrentStack):
            for level, directions in enumerate(part.layers):
                assert isinstance(directions, nn.ModuleDict)
                parameters = sum(p.numel() for p in directions.parameters())
                yield f"{name}.layers.{level}", _layer_words(directions), parameters
        elif count > 0:
            yield name, type(part).__name__, count


def _layer_words(directions: nn.ModuleDict) -> str:
    layer: Any = next(iter(directions.values()))
    sizes = f"{layer.cell.input_size} -> {layer.cell.hidden_size}"
    ways = " and ".join(directions)
    return f"{type(layer.cell).__name__} {sizes}, {ways}, {layer.kernel.name}"


def model_rows(model: nn.Module, checked: Preflight | None) -> list[dict[str, Any]]:
    """Each part: what it is, what it answered in the pre-flight where there was one, its size."""
    rows = []
    for part, words, count in layers(model):
        row: dict[str, Any] = {"part": part, "what it is": words}
        if checked is not None and checked.shapes:
            row["output"] = " x ".join(map(str, checked.shapes.get(part, ())))
        rows.append({**row, "parameters": count})
    return rows


def model_table(model: nn.Module, data: SequenceData, checked: Preflight | None = None) -> Table:
    """What was built: each layer, its kernel, the shape of its output and its parameters."""
    table = Table(title=f"{type(model).__name__} on {data.description}", title_justify="left")
    rows = model_rows(model, checked)
    for name in rows[0] if rows else ("part",):
        table.add_column(name, justify="right" if name == "parameters" else "left")
    for row in rows:
        table.add_row(
            *(f"{value:,}" if isinstance(value, int) else value for value in row.values())
        )
    table.add_section()
    total = sum(row["parameters"] for row in rows)
    table.add_row("all", *[""] * (len(table.columns) - 2), f"{total:,}")
    return table


def key_numbers(facts: RunFacts) -> list[tuple[str, str, str]]:
    """What is seen first on the page: the test, the epoch, the size, the time."""
    tests = [name for name in facts.metrics if name.startswith("test/") and "f1/" not in name]
    numbers = [(name, f"{facts.metrics[name]:.4g}", "") for name in tests]
    monitor, epoch = facts.module.task.monitor, str(facts.chosen.epoch)
    which, name = _kept(facts)
    numbers.append((which, epoch, f"{name} {facts.chosen.metrics[monitor]:.4g}"))
    parameters = sum(p.numel() for p in facts.module.model.parameters())
    numbers.append(("parameters", f"{parameters:,}", ""))
    numbers.append(("training", duration(facts.seconds), facts.module.device.type))
    return numbers


def duration(seconds: float) -> str:
    """A time as people say it: 8 s, 2 min 5 s, 3 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def summary(facts: RunFacts) -> str:
    """The closing lines: data, model, epoch, test, where it all is, how to repeat it, advice."""
    model = facts.module.model
    parameters = sum(p.numel() for p in model.parameters())
    stack = next((m for m in model.modules() if isinstance(m, RecurrentStack)), None)
    kernel = "" if stack is None else f", {stack.kernel_name}"
    monitor = facts.module.task.monitor
    epoch, name = _kept(facts)
    chosen = f"{facts.chosen.epoch} ({name} {facts.chosen.metrics[monitor]:.4g})"
    tests = [name for name in facts.metrics if name.startswith("test/") and "f1/" not in name]
    tested = ", ".join(f"{name.removeprefix('test/')} {facts.metrics[name]:.4g}" for name in tests)
    run = facts.tracker.run_id
    rows = {
        "data": facts.data.description,
        "model": f"{type(model).__name__}, {parameters:,} parameters{kernel}",
        epoch: f"{chosen}; trained {facts.seconds:.0f} s",
        "test": tested,
        "folder": str(facts.folder),
        "mlflow run": f"{run} in {facts.tracker.location}" if run else "not recorded",
        "again": command(facts.launch),
    }
    advice = [f"{'advice:':<12}{sentence}" for sentence in facts.module.flow.advice()]
    if not math.isfinite(facts.chosen.metrics[monitor]):
        value = facts.chosen.metrics[monitor]  # the last one's, where no checkpoint is kept
        text = f"{monitor} is {value}: the training is of no use; a lower optim.lr may help"
        advice.insert(0, f"{'advice:':<12}{text}")
    return "\n".join([*(f"{key + ':':<12}{value}" for key, value in rows.items()), *advice])
