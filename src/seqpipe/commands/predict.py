"""Predict for raw input: `python -m seqpipe predict run=latest input=new.csv output=out.csv`."""

import gc
import logging
import re
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any

from rich.table import Table

from seqpipe.allocator import keep_freed_memory
from seqpipe.commands.dispatch import Answer
from seqpipe.commands.options import Predict
from seqpipe.console import PlainConsole
from seqpipe.data.placed import PlacedRecord
from seqpipe.data.progress import Progress
from seqpipe.errors import ConfigError, DataError, counted
from seqpipe.inference.ensemble import Ensemble
from seqpipe.inference.generate import Decoding
from seqpipe.inference.model import Model
from seqpipe.inference.outputs import columns_of, of_input
from seqpipe.inference.predictor import Asked
from seqpipe.inference.readers import Reader
from seqpipe.inference.regions import SUFFIXES, check_regions, reading_of
from seqpipe.inference.writers import Output, check_output
from seqpipe.report.markdown import number
from seqpipe.runs.open_model import open_model, open_reader, read_language_model
from seqpipe.runs.options import SWEEP
from seqpipe.runs.sweep_members import Opened, ensemble_or_reason, find_members, open_members

WRITTEN = 1_024  # rows at once
SELDOM = 50_000  # new objects between two collections of garbage
MOST_UNREAD = 100_000  # unreadable rows that are kept in memory
_PLACE = re.compile(r".*?:(\d+): ", re.DOTALL)

log = logging.getLogger(__name__)


def run(options: Predict, root: Path) -> Answer:
    """Read, predict and write in a stream.

    Raises:
        ConfigError: an option does not fit the model, or the output cannot be written.
        DataError: with on_error=stop, a row cannot be answered.
    """
    format = check_output(options.output, options.input, options.output_format)
    opened = list[Opened]()
    if options.run.startswith(SWEEP):
        opened = open_members(options, find_members(options, root), root)
        opened[0].model.check_predicts()  # of the others there is no ensemble
        made, reason = ensemble_or_reason(opened, options.run)
        if made is None:
            _show_members(opened)
            allowed = f"allowed: run=<the folder of one of them>, as {opened[0].member.folder}"
            raise ConfigError(f"{reason}; {allowed}")
        model = made
    else:
        model, _ = open_model(options, root)
    if format in SUFFIXES.values():
        check_regions(options.output, tagged=model.spec.y.form.needs_steps)
    read_language_model(model, options, root)
    reader = open_reader(model, options, root, options.input)
    started = time.perf_counter()
    total, failed = answer_all(model, reader, options, format)
    _summarise(options, total, failed, time.perf_counter() - started)
    if opened:
        network = model.network
        assert isinstance(network, Ensemble)
        _show_members(opened, network)
    return Answer()


def _show_members(opened: Sequence[Opened], ensemble: Ensemble | None = None) -> None:
    """Prints a table of the models of a sweep on stderr, beside the answers.

    Args:
        opened: the models.
        ensemble: that has answered; None: there is none.
    """
    jobs = [one.member.job for one in opened]
    names = list(dict.fromkeys(job.kept for job in jobs))
    table = Table(title="models of the sweep", title_justify="left")
    agreed: Sequence[str] = ["" for _ in jobs]
    if ensemble is not None:
        how = number if ensemble.has_numbers else "{:.1%}".format
        agreed = [how(value) for value in ensemble.agreement()]
    compared = "distance from" if ensemble is not None and ensemble.has_numbers else "agrees with"
    for name in ("job", *names, *([f"{compared} the ensemble"] if ensemble else []), "run"):
        table.add_column(name, justify="left" if name in ("job", "run") else "right")
    for one, job, agrees in zip(opened, jobs, agreed, strict=True):
        numbers = (number(job.monitored) if job.kept == name else "" for name in names)
        cells = [one.member.name, *numbers, *([agrees] if ensemble else [])]
        table.add_row(*cells, one.found.run_id or str(one.member.folder))
    if ensemble is not None:
        table.add_row(f"ensemble of {len(opened)}", *("" for _ in names), "", "wrote the answers")
    PlainConsole(stderr=True).print(table)


def answer_all(model: Model, reader: Reader, options: Predict, format: str) -> tuple[int, int]:
    """Stream the input through the model, with about a thousand rows in memory at a time.

    Returns the number of rows, and the number of rows without an answer.
    """
    keep_freed_memory()
    how = Decoding(options.beam_size, options.n_best, options.length_penalty, options.unknown)
    asked = model.answers(
        reader.read(options.input), decoding=how, batch_size=options.batch_size, ahead=True
    )
    types = columns_of(model.task, options.n_best, model.spec.x)
    reads_regions = format in SUFFIXES.values()
    reading = reading_of(model.config, model.spec.y.scheme) if reads_regions else None
    failed, total = 0, 0
    with (
        _seldom_collected(),
        Output(options.output, format, sys.stdout, types, ("error",), reading) as output,
        Progress(options.output != "-", "predicting") as progress,
    ):
        counted = progress.count(asked, options.input)
        head = _head(counted, options) if format != "jsonl" else []
        rows = _rows(chain(head, counted), options, types)
        some = list(islice(rows, max(WRITTEN, len(head))))
        while some:
            output.write(some)
            total += len(some)
            failed += sum(row["error"] is not None for row in some)
            some = list(islice(rows, WRITTEN))
        if total == 0:
            text = "has no rows; allowed: one row or more"
            raise DataError(f"input={options.input}: {text}")
    return total, failed


@contextmanager
def _seldom_collected() -> Iterator[None]:
    """Freeze long-lived objects, so that the garbage collector does not scan them again."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(SELDOM)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _head(asked: Iterator[Asked], options: Predict) -> list[Asked]:
    """The first rows, at least one of them readable: they define the columns of a table.

    Raises:
        DataError: none of very many can be read.
    """
    head = list(islice(asked, WRITTEN))
    while options.on_error == "row" and head and all(one.record is None for one in head):
        if len(head) > MOST_UNREAD:
            text = f"none of the first {len(head):,} rows can be read, as: {head[0].error}"
            raise DataError(f"input={options.input}: {text}; allowed: another format=...")
        more = list(islice(asked, WRITTEN))
        if not more:
            break
        head += more
    return head


def _rows(
    asked: Iterator[Asked], options: Predict, types: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    taken = {"line", "error", *types, *(name.partition(".")[0] for name in types)}
    for one in asked:
        if one.error is not None and options.on_error == "stop":
            where = f"{one.place}: " if one.place else ""
            raise DataError(f"{where}{one.error.removeprefix(where)}")
        yield _row(one, options.columns, taken)


def _row(one: Asked, columns: bool, taken: Collection[str]) -> dict[str, Any]:
    """The line number, the columns of the input, and the answer or the error."""
    row: dict[str, Any] = {}
    record, error = one.record, one.error
    if isinstance(record, PlacedRecord) and record.line is not None:
        row["line"] = record.line
    elif record is None and error is not None:
        if place := _PLACE.match(error):
            row["line"], error = int(place[1]), error[place.end() :]
    if columns and record is not None:
        row |= of_input(record, taken)
    row |= one.answer or {}
    row["error"] = error
    return row


def _summarise(options: Predict, total: int, failed: int, seconds: float) -> None:
    if failed:
        text = "%s of %s rows could not be read; their column `error` has the reason"
        log.warning(text, f"{failed:,}", f"{total:,}")
    if options.output != "-":
        rate, answers = total / seconds, total - failed
        number = counted(answers, "answer")
        speed = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
        print(f"{number} in {options.output}, {speed} rows a second", file=sys.stderr)
