"""Summary of a run: the table of the model at its start, the lines at its end."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from rich.table import Table
from torch import nn

from seqpipe.console import PlainConsole
from seqpipe.display import duration
from seqpipe.nn.recurrent import RecurrentStack, recurrent_stacks
from seqpipe.rules import is_of_one_class
from seqpipe.runs.training_run import TrainingRun
from seqpipe.training.freezing import trained_count

log = logging.getLogger(__name__)


def model_parts(model: nn.Module, device: torch.device) -> Iterator[tuple[str, str, nn.Module]]:
    """(path, what it is on that device, part) of each part of a model, top to bottom."""
    for name, part in model.named_children():
        if isinstance(part, RecurrentStack):
            for level, directions in enumerate(part.layers):
                assert isinstance(directions, nn.ModuleDict)
                yield f"{name}.layers.{level}", _layer_words(directions, device), directions
        elif any(True for _ in part.parameters()):
            yield name, type(part).__name__, part


def _layer_words(directions: nn.ModuleDict, device: torch.device) -> str:
    layer: Any = next(iter(directions.values()))
    sizes = f"{layer.cell.input_size} -> {layer.cell.hidden_size}"
    ways = " and ".join(directions)
    return f"{type(layer.cell).__name__} {sizes}, {ways}, {layer.kernel_name(device)}"


def model_rows(run: TrainingRun) -> list[dict[str, Any]]:
    """Each part of the model: its class, the shape of its output if that is known, its size.

    If some parts are frozen, also how many of the parameters are trained.
    """
    rows, shapes = [], run.preflight.shapes
    frozen = run.trained_parameters < run.parameters
    with run.trainer.precision_plugin.forward_context():
        parts = list(model_parts(run.module.model, run.device))
    for name, words, part in parts:
        row: dict[str, Any] = {"part": name, "what it is": words}
        if shapes:
            row["output"] = " x ".join(map(str, shapes.get(name, ())))
        row["parameters"] = sum(p.numel() for p in part.parameters())
        rows.append(row | ({"trained": trained_count(part)} if frozen else {}))
    return rows


def model_table(run: TrainingRun) -> Table:
    """The model: each layer, its kernel, the shape of its output and its parameters."""
    title = f"{type(run.module.model).__name__} on {run.data.description}"
    table, rows = Table(title=title, title_justify="left"), model_rows(run)
    sizes = {"parameters": run.parameters, "trained": run.trained_parameters}
    columns = list(rows[0] if rows else ("part",))
    for name in columns:
        table.add_column(name, justify="right" if name in sizes else "left")
    for row in rows:
        table.add_row(
            *(f"{value:,}" if isinstance(value, int) else value for value in row.values())
        )
    table.add_section()
    totals = [f"{sizes[name]:,}" if name in sizes else "" for name in columns[1:]]
    table.add_row("all", *totals)
    return table


def print_start(run: TrainingRun) -> None:
    """Prints the model and the results of the pre-flight."""
    console = PlainConsole(stderr=True)
    console.print(model_table(run))
    if run.preflight.line:
        console.print(run.preflight.line)
    console.print(f"threads: {run.threads.line}")
    for each in run.preflight.with_result("warning"):
        log.warning("preflight: %s: %s", each.name, each.detail)


def _test_metrics(run: TrainingRun) -> dict[str, float]:
    """The most important metrics of the test: without those of single classes and details."""
    task = run.module.task
    hidden = {f"test/{name}" for name in task.details - {task.monitor.removeprefix("val/")}}
    return {
        name: value
        for name, value in run.metrics.items()
        if name.startswith("test/") and name not in hidden and not is_of_one_class(name)
    }


def _epoch_label(run: TrainingRun) -> str:
    return "last epoch" if run.checkpoint is None else "best epoch"


def key_numbers(run: TrainingRun) -> list[tuple[str, str, str]]:
    """The numbers at the top of the page: the test, the epoch, the size, the time."""
    return [
        *((name, f"{value:.4g}", "") for name, value in _test_metrics(run).items()),
        (_epoch_label(run), str(run.chosen.epoch), f"{run.monitored_name} {run.monitored:.4g}"),
        ("parameters", f"{run.parameters:,}", _trained(run)),
        ("training", duration(run.seconds), run.module.device.type),
    ]


def _trained(run: TrainingRun) -> str:
    """`1,290 trained`; empty where nothing is frozen."""
    count = run.trained_parameters
    return "" if count == run.parameters else f"{count:,} trained"


def _baselines(run: TrainingRun) -> dict[str, str]:
    line = "" if run.compared is None else run.compared.line
    return {"baselines": line} if line else {}


def closing_lines(run: TrainingRun) -> str:
    """The closing lines: data, model, epoch, test, where it all is, how to repeat it, advice."""
    model = run.module.model
    with run.trainer.precision_plugin.forward_context():
        names = [stack.kernel_name(run.device) for stack in recurrent_stacks(model)]
    kernel = "".join(f", {name}" for name in names[:1])
    trained = f" ({words})" if (words := _trained(run)) else ""
    chosen = f"{run.chosen.epoch} ({run.monitored_name} {run.monitored:.4g})"
    rows = {
        "data": run.data.description,
        "model": f"{type(model).__name__}, {run.parameters:,} parameters{trained}{kernel}",
        _epoch_label(run): f"{chosen}; trained {run.seconds:.0f} s",
        **({"pruned": f"{run.pruned}, not tested"} if run.pruned else {}),
        **({} if run.pruned else {"test": _tests_in_words(run)}),
        **_baselines(run),
        "threads": run.threads.line,
        "folder": str(run.folder),
        **_record(run),
        "again": run.launch.command_line,
    }
    advice = run.module.flow.advice()
    if run.compared is not None:
        advice += run.compared.advice()
    if not math.isfinite(run.monitored):  # of the last epoch, where no checkpoint is kept
        monitor = run.module.task.monitor
        text = (
            f"{monitor} is {run.monitored}: the trained model is useless; a lower optim.lr may help"
        )
        advice.insert(0, text)
    return as_lines(rows, advice)


def _record(run: TrainingRun) -> dict[str, str]:
    tracker = run.tracker
    recorded = f"{tracker.run_id} in {tracker.location}" if tracker.run_id else "not recorded"
    waiting = {"waiting": tracker.waiting} if tracker.waiting else {}
    return {"mlflow run": recorded, **waiting}


def closing_line(run: TrainingRun) -> str:
    """The test, the epoch and the time in one line, for one of many runs."""
    chosen = f"{run.monitored_name} {run.monitored:.4g} in epoch {run.chosen.epoch}"
    result = f"pruned {run.pruned}" if run.pruned else f"test {_tests_in_words(run)}"
    return f"{result}; {chosen}; {duration(run.seconds)}"


def _tests_in_words(run: TrainingRun) -> str:
    tests = _test_metrics(run).items()
    return ", ".join(f"{name.removeprefix('test/')} {value:.4g}" for name, value in tests)


def as_lines(rows: Mapping[str, str], advice: Sequence[str] = ()) -> str:
    """Closing lines of a command: `key:        value`, one below the other."""
    pairs = [*rows.items(), *(("advice", sentence) for sentence in advice)]
    return "\n".join(f"{key + ':':<12}{value}" for key, value in pairs)
