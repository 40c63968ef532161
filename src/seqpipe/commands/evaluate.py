"""Evaluate a trained model: `python -m seqpipe evaluate run=latest split=test`."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from rich.table import Table

from seqpipe.build import build_data
from seqpipe.commands.dispatch import Answer
from seqpipe.commands.options import Evaluate
from seqpipe.config.validate import check_values
from seqpipe.console import PlainConsole
from seqpipe.data.dataset import SequenceData
from seqpipe.data.field_checks import item_role
from seqpipe.data.progress import Progress
from seqpipe.errors import DataError
from seqpipe.inference.evaluation import Evaluation, Measured, lengths_parted
from seqpipe.inference.instantiate import Maker
from seqpipe.inference.load import without_files
from seqpipe.inference.model import Model
from seqpipe.inference.preprocess import MOST_ROWS, MOST_STEPS, batched
from seqpipe.records import targets
from seqpipe.rules import best_of
from seqpipe.runs.open_model import open_model, open_reader
from seqpipe.runs.other_data import Counted, OtherData, counted, files_read
from seqpipe.runs.other_data import changed as other_data
from seqpipe.runs.trust import check_data, foreign_targets, lacking, misfits
from seqpipe.tracking.run_additions import add_to_run
from seqpipe.tracking.run_record import RunRecord
from seqpipe.training.carried_state import Carried, answer

CLASSES_SHOWN = 20
STAGES = {"train": "train", "valid": "val", "test": "test"}


def run(options: Evaluate, root: Path) -> Answer:
    """Measures, prints and logs.

    Raises:
        ConfigError: an option that does not fit the run.
        DataError: data that cannot be read, or is not labelled.
    """
    model, found = open_model(options, root)
    split: str = options.split or "test"
    counts: dict[str, int] = {}
    left_out = 0
    if options.input is not None:
        name = _name(options.input, root)
        evaluation = _of_input(model, options, options.input, root, counts)
    else:
        cfg, other = _config(found, model, options, root)
        split = other.split
        make = _maker(model, options, other, counts)
        with _called(cfg.data.get("path"), options.data, split):
            fields = {"x": model.x, "y": model.y}
            fitted = {role: field.state() for role, field in fields.items() if field is not None}
            data = build_data(cfg, fitted, make, only=split, task=model.task)
        left_out = data.facts[split].skipped
        changed = data.digests[split] != model.facts.get("digests", {}).get(split)
        name = f"{other.name} of {' '.join(options.data)}" if options.data else split
        if changed and not options.data:
            text = f"its {split} split is not what it was at training; allowed: data.path="
            raise DataError(f"{found.typed}: {text}... to measure other data")
        evaluation = _of_split(model, data, split, options)
    measured = evaluation.measured(options.resamples, options.confidence)
    trained = found.metrics if options.input is None and not options.data else {}
    before = _before(trained, STAGES[split])
    _print(measured, before, f"{found.name}: {name}", options, files_read(counts, left_out))
    if options.log:
        where = add_to_run(found, _flat(name, measured), f"evaluation {name}", _rows(measured))
        return Answer(f"logged to {where}")
    return Answer()


@contextmanager
def _called(path: Any, typed: Sequence[str], split: str) -> Iterator[None]:
    """Errors about files and empty splits name the typed key: data.path, not a key below it."""
    try:
        yield
    except DataError as error:
        of_path = path if isinstance(path, Sequence) and not isinstance(path, str) else [path]
        starts = [re.escape(str(one)) for one in of_path]
        below = re.compile(rf"^data\.(?:source\.)+(?:train|path)=(?=(?:{'|'.join(starts)}): )")
        problems = [below.sub("data.path=", problem) for problem in error.problems]
        empty = f"{split}: holds no records"
        if typed and problems[0].startswith(empty):
            key = next((one for one in typed if one.startswith("data.path=")), typed[0])
            problems[0] = problems[0].replace(empty, f"{key}: holds no records", 1)
        if problems == error.problems:
            raise
        raise DataError(problems) from None


def _before(metrics: Mapping[str, float], stage: str) -> dict[str, float]:
    """The metrics of the saved weights at training time."""
    kept = best_of(f"{stage}/")
    prefix = kept if any(name.startswith(kept) for name in metrics) else f"{stage}/"
    return {n.removeprefix(prefix): v for n, v in metrics.items() if n.startswith(prefix)}


def _name(input: str, root: Path) -> str:
    """The path below the working folder: there may be several files of one name."""
    path = Path(input)
    inside = path.is_absolute() and path.is_relative_to(root)
    parts = (path.relative_to(root) if inside else path).parts
    return "/".join(part for part in parts if part not in ("/", "..")) or "input"


def _config(
    found: RunRecord, model: Model, options: Evaluate, root: Path
) -> tuple[DictConfig, OtherData]:
    """The run's configuration; with other data, its own is replaced by what was typed."""
    _check_recorded(found, model)
    cfg = OmegaConf.create(found.config)
    other = OtherData(found.config["data"], options.split or "test", whole=False)
    if options.data:
        other = other_data(found.config, options.data, options.split)
        cfg.data = OmegaConf.create(other.data)
    _check_data(cfg, found, options, root)
    cfg.trainer = {"enable_progress_bar": True}  # nothing else of it is read
    return cfg, other


def _check_recorded(found: RunRecord, model: Model) -> None:
    """Refuses a configuration that cannot read data, before anything is read."""
    faults = [f"lacks {key}" for key in lacking(found.config, ("data",))]
    if not faults:
        data: dict[str, Any] = {"data": found.config["data"]}
        if not foreign_targets(data):  # those are refused, or trusted and then made as they are
            check_values(OmegaConf.create(data))
            faults += misfits(data)
        if (data["data"]["x"] is None) != (model.x is None):
            faults.append("data.x is not what its model reads")
    if faults:
        allowed = "allowed: the configuration of a run, unchanged"
        raise DataError(f"{found.typed}: its config.yaml: {'; '.join(faults)}; {allowed}")


def _check_data(cfg: DictConfig, found: RunRecord, options: Evaluate, root: Path) -> None:
    """Somebody else's record may neither name files of this machine, nor where to write."""
    read: Any = OmegaConf.to_container(cfg, resolve=True)
    instead = "input=FILE, or "
    for key, node in targets(read["data"], "data"):
        Maker(options.trust).find(str(node["_target_"]), key)
    how: dict[str, Any] = {"own_data": options.own_data, "instead": instead}
    check_data(found, {**read, "resume": None}, root, typed=options.data, **how)
    typed = any(one.lstrip("+").startswith("data.cache=") for one in options.data)
    if not typed and not found.is_own(root):
        cfg.data.cache = None


def _maker(
    model: Model, options: Evaluate, other: OtherData, counts: dict[str, int]
) -> Callable[[Any, str], Any]:
    """Makes sources that count their records, and fields with the weights of the training."""
    maker = Maker(options.trust)

    def make(node: Any, key: str) -> Any:
        if key == "data.source":
            return Counted(maker.make(node, key), other.split, whole=other.whole, counts=counts)
        trained = {"data.x": model.x, "data.y": model.y}.get(key)
        if trained is None:
            return maker.make(node, key)
        field = maker.make(without_files(node), key)
        field.restore_weights(trained.weights())
        return field

    return make


def _of_split(model: Model, data: SequenceData, split: str, options: Evaluate) -> Evaluation:
    examples = data.columns(split)
    lanes = data.bptt is not None
    lengths = [0] * data.sizes[split]
    if not lanes:
        timed = examples.y if examples.x is None or not examples.x.has_time else examples.x
        lengths = timed.lengths.tolist()
    column = examples.x if _by_condition(model) else examples.y
    assert column is not None
    truths = [] if lanes else _classes(model, (column.array(i) for i in range(len(lengths))))
    evaluation = Evaluation(model.task, _cells(lengths, truths), options.seed)
    carried = Carried()
    loader = data.loader(split, shuffle=False)
    with Progress(doing="evaluating") as progress, torch.inference_mode():
        for batch in progress.count(loader, split):
            moved = batch.to(model.device)
            evaluation.add(model.network, moved, answer(model.network, moved, carried))
    return evaluation


def _of_input(
    model: Model, options: Evaluate, input: str, root: Path, counts: dict[str, int]
) -> Evaluation:
    reader = open_reader(model, options, root, input, labelled=True)
    pieces, problems = [], []
    for row, one in enumerate(counted(reader.read(input), counts)):
        try:
            if isinstance(one, DataError):
                raise one
            read = model.encoder.pieces(row, one, labelled=True)
            model.task.check_pieces((piece.x, piece.y) for piece in read)
            pieces += read
        except DataError as error:
            where = "" if isinstance(one, DataError) else f"{getattr(one, 'place', row)}: "
            problems += [f"{where}{text}" for text in error.problems]
        if len(problems) >= 10:
            break
    if problems:
        raise DataError(problems[:10])
    if not pieces:
        raise DataError(f"input={input}: holds no examples; allowed: one or more")
    steps = [piece.steps for piece in pieces]
    by_x = _by_condition(model)
    entries = (piece.x if by_x else piece.y for piece in pieces)
    truths = _classes(model, (entry for entry in entries if entry is not None))
    evaluation = Evaluation(model.task, _cells(steps, truths), options.seed)
    with Progress(doing="evaluating") as progress, torch.inference_mode():
        for chosen in progress.count(batched(pieces, MOST_ROWS, MOST_STEPS), input):
            batch = model.encoder.batch([pieces[place] for place in chosen]).to(model.device)
            batch.index = torch.tensor(chosen)
            outputs = model.network(batch.x, batch.x_lengths, batch.y, batch.y_lengths)
            evaluation.add(model.network, batch, outputs)
    return evaluation


def _by_condition(model: Model) -> bool:
    """True if the slices are the classes of x, a condition."""
    return model.x is not None and item_role(model.x, model.y) == "y"


def _classes(model: Model, truths: Iterator[Any]) -> list[str]:
    """`class spam` of each example, where y is one of a few classes; of x, `condition spam`."""
    spec = model.spec.x if _by_condition(model) else model.spec.y
    assert spec is not None
    if not spec.is_class or spec.size > CLASSES_SHOWN:
        return []
    names = spec.names or ()
    what = "condition" if _by_condition(model) else "class"
    return [f"{what} {names[int(np.asarray(truth))]}" for truth in truths]


def _cells(lengths: Sequence[int], classes: Sequence[str]) -> list[tuple[str, ...]]:
    of_length = lengths_parted(lengths)
    every = [of_length, list(classes)] if classes else [of_length]
    return [tuple(name for name in cell if name) for cell in zip(*every, strict=True)]


def _print(
    measured: Sequence[Measured],
    before: dict[str, float],
    title: str,
    options: Evaluate,
    read: str,
) -> None:
    console = PlainConsole()
    whole = measured[0]
    examples = "1 example" if whole.examples == 1 else f"{whole.examples:,} examples"
    table = Table(title=f"{title}, {examples}", title_justify="left")
    for name in ("metric", "value", f"{options.confidence:.0%} interval", "at training"):
        table.add_column(name, justify="left" if name == "metric" else "right")
    for key, value in whole.metrics.items():
        ends = f"{whole.low[key]:.4g} to {whole.high[key]:.4g}" if key in whole.low else ""
        then = f"{before[key]:.4g}" if key in before else ""
        table.add_row(key, f"{value:.4g}", ends, then)
    console.print(table)
    if read:
        console.print(read)
    if len(measured) == 1:
        return
    keys = [key for key in measured[1].metrics if "/" not in key]
    sliced = Table(title="by slice", title_justify="left")
    for name in ("slice", "examples", *keys):
        sliced.add_column(name, justify="left" if name == "slice" else "right")
    for one in measured[1:]:
        cells = [_with_ends(one, key) for key in keys]
        sliced.add_row(one.slice, f"{one.examples:,}", *cells)
    console.print(sliced)


def _with_ends(one: Measured, key: str) -> str:
    if key == "macro_f1" and one.slice.startswith("class "):
        return ""  # a mean over classes, of which the slice holds one
    if key not in one.low:
        return f"{one.metrics[key]:.4g}"
    return f"{one.metrics[key]:.4g} ({one.low[key]:.3g} to {one.high[key]:.3g})"


def _flat(name: str, measured: Sequence[Measured]) -> dict[str, float]:
    """`evaluate/<split>/<metric>`, and the ends of its interval, which no class can be named."""
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
