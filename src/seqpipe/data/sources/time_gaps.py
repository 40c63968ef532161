"""Gaps in the time stamps of a series: steps longer than its usual ones."""

import datetime
import math
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path

import numpy as np

from seqpipe.data.sources.numeric_text import Numbers, cells, moment
from seqpipe.data.sources.text_lines import lines

_USUAL = 0.9  # nine steps of ten are no longer than the usual one: weekends are no gaps
_LONGER = 1.5  # times the usual step: months have 28 to 31 days
_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


Clock = Callable[[str], float]
"""From a time as it is written to a number that grows with it; NaN for what is none."""


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


def gaps_warning(key: str, file: Path, first: Gap, count: int) -> str:
    """How many gaps there are, and where the first is.

    Args:
        key: the column with the times, as typed.
        file: of the first one.
        first: of the gaps.
        count: of all.
    """
    usual = shown_step(first.usual, dates=not is_number(first.time or first.before))
    many = "1 gap" if count == 1 else f"{count:,} gaps"
    return f"{key}: {many} in its time stamps, the first in {file}, {first}, usually {usual}"


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


def moment_by(clock: Clock, cell: str) -> float:
    """What times are ordered by, by the clock of their column.

    Raises:
        ValueError: a time that cannot be ordered.
    """
    at = clock(cell)
    return moment(cell) if math.isnan(at) else at


def is_number(cell: str) -> bool:
    """Whether a time is a number, not a date."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=2**16)  # the series of a file often have the same times
def _read(cell: str, form: str) -> float:
    try:
        when = datetime.datetime.strptime(cell.strip(), form)
    except ValueError:
        return math.nan
    return when.replace(tzinfo=datetime.UTC).timestamp()


def clock_of(times: Sequence[str], *, named: bool = False) -> Clock | None:
    """What reads the times of a column, by its first cells; None where nothing reads them all.

    Of several, as of 01/02/2024, the one by which they grow most evenly.

    Args:
        times: the cells.
        named: it is known that the column holds times: what reads most of them, since some may be
            wrong, each of which is refused with its line.

    >>> clock_of(["28.02.2024", "29.02.2024"])("01.03.2024") - clock_of(["20240229"])("20240229")
    86400.0
    """
    cells = [cell for cell in times if cell.strip()]
    found: list[tuple[tuple[float, ...], Clock]] = []
    for clock in _CLOCKS if cells else ():
        if all(math.isnan(clock(cell)) for cell in cells[: _TRIED if named else 1]):
            continue
        moments = np.array([clock(cell) for cell in cells])
        are_read = np.isfinite(moments)
        if are_read.all() or (named and are_read.mean() > 0.5):
            found.append(((float(are_read.mean()), *_order(moments[are_read])), clock))
    return max(found, key=lambda one: one[0])[1] if found else None


def _order(moments: Numbers) -> tuple[float, ...]:
    """What is larger for times that grow from row to row, without gaps, by like steps."""
    steps = np.diff(moments)
    if not len(steps):
        return (1.0,)
    usual = usual_step(moments.tolist())
    gaps = sum(is_gap(step, usual) for step in steps.tolist())
    return float((steps > 0).mean()), -gaps, -len(np.unique(steps))


_DAYS = (
    *("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d-%m-%Y", "%d.%m.%y", "%m/%d/%y"),
    *("%d %b %Y", "%b %d, %Y", "%d-%b-%Y", "%d %B %Y", "%B %d, %Y"),
)
_HOURS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
_COMPACT = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])([0-2]\d|3[01])")
_CLOCKS: tuple[Clock, ...] = (
    lambda cell: _read(cell, "%Y%m%d") if _COMPACT.fullmatch(cell.strip()) else math.nan,
    known_moment,
    *(partial(_read, form=day + hour) for day in _DAYS for hour in _HOURS),
)
_TRIED = 5  # cells, before it is clear that a form is another one
_LOOKED_AT = 200  # rows, to find out how times are written
_CALLED = re.compile(
    r"(?:^|[\W_])(?:time|timestamp|epoch|unix\w*|date|datetime|ts)s?(?:$|[\W_])", re.IGNORECASE
)
_UNIX = (6e8, 4e9)  # seconds, 1989 to 2096; also in thousandths and beyond


def times_of(
    file: Path,
    encoding: str,
    delimiter: str | None,
    named: str | None,
    taken: Collection[str | None],
) -> tuple[str | None, Clock]:
    """The column with the times of a file, and the clock that reads it; None if there is none.

    Args:
        file: a csv with a header.
        encoding: of its text.
        delimiter: between cells; None: any white space.
        named: the column, where the user says which one it is.
        taken: columns that hold something else.
    """
    names, rows = _head(file, encoding, delimiter)
    if named is None:
        return _time_column(names, rows, taken) or (None, known_moment)
    first = [row[names.index(named)] for row in rows] if named in names else []
    return named, clock_of(first, named=True) or known_moment


def _time_column(
    names: Sequence[str], rows: Sequence[Sequence[str]], taken: Collection[str | None]
) -> tuple[str, Clock] | None:
    """The first column of dates that is none of those `taken`, else of growing Unix times."""
    numeric: tuple[str, Clock] | None = None
    for at, name in enumerate(names):
        column = [row[at] for row in rows]
        clock = None if name in taken else clock_of(column)
        if clock is None:
            continue
        if not all(is_number(cell) for cell in column if cell.strip()) or clock is _CLOCKS[0]:
            return name, clock
        if numeric is None and _counts_time(name, [clock(cell) for cell in column]):
            numeric = name, clock
    return numeric


def _counts_time(name: str, moments: Sequence[float]) -> bool:
    """True where growing numbers are times: by the name of their column, or as Unix times."""
    low, high = _UNIX
    scales = [1.0, 1e3, 1e6, 1e9]
    is_unix = any(low * scale <= min(moments) and max(moments) <= high * scale for scale in scales)
    return grows([moments]) and (is_unix or _CALLED.search(name) is not None)


def _head(file: Path, encoding: str, delimiter: str | None) -> tuple[list[str], list[list[str]]]:
    """The names of the columns, and the first rows that have as many cells."""
    found = (line for _, line in lines(file, encoding) if isinstance(line, str) and line.strip())
    rows: list[list[str]] = []
    for line in islice(found, _LOOKED_AT + 1):
        with suppress(ValueError):  # reading the file refuses it by its line
            rows.append(cells(line, delimiter))
    names = [name.strip() for name in rows[0]] if rows else []
    return names, [row for row in rows[1:] if len(row) == len(names)]
