"""Series in wide form: all numbers of one series on one line."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np

from seqpipe.data.base import Found, PlacedRecord, place
from seqpipe.data.sources.argument_checks import not_there
from seqpipe.data.sources.numeric_text import (
    Missing,
    Numbers,
    SeriesTable,
    filled,
    numbers,
)
from seqpipe.data.sources.table_formats import cell_rows
from seqpipe.data.sources.text_lines import lines
from seqpipe.errors import ConfigError, DataError, counted, did_you_mean, first_of
from seqpipe.files import is_file
from seqpipe.rules import whole

Column = str | int


class _Places(NamedTuple):
    """The places of the columns in a row."""

    names: list[str]
    series: list[int]
    label: int | None
    keep: list[int]


_LOOKED_AT = 100  # rows, to tell whether they hold labels


@dataclass(kw_only=True)
class WideCsv(SeriesTable):
    """A series a row: its numbers, a label, and other columns to group by.

    Records: `series` (T, D) float64; `label` str, if one is given; the columns of `keep`, str.

    Args:
        header: the first row names the columns.
        label: column of the class or number to answer, by name or place (from 0, or from the end
            as -1); None: there is none.
        columns: those of the series, in their order; None: all that are neither label nor kept.
        keep: other columns of the records, to group or stratify by.
        features: D, numbers a step.
        layout: `interleaved`, step after step (x1, y1, x2, y2, ...), or `blocks`, all of the
            first number, then all of the second (x1, x2, ..., y1, y2, ...).
        unequal: empty cells at the end of a series end it, and rows may be shorter.
        names: file with the name of a class a line, for labels 0, 1, ...; None: labels are names.
        missing: what becomes of a cell that is empty, `?` or NaN: `error`, or filled by the
            number `previous` to it, on a `linear` way to the next, or with `zero`.

    Raises:
        ConfigError: `features` below 1, blocks of one feature, and what `FileSource` refuses.
    """

    companions: ClassVar = {"names": ()}

    header: bool = True
    label: Column | None = None
    columns: list[Column] | None = None
    keep: list[Column] | None = None
    features: Annotated[int, whole(1)] = 1
    layout: Literal["interleaved", "blocks"] = "interleaved"
    unequal: bool = False
    names: str | None = None
    missing: Missing = "error"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layout == "blocks" and self.features == 1:
            text = "each step is one number, which makes one block; allowed: interleaved"
            raise ConfigError(f"data.source.layout=blocks: {text}, or data.source.features above 1")
        self.names_file = next(iter(self.companion_files()), None)
        self._known: frozenset[str] | None = None  # to predict: the labels, which may be missing

    def without_y(self, column: str, known: Sequence[str]) -> str:
        """A file need not have the label's column; without a header it shows by known classes."""
        if column == "label":
            self._known = frozenset(known)
        return ""

    def parse(self, file: Path) -> Iterator[Found]:
        """A record for each row.

        Raises:
            DataError: a column that is not there, no rows, class names that cannot be read.
        """
        if self._known is not None and not self._has_label(file, self._known):
            bare = copy.copy(self)
            bare.label, bare._known = None, None
            yield from bare.parse(file)
            return
        places: _Places | None = None
        empty = True
        for line, cells in cell_rows(file, self.encoding, self.delimiter):
            if isinstance(cells, DataError):
                if places is None and self.header:
                    raise cells
                yield cells
            elif places is None and self.header:
                places = self._places(cells, file, line)
                continue
            else:
                if places is None or (self.unequal and not self.header):
                    places = self._places(cells, file, line)
                try:
                    yield PlacedRecord(self._record(cells, places), file, line)
                except ValueError as problem:
                    yield DataError(f"{place(file, line)}: {problem}")
            empty = False
        if empty:
            below = " below its header" if self.header else ""
            raise DataError(f"{file}: has no rows{below}; allowed: one series per row")

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The class names of `names`, by their number.

        Raises:
            DataError: the file cannot be read.
        """
        file, allowed = self.names_file, "one class name per line"
        assert file is not None
        if not is_file(file):
            raise DataError(not_there(f"{file}", file, allowed))
        found: list[str] = []
        for _, line in lines(file, self.encoding):
            if isinstance(line, DataError):
                raise line
            if line.strip():
                found.append(line.strip())
        if not found:
            raise DataError(f"{file}: is empty; allowed: {allowed}")
        return tuple(found)

    def _has_label(self, file: Path, known: frozenset[str]) -> bool:
        """True where a file has the column of the label."""
        head = islice(cell_rows(file, self.encoding, self.delimiter), _LOOKED_AT)
        rows = [cells for _, cells in head if isinstance(cells, list)]
        if self.label is None or not rows:
            return False
        try:
            at = self._at(self.label, self._names(rows[0]))
        except ValueError:
            return False
        if self.header or not known or self.names_file is not None:
            return True
        held = [row for row in rows if at < len(row)]
        return 2 * sum(_is_label(row, at, known) for row in held) >= len(rows)

    def _places(self, row: list[str], file: Path, at: int) -> _Places:
        """The places of the columns, by the first row.

        Raises:
            DataError: one is not there, or those of the series make no whole steps.
        """
        names = self._names(row)
        try:
            label = None if self.label is None else self._at(self.label, names)
            keep = [self._at(column, names) for column in self.keep or ()]
            if self.columns is None:
                series = [p for p in range(len(row)) if p != label and p not in keep]
            else:
                series = [self._at(column, names) for column in self.columns]
            if not series or (len(series) % self.features and not self.unequal):
                text = f"{counted(len(series), 'column')} make no steps of {self.features} numbers"
                raise ValueError(f"{text}; allowed: features=1, or another choice of columns")
        except ValueError as problem:
            raise DataError(f"{place(file, at)}: {problem}") from None
        return _Places(names, series, label, keep)

    def _names(self, row: list[str]) -> list[str]:
        """The names of the columns, by the first row; without a header their places."""
        return row if self.header else list(map(str, range(len(row))))

    def _at(self, column: Column, names: list[str]) -> int:
        return _position(column, names, header=self.header)

    def _record(self, row: list[str], places: _Places) -> dict[str, object]:
        width = len(places.names)
        if self.unequal and len(row) < width:
            row = row + [""] * (width - len(row))
        if len(row) != width:
            first = "the header" if self.header else "the first row"
            raise ValueError(f"holds {counted(len(row), 'cell')}; allowed: {width}, as {first}")
        record: dict[str, object] = {"series": self._series(row, places)}
        if places.label is not None and self._known is None:
            record["label"] = self._label(row[places.label])
        return record | {places.names[p]: row[p] for p in places.keep}

    def _series(self, row: list[str], places: _Places) -> Numbers:
        values = np.empty(len(places.series))
        try:
            values[:] = numbers([row[p] for p in places.series])
        except ValueError:
            for p in places.series:  # again, to name the cell
                try:
                    numbers([row[p]])
                except ValueError as problem:
                    raise ValueError(f"column={places.names[p]}: {problem}") from None
        if self.unequal:
            values = np.append(values, [np.nan] * (-len(values) % self.features))
        if self.layout == "interleaved":
            series = values.reshape(-1, self.features)
        else:
            series = np.ascontiguousarray(values.reshape(self.features, -1).T)
        if self.unequal:
            real = np.flatnonzero(~np.isnan(series).all(axis=1))
            if len(real) == 0:
                raise ValueError("the series is empty; allowed: a step or more")
            series = series[: real[-1] + 1]
        return filled(series, self.missing)

    def _label(self, text: str) -> str:
        if not text:
            raise ValueError("label: is empty; allowed: a class or a number")
        if self.names_file is None:
            return text
        if not text.isdecimal() or int(text) >= len(self.classes):
            allowed = f"0 to {len(self.classes) - 1}, those that {self.names_file} names"
            raise ValueError(f"label={text}: not the number of a class; allowed: {allowed}")
        return self.classes[int(text)]


def _is_label(row: list[str], at: int, known: frozenset[str]) -> bool:
    """True for a cell that is a label, known or not: a word, or whole before decimal numbers."""
    label = row[at]
    try:
        numbers([label])
    except ValueError:
        return True
    others = [cell for place, cell in enumerate(row) if place != at]
    decimal = sum("." in cell for cell in others)
    return label in known or (label.lstrip("+-").isdecimal() and 2 * decimal > len(others))


def _position(column: Column, names: Sequence[str], *, header: bool) -> int:
    """The place of a column in a row, from 0.

    Raises:
        ValueError: there is no such column.
    """
    if isinstance(column, int):
        if not -len(names) <= column < len(names):
            raise ValueError(f"column={column}: there are {len(names)} columns; allowed: from 0")
        return column % len(names)
    if not header:
        allowed = f"header=true, or a place from 0 to {len(names) - 1}"
        raise ValueError(f"column={column}: no header names the columns; allowed: {allowed}")
    if column not in names:
        shown = first_of(names, 12)
        raise ValueError(
            f"column={column}: not in the header; allowed: {shown}{did_you_mean(column, names)}"
        )
    return list(names).index(column)
