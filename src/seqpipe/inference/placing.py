"""Answers put back into the records they answer: spans with their words, forecasts in units."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from seqpipe.data.base import Field, Record
from seqpipe.errors import DataError
from seqpipe.inference.answers import Answer

_Steps = tuple[list[str], Callable[[Sequence[str]], str]]  # and what joins them


def placed(answer: Answer, record: Record, x: Field | None, data: Mapping[str, Any]) -> Answer:
    """An answer in the words and units of its record.

    Spans get the words they are of, and are counted from the first word of the record where
    training kept the last steps only. A forecast of differences to the last step becomes numbers
    of the series, for which the record holds that step as `last`.

    Args:
        answer: of the model.
        record: that was asked.
        x: the field that was read.
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
        return {**answer, "prediction": _undone(answer["prediction"], record["last"])}
    return answer


def is_relative(data: Mapping[str, Any]) -> bool:
    """Whether what is answered are differences to the last step of the past."""
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


def _undone(prediction: Any, last: Any) -> Any:
    """(H,) or (H * K,) differences and (K,) numbers, or one of each."""
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
