"""Outputs of a model: as answers, as columns of a table, as parts of their records."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from seqpipe.data.base import Field, FieldSpec, Record
from seqpipe.data.tags import spans
from seqpipe.errors import DataError
from seqpipe.inference.unknown_symbols import counts_unknown
from seqpipe.tasks.regression import in_units

Floats = np.ndarray[Any, np.dtype[np.float32]]
Answer = dict[str, Any]
"""Plain values by name; `prediction` is always among them."""


def answer_of(y: Field, spec: FieldSpec, predicted: Any, probabilities: Floats | None) -> Answer:
    """One example's answer.

    Args:
        y: the field, fitted.
        spec: what it says of itself.
        predicted: as `Task.decoded` gives it, of one example, without padding.
        probabilities: of the classes or labels, (K,), or (T, K) where there is one a step; None
            where the task gives none.

    Returns:
        category, ordinal: `prediction`, its `probability`, `probabilities` by class.
        multi_label: `prediction`, a list of labels; `probabilities` by label.
        number: `prediction`, a number, or a list where there are several; in the data's units.
        tags: `prediction`, a tag a step; `probability` of each; `spans`, where tags mark some.
        roll: `prediction`, the names of the notes of each step.
        values: `prediction`, (T, K) numbers in the data's units.
        symbols: `prediction`, text.
        Where x is text, `Answering` adds `unknown`, how many of its symbols are not known.
    """
    return _ANSWERS[spec.kind](y, spec, predicted, probabilities)


def _category(y: Field, spec: FieldSpec, predicted: Any, probabilities: Floats | None) -> Answer:
    assert spec.names is not None and probabilities is not None
    chances = probabilities.tolist()
    return {
        "prediction": spec.names[int(predicted)],
        "probability": chances[int(predicted)],
        "probabilities": dict(zip(spec.names, chances, strict=True)),
    }


def _labels(y: Field, spec: FieldSpec, predicted: Any, probabilities: Floats | None) -> Answer:
    assert spec.names is not None and probabilities is not None
    on = zip(spec.names, predicted.tolist(), strict=True)
    return {
        "prediction": [name for name, there in on if there],
        "probabilities": dict(zip(spec.names, probabilities.tolist(), strict=True)),
    }


def _number(y: Field, spec: FieldSpec, predicted: Any, probabilities: Floats | None) -> Answer:
    numbers = _in_units(spec, predicted).tolist()
    return {"prediction": numbers[0] if len(numbers) == 1 else numbers}


def _tags(y: Field, spec: FieldSpec, predicted: Any, probabilities: Floats | None) -> Answer:
    assert spec.names is not None and probabilities is not None
    tags = [spec.names[int(id_)] for id_ in predicted]
    chances = probabilities[range(len(predicted)), predicted.numpy()]
    answer: Answer = {"prediction": tags, "probability": chances.tolist()}
    if spec.scheme is not None:
        answer["spans"] = [
            {"type": span.type, "start": span.start, "end": span.end} for span in spans(tags)
        ]
    return answer


def _roll(y: Field, spec: FieldSpec, predicted: Any, probabilities: Floats | None) -> Answer:
    names: Sequence[str] = spec.names or ()
    rows = torch.as_tensor(predicted).tolist()
    return {
        "prediction": [[name for name, on in zip(names, row, strict=True) if on] for row in rows]
    }


def _values(y: Field, spec: FieldSpec, predicted: Any, probabilities: Floats | None) -> Answer:
    return {"prediction": _in_units(spec, predicted).tolist()}


def _text(y: Field, spec: FieldSpec, predicted: Any, probabilities: Floats | None) -> Answer:
    return {"prediction": y.decode(predicted)}


def _in_units(spec: FieldSpec, numbers: Any) -> Tensor:
    """(..., K) float64 as they were before they were standardised."""
    return in_units(spec, torch.as_tensor(numbers, dtype=torch.float64))


_ANSWERS: dict[str, Callable[[Field, FieldSpec, Any, Floats | None], Answer]] = {
    "category": _category,
    "ordinal": _category,
    "multi_label": _labels,
    "number": _number,
    "tags": _tags,
    "roll": _roll,
    "values": _values,
    "symbols": _text,
}


_VALUES = (str, int, float, type(None))  # bool is an int
_TEXT, _NUMBER = pa.string(), pa.float64()
_TEXTS, _NUMBERS = pa.list_(_TEXT), pa.list_(_NUMBER)
_SPAN = {"type": _TEXT, "start": pa.int64(), "end": pa.int64(), "text": _TEXT}
_BEST = {"prediction": _TEXT, "score": _NUMBER}
_PREDICTION = {
    "category": _TEXT,
    "ordinal": _TEXT,
    "multi_label": _TEXTS,
    "tags": _TEXTS,
    "roll": pa.list_(_TEXTS),
    "values": pa.list_(_NUMBERS),
    "symbols": _TEXT,
}


def of_answers(y: FieldSpec, n_best: int = 1, x: FieldSpec | None = None) -> dict[str, pa.DataType]:
    """What a model writes of each example, flat, before it wrote any: name -> type.

    Args:
        y: what is answered, see `seqpipe.inference.outputs.answer_of`.
        n_best: answers of each input, where they are searched for.
        x: what is read; of text, a column counts the symbols that the model does not know.
    """
    unknown = {"unknown": pa.int64()} if counts_unknown(x) else {}
    return _of_predictions(y, n_best) | unknown


def _of_predictions(y: FieldSpec, n_best: int) -> dict[str, pa.DataType]:
    if y.kind == "number":
        return {"prediction": _NUMBER if y.size == 1 else _NUMBERS}
    columns = {"prediction": _PREDICTION[y.kind]}
    if y.kind in ("category", "ordinal"):
        columns["probability"] = _NUMBER
    if y.kind in ("category", "ordinal", "multi_label"):
        columns |= {f"probabilities.{name}": _NUMBER for name in y.names or ()}
    if y.kind == "tags":
        columns["probability"] = _NUMBERS
        if y.scheme is not None:
            columns["spans"] = pa.list_(pa.struct(list(_SPAN.items())))
    if y.kind == "symbols":
        columns["score"] = _NUMBER
        if n_best > 1:
            columns["n_best"] = pa.list_(pa.struct(list(_BEST.items())))
    return columns


def of_input(record: Mapping[str, Any], taken: Collection[str]) -> dict[str, Any]:
    """The columns of a record that a table can hold: values and lists of values, no arrays.

    Args:
        record: that was read.
        taken: names of columns that are written besides; such a one is called `input.<name>`.
    """
    columns = {}
    for name, value in record.items():
        cells = [_plain(one) for one in (value if isinstance(value, list) else [value])]
        if all(isinstance(one, _VALUES) for one in cells):
            kept = cells if isinstance(value, list) else cells[0]
            columns[f"input.{name}" if name in taken else name] = kept
    return columns


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    return str(value) if isinstance(value, (date, time, Decimal)) else value


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
