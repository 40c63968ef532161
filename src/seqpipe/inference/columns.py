"""The columns of a table of answers: those of the input, and those that a model writes."""

from collections.abc import Collection, Mapping
from datetime import date, time
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from seqpipe.data.base import FieldSpec
from seqpipe.inference.unknowns import counts_unknown

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
        y: what is answered, see `seqpipe.inference.answers.answer_of`.
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
