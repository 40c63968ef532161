"""Windows over long series: what was measured so far, and what came next."""

import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import numpy as np

from seqpipe.bounds import Count
from seqpipe.data.base import SPLITS, Found, PlacedRecord, Splits, place
from seqpipe.data.sources.argument_checks import Names, NamesOrShare
from seqpipe.data.sources.numeric_text import Numbers, named_numbers
from seqpipe.data.sources.time_gaps import (
    Gap,
    TimedTable,
    grows,
    is_gap,
    moment_by,
    named_columns,
    usual_step,
)
from seqpipe.errors import ConfigError, DataError, counted


class _Row(NamedTuple):
    line: int
    time: str
    moment: float
    values: Numbers  # (D,)
    targets: Numbers  # (K,)


@dataclass(kw_only=True)
class Forecast(TimedTable):
    """Windows over one or several long series, a step a row of a csv.

    With shares, the last rows of each series are tested, those before them validated, the others
    trained on. A window belongs to the split of its targets; one with targets in two
    splits is left out. So no target is met before it is tested; what a window reads of its past
    may be a target of an earlier split, as it is known when the forecast is made.

    Records: `past` (P, D) float64; `future` (H,) float64, or (H, K) with several targets;
    `last` (K,) float64, the targets at the last step of the past; `time` str of the first target
    where there is a column of it.

    Args:
        valid: share of the rows of `train` to validate on, or files.
        test: share of the rows of `train` to test on, or files.
        values: columns with the D numbers of a step.
        targets: those to forecast, K of them; None: all of `values`.
        past: P, steps that are read.
        horizon: H, steps that are forecast.
        stride: steps from one window to the next.
        time: column by which rows must be in order, numbers or dates of a common form; None: not
            checked, but see `gaps`.
        gaps: what becomes of windows over a step in time that is longer than the usual one of the
            series: `break`, there are none, and the run warns; `ignore`, windows are of rows,
            whenever they were measured. Without `time`, a column of dates is looked at.
        id: column that tells several series apart, whose rows are adjacent; None: one a file.
        relative_to_last: `past` and `future` are differences to the last step of the
            past, which a trend then cannot carry out of the range of training. Errors stay in the
            units of the series.
        missing: what becomes of a number that is empty, `?` or NaN: `error`, or the `previous`.

    Raises:
        ConfigError: a size below 1, targets that are not read with relative_to_last.
    """

    split_by: ClassVar[str] = "time"

    test: NamesOrShare = 0.2
    values: list[str]
    past: Count
    horizon: Count = 1
    stride: Count = 1
    targets: list[str] | None = None
    gaps: Literal["break", "ignore"] = "break"
    id: str | None = None
    relative_to_last: bool = False
    missing: Literal["error", "previous"] = "error"
    group: Names | None = field(init=False, default=None)
    stratify: str | None = field(init=False, default=None)
    order: Literal["random", "file"] = field(init=False, default="file")
    seed: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._targets = self.targets or self.values
        if self.relative_to_last and not set(self._targets) <= set(self.values):
            unread = ", ".join(sorted(set(self._targets) - set(self.values)))
            text = f"the last {unread} is not read; allowed: false, or also in values"
            raise ConfigError(f"data.source.relative_to_last=true: {text}")
        self._usual: dict[Path, dict[str, float]] = {}  # the usual step of each series

    def read(self) -> Splits:
        """Each split reads its files whenever it is iterated, window by window.

        Raises:
            DataError: a file that is not there.
        """
        shares = self.shares
        of_train = self.files_of("train")
        views: dict[str, Iterable[Found]] = {}
        for split in SPLITS:
            files = of_train if split in shares else self.files_of(split)
            cut = shares if split == "train" or split in shares else {}
            views[split] = _Windows(self, files, split, cut)
        return Splits(**views)

    def without_y(self, column: str, known: Sequence[str]) -> str:
        """Only the end of each series is read; numbers that are only forecast are not."""
        self.bare = True
        self._targets = [name for name in self._targets if name in self.values]
        return ""

    def keep_together(self, columns: Sequence[str]) -> None:
        """Windows are split by their time, whatever they hold."""

    def warnings(self) -> list[str]:
        """See `FileSource`; the gaps, once the training split was gone through."""
        across = "no window goes across, unless data.source.gaps=ignore"
        return [*super().warnings(), *self.gap_warnings(across)]

    def columns(self) -> dict[str, str]:
        """See `TimedTable`."""
        return named_columns(id=self.id, values=self.values, targets=self._targets)

    def parse(self, file: Path) -> Iterator[Found]:
        """All windows of a file, from its first row to its last; without y, see `beyond`."""
        if self.bare:
            return self.beyond(file)
        return iter(_Windows(self, [file], "train", {}))

    def beyond(self, file: Path) -> Iterator[Found]:
        """The last P rows of each series, to forecast what comes after them: no `future`."""
        ends: dict[str, deque[_Row]] = {}
        broken: dict[str, DataError] = {}
        usual = self.usual_steps(file)
        for at, raw in self.rows(file, self.stamps(file)):
            id_ = "" if isinstance(raw, DataError) else self.series_of(raw)
            end = ends.setdefault(id_, deque(maxlen=self.past))
            try:
                if isinstance(raw, DataError):
                    raise raw
                row = self.row(at, raw, end[-1] if end else None, file)
                if usual and end and is_gap(row.moment - end[-1].moment, usual[id_]):
                    step = f"{end[-1].time or 'none'} to {row.time or 'none'} is a gap in time"
                    allowed = f"{self.past} rows after it, past={self.past}, or gaps=ignore"
                    broken[id_] = DataError(f"{place(file, at)}: {step}; allowed: {allowed}")
                    end.clear()
                end.append(row)
            except DataError as error:
                broken[id_] = error
                end.clear()
        for id_, end in ends.items():
            if len(end) == self.past:
                yield self._last(id_, end, file)
            elif id_ in broken:
                yield broken[id_]
            else:
                name = "" if self.id is None else f"{self.id}={id_}: "
                text = f"{name}has {counted(len(end), 'row')}"
                allowed = f"{self.past} or more, past={self.past}"
                yield DataError(f"{file}: {text}; allowed: {allowed}")

    def _last(self, id_: str, rows: Sequence[_Row], file: Path) -> PlacedRecord:
        past, last = np.stack([row.values for row in rows]), rows[-1].targets
        columns: dict[str, object] = {
            "past": past - past[-1] if self.relative_to_last else past,
            "last": last,
        }
        if self.id is not None:
            columns[self.id] = id_
        if self.time is not None:
            columns["after"] = rows[-1].time
        return PlacedRecord(columns, file, rows[-1].line)

    def series_of(self, raw: dict[str, str]) -> str:
        """The id of the series that a row belongs to."""
        return "" if self.id is None else raw[self.id]

    def stamps(self, file: Path) -> str | None:
        """The column with the time stamps of a file: `time`, or one that looks like times."""
        if self.time is not None or self.gaps == "ignore":
            return self.time
        return self.times_of(file)[0]

    def usual_steps(self, file: Path) -> dict[str, float]:
        """The usual step in time of each series of a file; none where gaps are not looked for."""
        column = self.stamps(file)
        if column is None or self.gaps == "ignore":
            return {}
        if file not in self._usual:
            moments: dict[str, list[float]] = {}
            clock = self.times_of(file)[1]
            for _, raw in self.rows(file, self.stamps(file)):
                if not isinstance(raw, DataError):
                    moments.setdefault(self.series_of(raw), []).append(clock(raw[column]))
            # A column that was not named and does not grow holds no times of steps.
            known = self.time is not None or grows(moments.values())
            steps = {id_: usual_step(times) for id_, times in moments.items()}
            self._usual[file] = steps if known else {}
        return self._usual[file]

    def record(self, window: Sequence[_Row], file: Path) -> PlacedRecord:
        """A window of P + H rows."""
        past = np.stack([row.values for row in window[: self.past]])
        future = np.stack([row.targets for row in window[self.past :]])
        last = window[self.past - 1].targets
        if self.relative_to_last:
            past, future = past - past[-1], future - last
        first = window[self.past]
        columns: dict[str, object] = {
            "past": past,
            "future": future[:, 0] if future.shape[1] == 1 else future,
            "last": last,
        }
        if self.time is not None:
            columns["time"] = first.time
        return PlacedRecord(columns, file, first.line)

    def row(self, line: int, raw: dict[str, str], before: _Row | None, file: Path) -> _Row:
        """A row as numbers; file: the file that holds it.

        Raises:
            DataError: a number that is none or missing, a time that is not later than before.
        """
        try:
            return self._row(line, raw, before, file)
        except ValueError as problem:
            raise DataError(f"{place(file, line)}: {problem}") from None

    def _row(self, line: int, raw: dict[str, str], before: _Row | None, file: Path) -> _Row:
        stamps = self.stamps(file)
        time = "" if stamps is None else raw[stamps]
        at = math.nan
        if stamps is not None:
            read = self.times_of(file)[1]
            at = read(time) if self.time is None else moment_by(read, time)
        if self.time is not None and before is not None and at <= before.moment:
            allowed = f"later than the row before, {before.time}"
            raise ValueError(f"{self.time}={time}: does not grow; allowed: {allowed}")
        values, targets = named_numbers(raw, self.values), named_numbers(raw, self._targets)
        if self.missing == "previous" and before is not None:
            values = np.where(np.isnan(values), before.values, values)
            targets = np.where(np.isnan(targets), before.targets, targets)
        for columns, found in ((self.values, values), (self._targets, targets)):
            if np.isnan(found).any():
                name = columns[int(np.argmax(np.isnan(found)))]
                allowed = "a number, or missing=previous below a row that has one"
                raise ValueError(f"column={name}: is missing; allowed: {allowed}")
        return _Row(line, time, at, values, targets)


class _Windows:
    """The windows of one split; reads the files each time it is gone through."""

    def __init__(
        self, source: Forecast, files: Sequence[Path], split: str, shares: dict[str, float]
    ) -> None:
        self.source, self.files, self.split, self.shares = source, files, split, shares
        # The rows of train are those of its shares too: their errors are reported once.
        self.reports_errors = split == "train" or split not in shares

    def __iter__(self) -> Iterator[Found]:
        count = 0
        for file in self.files:
            for found in self._of(file):
                count += not isinstance(found, DataError)
                yield found
        if count == 0:
            source, files = self.source, ", ".join(map(str, self.files))
            sizes = f"past={source.past} and horizon={source.horizon}"
            between = " between gaps in time" if any(source.found_gaps.values()) else ""
            text = f"no window of {sizes} fits the rows of {self.split}{between}"
            raise DataError(f"{files}: {text}; allowed: shorter ones, or more rows")

    def _of(self, file: Path) -> Iterator[Found]:
        source, bounds, seen = self.source, self._bounds(file), set[str]()
        usual = source.usual_steps(file)
        gaps = source.found_gaps[file] = (
            [] if self.reports_errors else source.found_gaps.get(file, [])
        )
        window: deque[_Row] = deque(maxlen=source.past + source.horizon)
        now, read = "", 0
        before: _Row | None = None
        for at, raw in source.rows(file, source.stamps(file)):
            if isinstance(raw, DataError):
                window.clear()  # no window goes over a gap
                if self.reports_errors:
                    yield raw
                continue
            id_ = source.series_of(raw)
            if id_ != now or not seen:
                if id_ in seen:
                    text = f"{source.id}={id_} comes back; allowed: the rows of one id together"
                    raise DataError(f"{place(file, at)}: {text}")
                seen.add(id_)
                now, read, before = id_, 0, None
                window.clear()
            read += 1
            try:
                row = source.row(at, raw, before, file)
            except DataError as error:
                before = None
                window.clear()
                if self.reports_errors:
                    yield error
                continue
            if usual and before is not None and is_gap(row.moment - before.moment, usual[id_]):
                window.clear()
                if self.reports_errors:
                    gaps.append(Gap(at, before.time, row.time, usual[id_]))
            before = row
            window.append(row)
            first, end = bounds.get(id_, (0, math.inf))
            target = read - source.horizon  # rows before the first target
            fits = len(window) == window.maxlen and first <= target and read <= end
            if fits and (target - max(first, source.past)) % source.stride == 0:
                yield source.record(tuple(window), file)

    def _bounds(self, file: Path) -> dict[str, tuple[int, int]]:
        """The first row of this split and the one after its last, by id; empty: all rows."""
        if not self.shares:
            return {}
        counts: Counter[str] = Counter()
        for _, raw in self.source.rows(file, self.source.stamps(file)):
            if not isinstance(raw, DataError):
                counts[self.source.series_of(raw)] += 1
        bounds = {}
        for id_, rows in counts.items():
            end = {"test": rows}
            end["valid"] = rows - round(self.shares.get("test", 0.0) * rows)
            end["train"] = end["valid"] - round(self.shares.get("valid", 0.0) * rows)
            first = {"train": 0, "valid": end["train"], "test": end["valid"]}
            bounds[id_] = first[self.split], end[self.split]
        return bounds
