"""Numbers as text files write them: cells to arrays, gaps filled or refused, times compared."""

import datetime
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from seqpipe.data.missing import MISSING_WORDS
from seqpipe.data.number_precision import MOST, check_exact
from seqpipe.data.sources.files import FileSource
from seqpipe.data.sources.text_lines import packed_too

Numbers = np.ndarray[Any, np.dtype[np.float64]]
Missing = Literal["error", "previous", "linear", "zero"]
"""What becomes of a number that is missing: refused, the one before it, on a line, 0."""


@dataclass(kw_only=True)
class SeriesTable(FileSource):
    """A source of series in tables.

    Args:
        delimiter: between cells; None: any white space.
    """

    suffixes = packed_too(".csv", ".tsv", ".txt")

    delimiter: str | None = ","


def number(cell: str) -> float:
    """A finite number, or NaN where the cell says that it is missing.

    Raises:
        ValueError: neither.
    """
    text = cell.strip()
    if text.lower() in MISSING_WORDS:
        return math.nan
    try:
        value = math.inf if "_" in text else float(text)  # Python alone reads 1_000 as a number
    except ValueError:
        value = math.inf
    if math.isinf(value):
        raise ValueError(f"{_shown(cell)} is not a number; allowed: as 12, -0.5 or 1e-3")
    if abs(value) >= MOST:
        check_exact(text, np.array(value))
    return value


def named_numbers(row: Mapping[str, str], columns: Sequence[str]) -> Numbers:
    """Some cells of a row as float64, (columns,); NaN where one is missing.

    Raises:
        ValueError: one is not a number; names its column.
    """
    values = np.empty(len(columns))
    for place_, column in enumerate(columns):
        try:
            values[place_] = number(row[column])
        except ValueError as problem:
            raise ValueError(f"column={column}: {problem}") from None
    return values


def numbers(row: Sequence[str]) -> Numbers:
    """Cells as float64, (cells,); NaN where one is missing.

    Raises:
        ValueError: one is not a number.
    """
    return np.array([number(cell) for cell in row], dtype=np.float64)


def filled(series: Numbers, missing: Missing) -> Numbers:
    """The series without NaN, (T, D), each of the D for itself.

    Before the first number that is there, `previous` and `linear` take that one.

    Raises:
        ValueError: a number is missing and is to be refused, or all of one column are.
    """
    gaps = np.isnan(series)
    if not gaps.any():
        return series
    fills = "missing=previous, linear or zero, which fill it"
    if missing == "error":
        t, d = np.argwhere(gaps)[0].tolist()
        where = f"step {t + 1}" + (f", number {d + 1}," if series.shape[1] > 1 else "")
        raise ValueError(f"{where} is missing; allowed: a number, or {fills}")
    if missing == "zero":
        return np.where(gaps, series.dtype.type(0), series)
    if gaps.all(axis=0).any():
        always = int(np.argmax(gaps.all(axis=0))) + 1
        raise ValueError(f"number {always} is missing at every step; allowed: missing=zero")
    steps, whole = np.arange(len(series)), series.copy()
    for d in np.flatnonzero(gaps.any(axis=0)):
        known = np.flatnonzero(~gaps[:, d])
        if missing == "linear":
            whole[:, d] = np.interp(steps, known, series[known, d])
        else:
            before = np.searchsorted(known, steps, side="right") - 1
            whole[:, d] = series[known[np.maximum(before, 0)], d]
    return whole


def moment(cell: str) -> float:
    """A time as a number: a number as it is, an ISO date in seconds.

    Raises:
        ValueError: neither.
    """
    text = cell.strip()
    try:
        value = float(text)
    except ValueError:
        month = len(text) == len("2024-01") and text[4:5] == "-"
        try:
            when = datetime.datetime.fromisoformat(f"{text}-01" if month else text)
        except ValueError:
            value = math.nan
        else:
            value = (when if when.tzinfo else when.replace(tzinfo=datetime.UTC)).timestamp()
    if not math.isfinite(value):
        allowed = "a number, 2024-01, 2024-01-31 or 2024-01-31 12:30:00"
        raise ValueError(f"time {_shown(cell)} cannot be ordered; allowed: {allowed}")
    return value


def _shown(cell: str) -> str:
    text = repr(cell.strip())
    return text if len(text) <= 40 else f"{text[:37]}..."
