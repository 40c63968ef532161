"""Notes on a grid of steps, and the sources of music: what they offer to a model that writes."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import numpy as np

from seqpipe.data.piano_roll import ALL_NOTES, LOWEST, Roll

Notes = np.ndarray[Any, np.dtype[np.int64]]
"""(N, 4): first step, step after the last, pitch, velocity; by first step, then pitch."""
VELOCITY = 80  # of a note whose loudness is not known
MIDI = (".mid", ".midi")


class Continuable(ABC):
    """A source whose files a model can continue: `sample prompt=FILE`.

    Attributes:
        prompt_files: the endings of such files; one of them holds one record.
    """

    prompt_files: ClassVar[tuple[str, ...]]


class Music(Continuable):
    """A source of music, whose entries can be turned back into notes.

    Attributes:
        steps: steps of time in a beat or a second.
        per: `beat`, a quarter note, or `second`.
    """

    prompt_files: ClassVar[tuple[str, ...]] = MIDI
    steps: float
    per: Literal["beat", "second"]

    @abstractmethod
    def notes_of(self, entry: Any) -> Notes:
        """Return the notes of an entry, each at least one step long.

        Args:
            entry: as a record of the source has it; a model may have written it.
        """


class Tunes(Continuable):
    """A source of tunes that are texts: samples can be written as a file that it reads again."""

    @abstractmethod
    def tune_of(self, entry: str, number: int) -> str:
        """Return a tune as a file has it, with its number.

        Args:
            entry: as a record of the source has it; a model may have written it.
            number: its number in the file.
        """

    @abstractmethod
    def fault_of(self, tune: str) -> str | None:
        """Return what is wrong with a tune, in a few words; None if it can be parsed."""


def disjoint(notes: Notes) -> Notes:
    """Sort notes and end each where its key is struck again; of equal starts the longest stays.

    Args:
        notes: in any order.
    """
    # A pitch's notes one after the other.
    notes = notes[np.lexsort((-notes[:, 1], notes[:, 0], notes[:, 2]))]
    pitch, first = notes[:, 2], notes[:, 0]
    again = (pitch[1:] == pitch[:-1]) & (first[1:] == first[:-1])
    notes = notes[np.concatenate([[True], ~again])[: len(notes)]]
    followed = notes[1:, 2] == notes[:-1, 2]
    ends, following = notes[:-1, 1], notes[1:, 0]
    ends[followed] = np.minimum(ends, following)[followed]
    by_time: Notes = notes[np.lexsort((notes[:, 2], notes[:, 0]))]
    return by_time


def notes_of_roll(roll: Roll, lowest: int = LOWEST) -> Notes:
    """Return the notes of a roll; a key in consecutive steps is one note that is held.

    Args:
        roll: (T, K) of 0 and 1.
        lowest: MIDI number of the first key.
    """
    silence = np.zeros((1, roll.shape[1]), dtype=np.int8)
    changes = np.diff(np.concatenate([silence, roll.astype(np.int8), silence]), axis=0)
    keys, starts = np.nonzero(changes.T == 1)
    _, ends = np.nonzero(changes.T == -1)  # in the order of the starts: by key, then by time
    notes = np.stack([starts, ends, keys + lowest, np.full_like(keys, VELOCITY)], axis=1)
    return disjoint(notes.astype(np.int64))


def roll_of(notes: Notes) -> Roll:
    """Return the roll of some notes over all pitches of MIDI, (T, 128) of 0 and 1; T at least 1."""
    roll = np.zeros((max(1, int(notes[:, 1].max(initial=0))), ALL_NOTES), dtype=np.uint8)
    for first, end, pitch, _ in notes.tolist():
        roll[first:end, pitch] = 1
    return roll
