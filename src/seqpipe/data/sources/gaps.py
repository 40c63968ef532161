"""Gaps in the time stamps of a series: steps longer than its usual ones."""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from seqpipe.data.sources.files import lines
from seqpipe.data.sources.numeric import cells, moment

_USUAL = 0.9  # nine steps of ten are no longer than the usual one: weekends are no gaps
_LONGER = 1.5  # times the usual step: months have 28 to 31 days
_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


@dataclass(frozen=True)
class Gap:
    """Two rows that follow each other in the file, but not in time.

    Args:
        line: of the later one.
        before: its predecessor's time, as written.
        time: its own.
        usual: the usual step, in seconds between dates.
    """

    line: int
    before: str
    time: str
    usual: float

    def __str__(self) -> str:
        return f"line {self.line} ({self.before or 'none'} to {self.time or 'none'})"


def usual_step(moments: Sequence[float]) -> float:
    """The step that nine of ten do not exceed; infinite where there are too few.

    Args:
        moments: of the rows of one series, in their order, NaN where one is not known.
    """
    steps = np.diff(np.asarray(moments, dtype=np.float64))
    steps = steps[steps > 0]
    if len(steps) < 2:
        return math.inf
    return float(np.quantile(steps, _USUAL, method="lower"))


def grows(series: Iterable[Sequence[float]]) -> bool:
    """Whether times mostly grow from row to row. series: the moments of each."""
    steps = np.concatenate([np.diff(np.asarray(times, dtype=np.float64)) for times in series])
    return bool((steps > 0).mean() >= _USUAL) if len(steps) else False


def is_gap(step: float, usual: float) -> bool:
    """Whether a step is no usual one: too long, backwards, or between unknown times."""
    return not 0 < step <= _LONGER * usual


def shown_step(usual: float, dates: bool) -> str:
    """A step for people to read: `1 day`, or a number as it is.

    >>> shown_step(86_400.0, dates=True), shown_step(7_200.0, dates=True), shown_step(3.0, False)
    ('1 day', '2 hours', '3')
    """
    if not dates:
        return f"{usual:g}"
    name, size = next((unit for unit in _UNITS if usual % unit[1] == 0), _UNITS[-1])
    return f"{usual / size:g} {name}{'' if usual == size else 's'}"


def known_moment(cell: str) -> float:
    """See `moment`; NaN where a time is missing or cannot be ordered."""
    try:
        return moment(cell)
    except ValueError:
        return math.nan


def is_number(cell: str) -> bool:
    """Whether a time is a number, not a date."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def date_column(
    file: Path, encoding: str, delimiter: str | None, taken: Collection[str | None]
) -> str | None:
    """The first column whose first cell is an ISO date, and which is none of those `taken`."""
    rows = (line for _, line in lines(file, encoding) if isinstance(line, str) and line.strip())
    try:
        found: list[list[str]] = [cells(line, delimiter) for line in islice(rows, 2)]
    except ValueError:  # reading the file refuses it by its line
        return None
    if len(found) < 2 or len(found[0]) != len(found[1]):
        return None
    names, first = found
    for name, cell in zip(names, first, strict=True):
        if name.strip() not in taken and not is_number(cell) and known_moment(cell) > -math.inf:
            return name.strip()
    return None
