"""Answer raw input: `python -m seqpipe predict run=latest input=new.csv output=answers.csv`."""

import logging
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from seqpipe.data.base import PlacedRecord
from seqpipe.data.progress import Progress
from seqpipe.errors import ConfigError, DataError
from seqpipe.inference.answering import Asked
from seqpipe.inference.decoding import Decoding
from seqpipe.inference.model import Model
from seqpipe.inference.writing import Output, format_of
from seqpipe.verbs.asking import Predict
from seqpipe.verbs.opened import open_model, reader_of
from seqpipe.verbs.registry import Answer

WRITTEN = 1_024  # rows at once
_PLAIN = (str, int, float, bool)

log = logging.getLogger(__name__)


def run(options: Predict, root: Path) -> Answer:
    """Reads, answers and writes as it goes.

    Raises:
        ConfigError: an option that does not fit the model, or output that cannot be written.
        DataError: with on_error=stop, a row that cannot be answered.
    """
    kind = format_of(options.output, options.output_format)
    _refuse_own_input(options)
    model, _ = open_model(options, root)
    reader = reader_of(model, options.trust, options.format, options.encoding)
    how = Decoding(options.beam_size, options.n_best, options.length_penalty)
    asked = model.answers(
        reader.read(options.input), decoding=how, batch_size=options.batch_size, ahead=True
    )
    started, failed, total = time.perf_counter(), 0, 0
    with (
        Output(options.output, kind, sys.stdout) as output,
        Progress(options.output != "-", "predicting") as progress,
    ):
        rows = _rows(progress.count(asked, options.input), model, options)
        for some in iter(lambda: list(islice(rows, WRITTEN)), []):
            output.write(some)
            total += len(some)
            failed += sum(row["error"] is not None for row in some)
    if total == 0:
        raise DataError(f"input={options.input}: holds nothing to answer; allowed: one row or more")
    seconds = time.perf_counter() - started
    _tell(options, total, failed, seconds)
    return Answer()


def _refuse_own_input(options: Predict) -> None:
    """What is read must not be written over."""
    if "-" in (options.input, options.output):
        return
    if Path(options.input).resolve() == Path(options.output).resolve():
        text = "is the input; allowed: another file"
        raise ConfigError(f"output={options.output}: {text}")


def _rows(asked: Iterator[Asked], model: Model, options: Predict) -> Iterator[dict[str, Any]]:
    for one in asked:
        if one.error is not None and options.on_error == "stop":
            where = f"{one.place}: " if one.place else ""
            raise DataError(f"{where}{one.error.removeprefix(where)}")
        yield _row(one, options.columns)


def _row(one: Asked, columns: bool) -> dict[str, Any]:
    """Where it stood, its own columns, and the answer or what is wrong."""
    row: dict[str, Any] = {}
    record = one.record
    if isinstance(record, PlacedRecord) and record.line is not None:
        row["line"] = record.line
    if columns and record is not None:
        answer = one.answer or {}
        row |= {k: v for k, v in record.items() if isinstance(v, _PLAIN) and k not in answer}
    row |= one.answer or {}
    row["error"] = one.error
    return row


def _tell(options: Predict, total: int, failed: int, seconds: float) -> None:
    """What came of it, where it does not mix with the answers."""
    if failed:
        text = "%s of %s rows could not be answered, their column `error` says why"
        log.warning(text, f"{failed:,}", f"{total:,}")
    if options.output != "-":
        told = (
            f"{total - failed:,} answers in {options.output}, {total / seconds:,.0f} rows a second"
        )
        print(told, file=sys.stderr)
