"""Times of the steps of a series: how they are written, and gaps between them."""

import datetime
import math
import re
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path

import numpy as np

from seqpipe.data.sources.numeric_text import Numbers, SeriesTable, moment
from seqpipe.data.sources.table_formats import table_rows
from seqpipe.errors import DataError, counted

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
    """True where times mostly grow from row to row. series: the moments of each."""
    steps = np.concatenate([np.diff(np.asarray(times, dtype=np.float64)) for times in series])
    return bool((steps > 0).mean() >= _USUAL) if len(steps) else False


def is_gap(step: float, usual: float) -> bool:
    """True for a step that is too long, backwards, or between unknown times."""
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
    """A time as a number, by the clock of its column.

    Raises:
        ValueError: a time that cannot be ordered.
    """
    at = clock(cell)
    return moment(cell) if math.isnan(at) else at


def is_number(cell: str) -> bool:
    """True for a time that is a number, not a date."""
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
    """The clock that reads the times of a column, by its first cells; None: there is none.

    Of several, as of 01/02/2024, the one by which they grow most evenly.

    Args:
        times: the cells.
        named: the user named the column: the clock that reads most of them, since some may be
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
    """A score that is larger for times that grow from row to row, without gaps, by equal steps."""
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


@dataclass(kw_only=True)
class TimedTable(SeriesTable):
    """A source of series in tables with a step a row, which may have a column of times.

    Args:
        time: the column of times: numbers, or dates of a common form; None: there is none.
    """

    time: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._times: dict[Path, tuple[str | None, Clock]] = {}
        self.found_gaps: dict[Path, list[Gap]] = {}

    @abstractmethod
    def columns(self) -> dict[str, str]:
        """The columns of a table that hold anything but times -> the keys that name them."""

    def times_of(self, file: Path) -> tuple[str | None, Clock]:
        """The column with the times of a file, and the clock that reads it; None: there is none.

        Where `time` is not given, a column that looks like times is taken.
        """
        if file not in self._times:
            names, rows = _head(file, self.encoding, self.delimiter)
            if self.time is None:
                found = _time_column(names, rows, self.columns()) or (None, known_moment)
            else:
                times = [row[names.index(self.time)] for row in rows] if self.time in names else []
                found = self.time, clock_of(times, named=True) or known_moment
            self._times[file] = found
        return self._times[file]

    def rows(
        self, file: Path, time: str | None
    ) -> Iterator[tuple[int, dict[str, str] | DataError]]:
        """The rows of a file with their lines; time: a column of times to read."""
        wanted = self.columns() | ({} if time is None else {time: "data.source.time"})
        return table_rows(file, self.encoding, self.delimiter, wanted)

    def gap_warnings(self, consequence: str) -> list[str]:
        """A warning with the number of gaps, the first, and the consequence for the data."""
        found = [(file, gap) for file, gaps in self.found_gaps.items() for gap in gaps]
        if not found:
            return []
        file, first = found[0]
        many = counted(len(found), "gap")
        usual = shown_step(first.usual, dates=not is_number(first.time or first.before))
        text = f"{many} in its time stamps, the first in {file}, {first}, usually {usual}"
        return [f"data.source.time={self.times_of(file)[0]}: {text}; {consequence}"]


def named_columns(**columns: str | Sequence[str] | None) -> dict[str, str]:
    """The columns that arguments of a source name -> the keys of those arguments."""
    listed = {k: [c] if isinstance(c, str) else c for k, c in columns.items() if c is not None}
    return {name: f"data.source.{key}" for key, names in listed.items() for name in names}


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
    """The names of the columns, and the first rows; nothing of a table that cannot be read."""
    rows: list[dict[str, str]] = []
    with suppress(DataError):  # reading the file refuses it
        for _, row in islice(table_rows(file, encoding, delimiter), _LOOKED_AT):
            rows += [] if isinstance(row, DataError) else [row]
    return (list(rows[0]), [list(row.values()) for row in rows]) if rows else ([], [])
