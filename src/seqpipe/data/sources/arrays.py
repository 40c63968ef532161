"""Arrays of numpy: a series a row of X, its label in the same row of y."""

import math
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

from seqpipe.data.base import SPLITS, Found, PlacedRecord, place
from seqpipe.data.number_precision import check_exact
from seqpipe.data.sources.files import FileSource, Names
from seqpipe.data.sources.numeric_text import Missing, Numbers, filled
from seqpipe.data.sources.split_names import split_of, split_of_array, without_split_of_array
from seqpipe.errors import DataError, did_you_mean
from seqpipe.files import is_file

Array = np.ndarray[Any, Any]
BROKEN_ARCHIVE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError),
    *(ValueError, NotImplementedError, RuntimeError),
)
"""The errors of `zipfile` for a file that is no archive, damaged, or encrypted."""


@dataclass(kw_only=True)
class SplitsInFiles(FileSource):
    """A source of files that hold several splits: `file.npz/train` names one of them."""

    encoding: str = field(init=False, default="utf-8")

    def names_part(self, name: str) -> bool:
        """True for a name of a part of a file."""
        return Path(name).parent.suffix.lower() in self.suffixes

    def _matching(self, split: str, name: str) -> list[Path]:
        if not self.names_part(name):
            return super()._matching(split, name)
        super()._matching(split, str(Path(name).parent))  # refuses a file that is not there
        return [self.folder / name]

    def inputs(self) -> list[Path]:
        """The files themselves, each once."""
        found = [located(file)[0] for split in SPLITS for file in self.files_of(split)]
        return list(dict.fromkeys(found))


@dataclass(kw_only=True)
class Npz(SplitsInFiles):
    """Series in an .npz: X (N, T, D) or (N, T), y with a row for each.

    With lengths (N,), X is padded and cut to them; or it holds all steps one after the other,
    (sum of lengths, D).

    Records: `series` (T, D), float32 where that holds every digit, else float64; `label`, where
    there is a y: str of a class (integers and text), float (floats), or an array, a row of a y
    with more axes.

    Args:
        x: name of the array of series in the file.
        y: name of the array of labels; None: there is none.
        lengths: name of the array with the steps of each series; None: all of X.
        missing: what becomes of a NaN: `error`, or filled by the number `previous` to it, on a
            `linear` way to the next, or with `zero`.
    """

    suffixes = (".npz",)

    x: str = "X"
    y: str | None = "y"
    lengths: str | None = None
    missing: Missing = "error"

    def without_y(self, column: str, known: Sequence[str]) -> str:
        """The array of y is not read."""
        self.y = None if column == "label" else self.y
        return ""

    def splits_inside(self, file: Path) -> dict[str, Names]:
        """The splits whose arrays a file holds, `X_train` and `X_test` in place of `X`."""
        found = _splits(file, self.x)
        if self.x in array_names(file) or "train" not in found or len(found) == 1:
            return {}
        return {split: f"{self.train}/{split}" for split in SPLITS if split in found}

    def unread(self, file: Path) -> list[str]:
        """The arrays of other splits in the file, where `x` is the array of one."""
        read = {self.x, self.y, self.lengths}
        others = sorted(n for n in array_names(file) if n not in read and split_of(n) is not None)
        if not others:
            return super().unread(file)
        whole, y = without_split_of_array(self.x), without_split_of_array(self.y or "")
        allowed = "data.source.x and y with the name of one split, and a file for each other one"
        if whole is not None and len(_splits(file, whole)) > 1:
            allowed = f"data.source.x={whole}" + (f" data.source.y={y} use" if y else " uses")
            allowed += " the given ones"
        text = f"{', '.join(others)} is not read; valid and test are shares of {self.x}"
        return [f"{file}: {text}; {allowed}"]

    def names_part(self, name: str) -> bool:
        """True for a name of a split in a file."""
        return super().names_part(name) and Path(name).name in SPLITS

    def parse(self, file: Path) -> Iterator[Found]:
        """A record for each series; its line is its number in the file, from 1.

        Of a file that holds splits, `file.npz/train` is one of them, the file itself all.

        Raises:
            DataError: no .npz, an array that is missing, has objects, or does not fit the others.
        """
        file, split = located(file)
        inside = [split] if split else [s for s in SPLITS if s in self.splits_inside(file)]
        splits: list[str | None] = [*inside] or [None]
        try:
            with zipfile.ZipFile(file) as opened:
                for one in splits:
                    yield from self._records(opened, file, *self._arrays(opened, file, one))
        except BROKEN_ARCHIVE as error:
            raise DataError(f"{file}: is no .npz file, or cut short ({error})") from None

    def _arrays(
        self, opened: zipfile.ZipFile, file: Path, split: str | None
    ) -> Iterator[str | None]:
        """The names of x, y and lengths; those of a split where they are called by it."""
        for name in (self.x, self.y, self.lengths):
            if split is None or name is None or name in array_names(file):
                yield name
            else:
                yield _splits(file, name).get(split, f"{name}_{split}")

    def _records(
        self,
        opened: zipfile.ZipFile,
        file: Path,
        of_x: str | None,
        of_y: str | None,
        of_lengths: str | None,
    ) -> Iterator[Found]:
        assert of_x is not None
        y = None if of_y is None else _whole(opened, file, of_y)
        shape = _header(opened, file, of_x).shape
        rows = _rows(opened, file, of_x)
        if len(shape) not in (2, 3):
            raise DataError(f"{file}: {of_x} has shape {shape}; allowed: (N, T, D) or (N, T)")
        if of_lengths is None:
            series: Iterator[Array] = rows
            count = shape[0]
        else:
            lengths = self._counts(_whole(opened, file, of_lengths), shape, file)
            series = self._cut(rows, lengths, padded=len(lengths) == shape[0])
            count = len(lengths)
        if y is not None and len(y) != count:
            text = f"{of_y} has {len(y)} rows, {of_x} {count} series"
            raise DataError(f"{file}: {text}; allowed: one row per series")
        if count == 0:
            raise DataError(f"{file}: {of_x} holds no series; allowed: one or more")
        for at, one in enumerate(series, 1):
            columns: dict[str, object] = {}
            try:
                columns["series"] = self._series(one)
                if y is not None:
                    columns["label"] = _label(y[at - 1])
            except ValueError as problem:
                yield DataError(f"{place(file, at)}: {problem}")
            else:
                yield PlacedRecord(columns, file, at)

    def _series(self, steps: Array) -> Numbers:
        if len(steps) == 0:
            raise ValueError(f"{self.x} has no steps here; allowed: one or more")
        array: Numbers = steps.astype(np.float32 if _is_narrow(steps.dtype) else np.float64)
        array = array[:, None] if array.ndim == 1 else array
        check_exact(steps, array)
        if np.isinf(array).any():
            raise ValueError(f"{self.x} holds infinity; allowed: finite numbers")
        return filled(array, self.missing)

    def _counts(self, lengths: Array, shape: tuple[int, ...], file: Path) -> list[int]:
        if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or (lengths < 0).any():
            text = f"{self.lengths} has shape {lengths.shape} of {lengths.dtype}"
            raise DataError(f"{file}: {text}; allowed: whole numbers from 0, (N,)")
        total = int(lengths.sum())
        padded, flat = len(lengths) == shape[0], total == shape[0] and len(shape) == 2
        if padded and len(lengths) and lengths.max() > shape[1]:
            text = f"{self.lengths} reaches {lengths.max()}, {self.x} has {shape[1]} steps"
            raise DataError(f"{file}: {text}; allowed: lengths within the padding")
        if not padded and not flat:
            text = f"{self.x} has {shape[0]} rows, {self.lengths} {len(lengths)} of {total} steps"
            allowed = "a padded row a length, or all steps one after the other, (steps, D)"
            raise DataError(f"{file}: {text}; allowed: {allowed}")
        return [int(length) for length in lengths]

    def _cut(self, rows: Iterator[Array], lengths: list[int], *, padded: bool) -> Iterator[Array]:
        for length in lengths:
            if padded:
                yield next(rows)[:length]
            else:
                yield np.array([next(rows) for _ in range(length)])


def _is_narrow(dtype: np.dtype[Any]) -> bool:
    return dtype.itemsize <= 2 or dtype == np.float32


def located(file: Path) -> tuple[Path, str | None]:
    """A file, and the part of it that a path names, if it names one."""
    return (file.parent, file.name) if is_file(file.parent) else (file, None)


def array_names(file: Path) -> list[str]:
    """The arrays of an .npz file; nothing where it is none, which `parse` reports."""
    try:
        with zipfile.ZipFile(file) as opened:
            return _names(opened)
    except BROKEN_ARCHIVE:
        return []


def _names(opened: zipfile.ZipFile) -> list[str]:
    return [member.removesuffix(".npy") for member in opened.namelist()]


def _splits(file: Path, name: str) -> dict[str, str]:
    """The arrays `X_train`, `trainX` and the like of X, by their split."""
    found: dict[str, str] = {}
    for one in array_names(file):
        split = split_of_array(one, name)
        if split is not None:
            found.setdefault(split, one)
    return found


class _Header(NamedTuple):
    """The header of an array: shape, order and type of its numbers."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]


def _open(opened: zipfile.ZipFile, file: Path, name: str) -> IO[bytes]:
    names = _names(opened)
    if name not in names:
        shown = f"allowed: {', '.join(names)}{did_you_mean(name, names)}"
        raise DataError(f"{file}: has no array {name}; {shown}")
    return opened.open(f"{name}.npy")


def _header(opened: zipfile.ZipFile, file: Path, name: str) -> _Header:
    with _open(opened, file, name) as raw:
        return _read_header(raw, file, name)


def _read_header(raw: IO[bytes], file: Path, name: str) -> _Header:
    try:
        old = npy.read_magic(raw) == (1, 0)
        header = _Header(*(npy.read_array_header_1_0 if old else npy.read_array_header_2_0)(raw))
    except ValueError as error:
        raise DataError(
            f"{file}: {name} is no array ({error}); allowed: what numpy saves"
        ) from None
    if header.dtype.kind not in "biufUS":
        text = f"{name} holds {header.dtype}, which is not read"
        raise DataError(f"{file}: {text}; allowed: numbers and text, no Python objects")
    return header


def _rows(opened: zipfile.ZipFile, file: Path, name: str) -> Iterator[Array]:
    """The rows of an array one by one: the file may be larger than the memory."""
    with _open(opened, file, name) as raw:
        header = _read_header(raw, file, name)
        if header.fortran_order:  # column by column: there are no rows before its end
            yield from _whole(opened, file, name)
            return
        shape = header.shape[1:]
        size = math.prod(shape) * header.dtype.itemsize
        for at in range(header.shape[0]):
            row = raw.read(size)
            if len(row) < size:
                raise EOFError(f"{name} ends in row {at + 1} of {header.shape[0]}")
            yield np.frombuffer(row, dtype=header.dtype).reshape(shape)


def _whole(opened: zipfile.ZipFile, file: Path, name: str) -> Array:
    _header(opened, file, name)
    with _open(opened, file, name) as raw:
        return np.asarray(npy.read_array(raw, allow_pickle=False))


def _label(value: Any) -> object:
    """A class as text, a number as it is, a row of several as an array."""
    if np.ndim(value):
        return np.asarray(value)
    if isinstance(value, np.floating):
        if not np.isfinite(value):
            raise ValueError("y is not finite; allowed: a number")
        return float(value)
    return value.decode() if isinstance(value, bytes) else str(value)
