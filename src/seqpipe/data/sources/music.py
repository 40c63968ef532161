"""Piano rolls: which of the 88 keys sound at each step, from .mat, .json, .npz and MIDI files."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from seqpipe.data.base import Found, PlacedRecord
from seqpipe.data.music import MIDI, Music, Notes, notes_of_roll
from seqpipe.data.piano_roll import Roll, matrix_roll, notes_roll
from seqpipe.data.sources.arrays import BROKEN_ARCHIVE, SplitsInFiles, array_names, located
from seqpipe.data.sources.files import Names
from seqpipe.data.sources.midi import MidiRolls
from seqpipe.data.sources.split_names import group_by_split
from seqpipe.errors import DataError, did_you_mean


@dataclass(kw_only=True)
class PianoRolls(SplitsInFiles, Music):
    """A record a piece, {"roll": (T, 88) uint8 of 0 and 1}; column k is MIDI note 21 + k.

    A file holds pieces: MATLAB v5 (.mat; matrices in cells or structs), NumPy (.npz; an array a
    piece) with a row a step, or .json with a list of MIDI numbers for each step. One that holds
    several splits is addressed within: `JSB_Chorales.mat/traindata`. A single MIDI file that is
    named is read as well, a step a quarter note; those of a folder are not (see `MidiRolls`).

    Args:
        train: see `FileSource`; also `file/variable` for one variable of a file.
    """

    suffixes = (".mat", ".json", ".npz")
    prompt_files = (*MIDI, *suffixes)
    steps: float = field(init=False, default=1)
    per: Literal["beat", "second"] = field(init=False, default="beat")

    group: Names | None = field(init=False, default="roll")
    stratify: str | None = field(init=False, default=None)

    def splits_inside(self, file: Path) -> dict[str, Names]:
        """The variables of a file that are called by splits."""
        found = group_by_split(_variables(file))
        return {split: [f"{self.train}/{n}" for n in names] for split, names in found.items()}

    def parse(self, file: Path) -> Iterator[Found]:
        """The pieces of a file, or of one variable in it.

        Raises:
            DataError: not such a file, no such variable, or nothing in it.
        """
        file, variable = located(file)
        number = 0
        for piece in _pieces(file, variable):
            number += 1
            where = f"{file}: piece {number}" + (f" of {variable}" if variable else "")
            try:
                roll = matrix_roll(piece) if isinstance(piece, np.ndarray) else notes_roll(piece)
            except DataError as error:
                yield DataError([f"{where}: {problem}" for problem in error.problems])
            else:
                yield PlacedRecord({"roll": roll}, where)
        if number == 0:
            raise DataError(f"{file}: {variable or 'it'} holds no pieces")

    def notes_of(self, entry: Roll) -> Notes:
        """See `Music`: a step is a quarter note. entry: (T, 88)."""
        return notes_of_roll(entry)


_BROKEN = (*BROKEN_ARCHIVE, TypeError, AttributeError, IndexError, KeyError)
"""The errors of the libraries for files that are not what their names say, or are cut short."""


def _variables(file: Path) -> list[str]:
    """The names of the variables of a file; none where it cannot be read, which `parse` reports."""
    if file.suffix.lower() == ".mat":
        return _matlab_names(file)
    try:
        if file.suffix.lower() == ".npz":
            return array_names(file)
        held = json.loads(file.read_bytes())
    except _BROKEN:
        return []
    return list(map(str, held)) if isinstance(held, dict) else []


def _matlab_names(file: Path) -> list[str]:
    from scipy.io import whosmat
    from scipy.io.matlab import MatReadError

    try:
        return [str(name) for name, *_ in whosmat(file)]
    except (*_BROKEN, MatReadError):
        return []


def _pieces(file: Path, variable: str | None) -> Iterator[Any]:
    readers = {".mat": _matlab, ".npz": _numpy, ".json": _json} | dict.fromkeys(MIDI, _midi)
    if file.suffix.lower() not in readers:
        raise DataError(f"{file}: not a file of piano rolls; allowed: {', '.join(readers)}")
    yield from readers[file.suffix.lower()](file, variable)


def _chosen(file: Path, names: Iterable[str], variable: str | None) -> list[str]:
    names = list(names)
    if variable is None:
        return names
    if variable not in names:
        text = f"no such variable; it has {', '.join(names[:8])}"
        raise DataError(f"{file}/{variable}: {text}{did_you_mean(variable, names)}")
    return [variable]


def _matlab(file: Path, variable: str | None) -> Iterator[Any]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        held = loadmat(file)
    except NotImplementedError:
        text = "a MATLAB 7.3 file, which is another format"
        raise DataError(f"{file}: {text}; allowed: save(..., '-v7')") from None
    except (*_BROKEN, MatReadError) as error:
        raise DataError(f"{file}: not a MATLAB file ({error})") from None
    names = [name for name in held if not name.startswith("__")]
    for name in _chosen(file, names, variable):
        yield from _matrices(held[name])


def _matrices(value: np.ndarray[Any, Any]) -> Iterator[np.ndarray[Any, Any]]:
    """The matrices in a MATLAB variable: one, or those of its cells or fields, in their order."""
    if value.dtype.names:
        for element in value.ravel():
            for name in value.dtype.names:
                yield from _matrices(element[name])
    elif value.dtype == object:
        for element in value.ravel():
            yield from _matrices(element)
    else:
        yield value


def _numpy(file: Path, variable: str | None) -> Iterator[Any]:
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as held:
            for name in _chosen(file, held.files, variable):
                try:
                    array = held[name]
                except ValueError:  # pickled, or cut off
                    text = "is pickled or broken; what is pickled may run code, and is not read"
                    allowed = "numpy.savez(file, *pieces), one array (T, 88) per piece"
                    raise DataError(f"{file}: {name} {text}; allowed: {allowed}") from None
                yield from array if array.ndim == 3 else [array]
    except _BROKEN as error:  # a .npy gives an array
        raise DataError(f"{file}: not an .npz file ({error})") from None


def _midi(file: Path, variable: str | None) -> Iterator[Any]:
    if variable is not None:
        raise DataError(f"{file}/{variable}: no such variable; a MIDI file has none")
    for found in MidiRolls(train=str(file), steps=PianoRolls.steps, per=PianoRolls.per).parse(file):
        assert not isinstance(found, DataError)
        yield found["roll"]


def _json(file: Path, variable: str | None) -> Iterator[Any]:
    try:
        held = json.loads(file.read_bytes())
    except ValueError as error:  # not JSON, or not UTF-8
        raise DataError(f"{file}: not JSON ({error})") from None
    groups: dict[str, Any] = held if isinstance(held, dict) else {"": held}
    if variable is not None and not isinstance(held, dict):
        raise DataError(f"{file}/{variable}: no such variable; the file is one list")
    for name in _chosen(file, groups, variable):
        if not isinstance(groups[name], list):
            text = f"is {type(groups[name]).__name__}; allowed: a list of pieces"
            raise DataError(f"{file}: {name or 'it'} {text}")
        yield from groups[name]
