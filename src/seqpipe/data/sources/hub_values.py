"""From values as Hugging Face `datasets` gives them to entries of a record."""

from collections.abc import Callable, Iterable, Mapping
from datetime import date, time
from typing import Any

import numpy as np

from seqpipe.errors import DataError

Convert = Callable[[Any], Any]


def all_columns(names: Iterable[str], features: Mapping[str, Any]) -> list[str]:
    """Every column; of one that holds others, those: `translation.de`, `translation.en`."""
    flat: list[str] = []
    for name in names:
        inside = features.get(name)
        flat += [f"{name}.{inner}" for inner in inside] if isinstance(inside, dict) else [name]
    return flat


def column_of(batch: Mapping[str, list[Any]], name: str) -> list[Any]:
    """One column of a batch of rows; `translation.de` lies inside `translation`."""
    if name in batch:
        return batch[name]
    outer, _, inner = name.partition(".")
    return [None if row is None else row.get(inner) for row in batch[outer]]


def converter(name: str, features: Mapping[str, Any], names: bool) -> Convert:
    """From a value of a column to what a record may hold."""
    feature = features.get(name)
    if feature is None and "." in name:
        outer, _, inner = name.partition(".")
        inside = features.get(outer)
        feature = inside.get(inner) if isinstance(inside, dict) else None
    return _of_feature(feature) if names else _plain


def _of_feature(feature: Any) -> Convert:
    inner = getattr(feature, "feature", None)
    if inner is not None:
        convert = _of_feature(inner)
        return _plain if convert is _plain else lambda value: [convert(v) for v in _there(value)]
    known = getattr(feature, "names", None)
    if known is None:
        return _plain

    def name_of(value: int) -> str:
        if not 0 <= _there(value) < len(known):
            text = f"has no name; it has 0..{len(known) - 1} (a label that is kept secret is -1)"
            raise DataError(f"{value}: {text}")
        return str(known[value])

    return name_of


def _plain(value: Any) -> Any:
    """A value as a record may hold it.

    Raises:
        DataError: nothing, or of another kind.
    """
    if isinstance(value, (str, int, float, bytes, np.ndarray)):
        return value
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    if isinstance(value, (date, time)):
        return value.isoformat()
    if hasattr(value, "getbands"):  # a picture of Pillow
        return np.asarray(value)
    if isinstance(value, dict):
        text = "holds columns of its own; allowed: one of them, as in translation.de"
        raise DataError(f"{{{', '.join(value)}}}: {text}")
    _there(value)
    raise DataError(f"{type(value).__name__}: not a type that a record can hold")


def _there(value: Any) -> Any:
    if value is None:
        raise DataError("null: holds nothing; allowed: a value in every row")
    return value
