"""Evaluate a trained model: `python -m seqpipe evaluate run=latest split=test`."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from seqpipe.commands.dispatch import Answer
from seqpipe.commands.options import Evaluate
from seqpipe.console import PlainConsole
from seqpipe.errors import counted
from seqpipe.inference.evaluation import Measured
from seqpipe.inference.generate import Decoding
from seqpipe.inference.model import Model
from seqpipe.rules import CLASS_SCORES, best_of
from seqpipe.runs.measured_data import describe_counts, load_split
from seqpipe.runs.measurement import measure_input, measure_split
from seqpipe.runs.open_model import open_model, open_reader, read_language_model
from seqpipe.runs.options import SWEEP
from seqpipe.runs.sweep_members import ensemble_or_reason, find_members, open_members
from seqpipe.tracking.run_additions import add_to_run
from seqpipe.tracking.run_record import RunRecord

STAGES = {"train": "train", "valid": "val", "test": "test"}


def run(options: Evaluate, root: Path) -> Answer:
    """Measure the model, print the metrics and log them to its run.

    Raises:
        ConfigError: an option that does not fit the run.
        DataError: data that cannot be read, or has no labels.
    """
    if options.run.startswith(SWEEP):
        return _run_sweep(options, root)
    model, found = open_model(options, root)
    one = measure(model, found, options, root)
    console, measured = PlainConsole(), one.measured
    title = f"{found.name}: {one.name}"
    console.print(_table(measured[0], one.before, title, options.confidence))
    for metric, signature in model.task.signatures.items():
        console.print(f"{metric}: {signature}")
    if one.classes:
        console.print(_table_of_classes(measured[0], one.classes))
    if one.read:
        console.print(one.read)
    if len(measured) > 1:
        console.print(_table_of_slices(measured[1:], model.task.details))
    return Answer(f"logged to {_log(one, found)}") if options.log else Answer()


@dataclass(frozen=True)
class Evaluated:
    """A model measured on some data.

    Args:
        name: of the data, and of the search.
        measured: all examples, then slices.
        classes: a row for each class; empty where there are none.
        before: the metrics at training; empty for other data.
        read: what was read, for people; empty if all of a split was.
    """

    name: str
    measured: Sequence[Measured]
    classes: Sequence[Mapping[str, Any]]
    before: Mapping[str, float]
    read: str


def measure(model: Model, found: RunRecord, options: Evaluate, root: Path) -> Evaluated:
    """Measure a model on the data that the options name.

    Args:
        model: the model.
        found: its run.
        options: of the command.
        root: the folder the user works in.
    """
    if options.beam_size is not None:
        Decoding(options.beam_size).check(model.task)
        task: Any = model.task
        task.beam_size = None if options.beam_size == 1 else options.beam_size
    read_language_model(model, options, root)
    counts: dict[str, int] = {}
    left_out, before = 0, dict[str, float]()
    if options.input is not None:
        name = _name_of(options.input, root)
        reader = open_reader(model, options, root, options.input, labelled=True)
        evaluation = measure_input(model, reader, options.input, options.seed, counts)
    else:
        how: dict[str, Any] = {"own_data": options.own_data, "trust": options.trust}
        how |= {"split": options.split, "typed": options.data}
        data, other = load_split(model, found, root, counts, **how)
        left_out = data.facts[other.split].skipped
        name = f"{other.name} of {' '.join(options.data)}" if options.data else other.split
        evaluation = measure_split(model, data, other.split, options.seed)
        if not options.data and not _searched(options):
            before = _metrics_at_training(found.metrics, STAGES[other.split])
    classes = evaluation.class_rows()
    measured = evaluation.results(options.resamples, options.confidence)
    read = describe_counts(counts, left_out)
    return Evaluated(name + _searched(options), measured, classes, before, read)


def _run_sweep(options: Evaluate, root: Path) -> Answer:
    """Measure the models of a sweep, and their average, in a table with a row for each."""
    members = find_members(options, root)
    opened = open_members(options, members, root)
    ensemble, reason = ensemble_or_reason(opened, options.run)
    rows, where = dict[str, Evaluated](), list[str]()
    for each in opened:
        one = measure(each.model, each.found, each.member.options(options), root)
        rows[each.member.name] = one
        if options.log:
            where.append(_log(one, each.found))
    if ensemble is not None:
        found = opened[0].found
        one = measure(ensemble, found, opened[0].member.options(options), root)
        rows[f"ensemble of {len(opened)}"] = one
        if options.log:
            where.append(_log(replace(one, name=f"{one.name} ensemble"), members.as_run(found)))
    table = _table_of_models(rows, f"sweep {members.folder.name}", opened[0].model.task.details)
    PlainConsole().print(table)
    return Answer(f"logged to {where[-1]}, and the other runs" if where else "", note=reason)


def _log(one: Evaluated, found: RunRecord) -> str:
    """Adds what was measured to a run. Returns the places where it is, for people."""
    name, measured = one.name, one.measured
    return add_to_run(found, _flatten(name, measured), f"evaluation {name}", _rows(measured))


def _searched(options: Evaluate) -> str:
    """The options of the search, for the name of what is measured: ` beam_size=20 lm=words`."""
    given: dict[str, Any] = {"beam_size": options.beam_size, "lm": options.lm}
    if options.lm is not None:
        given["lm"] = Path(options.lm).name
        given |= {"lm_weight": options.lm_weight, "lm_bonus": options.lm_bonus}
    return "".join(f" {name}={value}" for name, value in given.items() if value is not None)


def _name_of(input: str, root: Path) -> str:
    """The path below the working folder: several files may have the same name."""
    path = Path(input)
    inside = path.is_absolute() and path.is_relative_to(root)
    parts = (path.relative_to(root) if inside else path).parts
    return "/".join(part for part in parts if part not in ("/", "..")) or "input"


def _metrics_at_training(metrics: Mapping[str, float], stage: str) -> dict[str, float]:
    """The metrics of the saved weights at training time."""
    kept = best_of(f"{stage}/")
    prefix = kept if any(name.startswith(kept) for name in metrics) else f"{stage}/"
    return {n.removeprefix(prefix): v for n, v in metrics.items() if n.startswith(prefix)}


def _table(whole: Measured, before: Mapping[str, float], title: str, confidence: float) -> Table:
    table = Table(title=f"{title}, {counted(whole.examples, 'example')}", title_justify="left")
    for name in ("metric", "value", f"{confidence:.0%} interval", "at training"):
        table.add_column(name, justify="left" if name == "metric" else "right")
    for key, value in whole.metrics.items():
        if key.startswith(tuple(f"{score}/" for score in CLASS_SCORES)):
            continue  # a table of their own
        ends = f"{whole.low[key]:.4g} to {whole.high[key]:.4g}" if key in whole.low else ""
        then = f"{before[key]:.4g}" if key in before else ""
        table.add_row(key, f"{value:.4g}", ends, then)
    return table


def _table_of_models(rows: Mapping[str, Evaluated], title: str, details: Collection[str]) -> Table:
    """A row for each model; metrics of single classes and other details are left out."""
    (first, *_), examples = rows.values(), {one.measured[0].examples for one in rows.values()}
    counted_once = f", {counted(examples.pop(), 'example')}" if len(examples) == 1 else ""
    keys = [key for key in first.measured[0].metrics if "/" not in key and key not in details]
    table = Table(title=f"{title}: {first.name}{counted_once}", title_justify="left")
    table.add_column("job")
    for name in keys:
        table.add_column(name, justify="right")
    for name, one in rows.items():
        table.add_row(name, *(_with_ends(one.measured[0], key) for key in keys))
    return table


def _table_of_classes(whole: Measured, rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="by class", title_justify="left")
    for name in ("class", *CLASS_SCORES, "support"):
        table.add_column(name, justify="left" if name == "class" else "right")
    for row in rows:
        scores = (_with_ends(whole, f"{score}/{row['class']}") for score in CLASS_SCORES)
        table.add_row(row["class"], *scores, f"{row['support']:,}")
    return table


def _table_of_slices(slices: Sequence[Measured], details: Collection[str]) -> Table:
    keys = [key for key in slices[0].metrics if "/" not in key and key not in details]
    table = Table(title="by slice", title_justify="left")
    for name in ("slice", "examples", *keys):
        table.add_column(name, justify="left" if name == "slice" else "right")
    for one in slices:
        table.add_row(one.slice, f"{one.examples:,}", *(_with_ends(one, key) for key in keys))
    return table


def _with_ends(one: Measured, key: str) -> str:
    if key == "macro_f1" and one.slice.startswith("class "):
        return ""  # a mean over classes, of which the slice holds one
    if key not in one.metrics:
        return ""  # not defined: it has nothing to be divided by
    if key not in one.low:
        return f"{one.metrics[key]:.4g}"
    return f"{one.metrics[key]:.4g} ({one.low[key]:.3g} to {one.high[key]:.3g})"


def _flatten(name: str, measured: Sequence[Measured]) -> dict[str, float]:
    """`evaluate/<split>/<metric>`; `low` and `high` come first, where no class can be named."""
    whole, stem = measured[0], f"evaluate/{name}"
    numbers = {f"{stem}/{key}": value for key, value in whole.metrics.items()}
    numbers |= {f"{stem}/low/{key}": value for key, value in whole.low.items()}
    return numbers | {f"{stem}/high/{key}": value for key, value in whole.high.items()}


def _rows(measured: Sequence[Measured]) -> list[dict[str, Any]]:
    return [
        {
            "slice": one.slice,
            "examples": one.examples,
            "metric": key,
            "value": value,
            "low": one.low.get(key),
            "high": one.high.get(key),
        }
        for one in measured
        for key, value in one.metrics.items()
    ]
