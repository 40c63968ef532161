"""Columns of answers, and answers in the words and units of their records."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from seqpipe.data.base import Field, FieldSpec, Record
from seqpipe.data.kinds import Answer, Columns
from seqpipe.errors import DataError
from seqpipe.inference.unknown_symbols import counts_unknown
from seqpipe.tasks.base import Task

_CELLS = (str, int, float, type(None))  # bool is an int


def columns_of(task: Task, n_best: int = 1, x: FieldSpec | None = None) -> Columns:
    """Return the columns of a model's answers, flat, name -> type, before it answers anything.

    Args:
        task: the model's task.
        n_best: number of answers of each input, if they are searched for.
        x: properties of the input; for text, a column counts unknown symbols.
    """
    return task.columns(n_best) | ({"unknown": pa.int64()} if counts_unknown(x) else {})


def of_input(record: Mapping[str, Any], taken: Collection[str]) -> dict[str, Any]:
    """Return the columns of a record that a table can hold: values and lists of values, no arrays.

    Args:
        record: the input.
        taken: names of other columns of the table; a column of such a name becomes `input.<name>`.
    """
    columns = {}
    for name, value in record.items():
        if type(value) is not str:  # most are
            cells = [_plain(one) for one in (value if isinstance(value, list) else [value])]
            if not all(isinstance(one, _CELLS) for one in cells):
                continue
            value = cells if isinstance(value, list) else cells[0]
        columns[f"input.{name}" if name in taken else name] = value
    return columns


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    return str(value) if isinstance(value, (date, time, Decimal)) else value


_Steps = tuple[list[str], Callable[[Sequence[str]], str]]  # and what joins them


def place_answer(
    answer: Answer, record: Record, x: Field | None, data: Mapping[str, Any]
) -> Answer:
    """Write an answer in the words and units of its record.

    Spans get their words, and are counted from the first word of the record even if training kept
    the last steps only. A forecast of differences to the last step becomes numbers of the series;
    the record holds that step as `last`.

    Args:
        answer: the model's.
        record: the input.
        x: the field of x.
        data: the configuration of the data: its source, `keep`.

    Raises:
        DataError: `last` is missing, or holds no such numbers.
    """
    if "spans" in answer and x is not None:
        steps = x.steps(record.get(x.column))
        return {**answer, "spans": _spans(answer, steps, data)}
    if is_relative(data):
        if "last" not in record:
            text = "the last step of the past, which what is forecast is added to"
            raise DataError(f"last: is missing; allowed: {text}; 0 for the differences alone")
        return {**answer, "prediction": _add_last(answer["prediction"], record["last"])}
    return answer


def is_relative(data: Mapping[str, Any]) -> bool:
    """True if answers are differences to the last step of the past."""
    source: Mapping[str, Any] = data.get("source") or {}
    return bool((source.get("local") or source).get("relative_to_last", False))


def _spans(answer: Answer, steps: _Steps, data: Mapping[str, Any]) -> list[dict[str, Any]]:
    words, join = steps
    answered, before = len(answer["prediction"]), 0
    if len(words) > answered == data.get("max_length"):
        before = len(words) - answered if data["keep"] == "last" else 0
    elif len(words) != answered:
        return answer["spans"]  # type: ignore[no-any-return]
    placed = []
    for span in answer["spans"]:
        start, end = span["start"] + before, span["end"] + before
        placed.append({**span, "start": start, "end": end, "text": join(words[start:end])})
    return placed


def _add_last(prediction: Any, last: Any) -> Any:
    """Add (K,) numbers to (H,) or (H * K,) differences, or one to one."""
    many = len(prediction) if isinstance(prediction, list) else 1
    try:
        start = [float(number) for number in last] if not isinstance(last, str) else []
    except (TypeError, ValueError, OverflowError):
        start = []
    if not start or many % len(start) or not all(map(math.isfinite, start)):
        text = "the last step of the past is added to what is forecast; allowed: a list of numbers"
        raise DataError(f"last={last!r}: {text}")
    if not isinstance(prediction, list):
        return prediction + start[0]
    return [value + start[place % len(start)] for place, value in enumerate(prediction)]
