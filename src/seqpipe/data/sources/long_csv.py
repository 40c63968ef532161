"""Series in long form: a step a row, the rows of one series together."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import numpy as np

from seqpipe.data.base import Found, PlacedRecord, place
from seqpipe.data.sources.argument_checks import not_there
from seqpipe.data.sources.numeric_text import Missing, Numbers, filled, named_numbers
from seqpipe.data.sources.table_formats import table_rows
from seqpipe.data.sources.time_gaps import (
    Clock,
    Gap,
    TimedTable,
    grows,
    is_gap,
    moment_by,
    named_columns,
    usual_step,
)
from seqpipe.errors import ConfigError, DataError
from seqpipe.files import is_file


class _Step(NamedTuple):
    line: int
    time: float
    features: Numbers  # (D,)
    targets: Numbers  # (K,)
    tag: str
    label: str
    stamp: str


@dataclass(kw_only=True)
class LongCsv(TimedTable):
    """A step a row: which series it belongs to, when, its numbers, and what is to be answered.

    The rows of one series are adjacent, so that a file of any size is read row by row.

    Records: `series` (T, D) float64; `id` str; `label` str, of the whole series, if one is given;
    `tags`, T of str, if one is given; `targets` (T, K) float64, if some are given.

    Args:
        id: column whose value is the same for all rows of a series.
        features: columns with the D numbers of a step.
        time: column by which the steps of a series are ordered: numbers, or dates of a common
            form; None: in the order of the file.
        time_order: `check` that steps are in order, or `sort` those of each series.
        label: column with the class or number of a whole series, the same in all its rows, or,
            with `labels`, a column of that file.
        labels: file with a row a series: columns `id` and `label`; None: labels are in the rows.
        tags: column with a class for each step.
        targets: columns with K numbers to answer at each step.
        missing: what becomes of a number that is empty, `?` or NaN: `error`, or filled by the
            number `previous` to it, on a `linear` way to the next, or with `zero`.

    Raises:
        ConfigError: an option that nothing would read, and what `FileSource` refuses.
    """

    companions: ClassVar = {"labels": ()}

    id: str
    features: list[str]
    time_order: Literal["check", "sort"] = "check"
    label: str | None = None
    labels: str | None = None
    tags: str | None = None
    targets: list[str] | None = None
    missing: Missing = "error"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.time_order == "sort" and self.time is None:
            text = "there is nothing to sort by; allowed: check, or also data.source.time=COLUMN"
            raise ConfigError(f"data.source.time_order=sort: {text}")
        if self.labels is not None and self.label is None:
            text = "no label is read; allowed: null, or also data.source.label=COLUMN"
            raise ConfigError(f"data.source.labels={self.labels}: {text}")
        self.labels_file = next(iter(self.companion_files()), None)
        self._targets = self.targets or []

    def without_y(self, column: str, known: Sequence[str]) -> str:
        """The column of the label, of the tags or the targets is not read."""
        if column == "label":
            self.label = self.labels_file = None
        elif column == "tags":
            self.tags = None
        elif column == "targets":
            self._targets = []
        return ""

    def warnings(self) -> list[str]:
        """See `FileSource`; gaps in time within a series, once the files were read."""
        alike = "a series is read as if all its steps were alike"
        return [*super().warnings(), *self.gap_warnings(alike)]

    def columns(self) -> dict[str, str]:
        """See `TimedTable`."""
        label = None if self.labels_file else self.label
        own = {"features": self.features, "targets": self._targets, "tags": self.tags}
        return named_columns(id=self.id, label=label, **own)

    def _gaps_in(self, steps: Sequence[_Step], file: Path) -> Iterator[Gap]:
        column, clock = self.times_of(file)
        moments = [] if column is None else [clock(step.stamp) for step in steps]
        usual = usual_step(moments)
        if not math.isfinite(usual) or (self.time is None and not grows([moments])):
            return
        for (before, step), length in zip(pairwise(steps), np.diff(moments).tolist(), strict=True):
            if is_gap(length, usual):
                yield Gap(step.line, before.stamp, step.stamp, usual)

    def parse(self, file: Path) -> Iterator[Found]:
        """A record for each series; one with a bad row is left out, and the row is an error.

        Raises:
            DataError: a column that is not there, no rows, labels that cannot be read.
        """
        now: str | None = None
        steps: list[_Step] = []
        broken, seen = False, set[str]()
        gaps: list[Gap] | None = None if file in self.found_gaps else []  # found the first time
        stamps, clock = self.times_of(file)
        for at, row in self.rows(file, stamps):
            if isinstance(row, DataError):
                yield row
                broken = True
                continue
            if row[self.id] != now:
                if steps and not broken:
                    yield self._series(now or "", steps, file, gaps)
                now, steps, broken = row[self.id], [], row[self.id] in seen
                if broken:
                    text = f"id={now} comes back; allowed: the rows of one id together"
                    yield DataError(f"{place(file, at)}: {text}")
                seen.add(now)
            if broken:
                continue
            try:
                steps.append(self._step(at, row, "" if stamps is None else row[stamps], clock))
            except ValueError as problem:
                yield DataError(f"{place(file, at)}: {problem}")
                broken = True
        if now is None and not broken:
            raise DataError(f"{file}: has no rows below its header; allowed: one step per row")
        if steps and not broken:
            yield self._series(now or "", steps, file, gaps)
        if gaps is not None:
            self.found_gaps[file] = gaps

    @cached_property
    def label_of(self) -> dict[str, str]:
        """The label of each id, from the file of `labels`.

        Raises:
            DataError: it cannot be read, or an id has two.
        """
        assert self.labels_file is not None and self.label is not None
        if not is_file(self.labels_file):
            columns = f"a csv with the columns {self.id} and {self.label}"
            raise DataError(not_there(f"{self.labels_file}", self.labels_file, columns))
        found: dict[str, str] = {}
        wanted = {self.id: "data.source.id", self.label: "data.source.label"}
        for at, row in table_rows(self.labels_file, self.encoding, self.delimiter, wanted):
            if isinstance(row, DataError):
                raise row
            if found.setdefault(row[self.id], row[self.label]) != row[self.label]:
                where = place(self.labels_file, at)
                raise DataError(f"{where}: id={row[self.id]} has two labels; allowed: one")
        return found

    def _step(self, line: int, row: dict[str, str], stamp: str, clock: Clock) -> _Step:
        label = ""
        if self.label is not None:
            label = self._label_of(row[self.id]) if self.labels_file else row[self.label]
        return _Step(
            line,
            0.0 if self.time is None else moment_by(clock, stamp),
            named_numbers(row, self.features),
            named_numbers(row, self._targets),
            "" if self.tags is None else row[self.tags],
            label,
            stamp,
        )

    def _label_of(self, id_: str) -> str:
        if id_ not in self.label_of:
            text = f"id={id_} has no label; allowed: one in {self.labels_file}"
            raise ValueError(text)
        return self.label_of[id_]

    def _series(self, id_: str, steps: list[_Step], file: Path, gaps: list[Gap] | None) -> Found:
        """The record of a series, or why it cannot be used; gaps in its time go to `gaps`."""
        first = steps[0]
        if self.time_order == "sort":
            steps = sorted(steps, key=lambda step: step.time)
        for before, step in pairwise(steps):
            problem = None
            if self.time is not None and step.time <= before.time:
                problem = f"{self.time} does not grow within id={id_}"
                problem += "; allowed: later than the row before"
                problem += ", or time_order=sort" if self.time_order == "check" else ""
            elif step.label != before.label:
                problem = f"{self.label}={step.label}: id={id_} began with {before.label}"
                problem += "; allowed: one label per series"
            if problem is not None:
                return DataError(f"{place(file, step.line)}: {problem}")
        if gaps is not None:
            gaps += self._gaps_in(steps, file)
        columns: dict[str, object] = {"id": id_}
        try:
            columns["series"] = filled(np.stack([s.features for s in steps]), self.missing)
            if self._targets:
                columns["targets"] = filled(np.stack([s.targets for s in steps]), self.missing)
        except ValueError as problem:
            return DataError(f"{place(file, first.line)}: id={id_}, {problem}")
        if self.tags is not None:
            columns["tags"] = [step.tag for step in steps]
        if self.label is not None:
            columns["label"] = first.label
        return PlacedRecord(columns, file, first.line)
