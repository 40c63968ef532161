"""Fields of piano rolls: the notes that sound at each step."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqpipe.data.base import Field, FieldSpec, Record
from seqpipe.data.piano_roll import HIGHEST, LOWEST, is_matrix, matrix_roll, note_name, notes_roll
from seqpipe.errors import ConfigError, DataError
from seqpipe.rules import refusal


class PianoRoll(Field):
    """The notes that sound at each step, (T, K) uint8 of 0 and 1.

    Args:
        column: the key of the entry in a record: an array (T, 88) whose column k is MIDI note
            21 + k, or (T, 128) with note k, or the same in lists; or a list with the MIDI numbers
            of each step.
        lowest: MIDI number of the lowest note, the first of the K.
        highest: of the highest note.

    Raises:
        ConfigError: no notes, or some that are no keys of a piano.
    """

    kind = "roll"

    def __init__(self, column: str, *, lowest: int = LOWEST, highest: int = HIGHEST) -> None:
        super().__init__(column)
        if not LOWEST <= lowest <= highest <= HIGHEST:
            wrong = "not two keys of a piano, the lower first"
            allowed = f"from {LOWEST} to {HIGHEST}"
            raise ConfigError(refusal(f"lowest={lowest} highest", highest, wrong, allowed))
        self.lowest, self.highest = lowest, highest

    def fit(self, records: Iterable[Record]) -> None:
        """Learn nothing: the notes are given."""

    def encode(self, record: Record) -> Tensor:
        """(T, K) uint8.

        Raises:
            DataError: no roll, or a note outside `lowest` to `highest`.
        """
        value = self.value(record)
        try:
            roll = matrix_roll(np.asarray(value)) if is_matrix(value) else notes_roll(value)
        except DataError as error:
            raise DataError([f"{self.column}: {problem}" for problem in error.problems]) from None
        first, end = self.lowest - LOWEST, self.highest - LOWEST + 1
        inside = roll[:, first:end]
        if inside.sum() < roll.sum():
            outside = roll.copy()
            outside[:, first:end] = 0
            step, key = (int(place[0]) for place in np.nonzero(outside))
            note = f"{note_name(key + LOWEST)} ({key + LOWEST})"
            text = f"{note} at step {step + 1} is not one of lowest={self.lowest}"
            raise DataError(f"{self.column}: {text} to highest={self.highest}")
        return torch.from_numpy(np.ascontiguousarray(inside))

    def decode(self, values: Tensor | Sequence[Any]) -> str:
        """The names of the notes of each step, low to high: `C4 E4 G4 | - | C4 F4`."""
        roll = torch.as_tensor(values)
        names = self.spec.names or ()
        steps = ([name for name, on in zip(names, row, strict=True) if on] for row in roll.tolist())
        return " | ".join(" ".join(step) or "-" for step in steps)

    @property
    def spec(self) -> FieldSpec:
        """Size: K; the names are those of the notes."""
        notes = range(self.lowest, self.highest + 1)
        return FieldSpec(self.kind, len(notes), tuple(map(note_name, notes)))

    def describe(self, counts: object) -> str:
        """The range of the notes."""
        names = self.spec.names or ()
        return f"any of {len(names)} notes a step ({names[0]} to {names[-1]})"


class PianoRollSeries(PianoRoll):
    """A piano roll that is read, not answered: the same 0 and 1 as a series of K numbers a step.

    Args:
        column: see `PianoRoll`.
        lowest: see `PianoRoll`.
        highest: see `PianoRoll`.
    """

    kind = "values"
