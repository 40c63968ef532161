"""Piano rolls: the keys that sound at each step, and their names."""

from typing import Any

import numpy as np

from seqpipe.errors import DataError

Roll = np.ndarray[Any, np.dtype[np.uint8]]

LOWEST, HIGHEST = 21, 108  # MIDI numbers of a piano's keys, A0 and C8
KEYS = HIGHEST - LOWEST + 1
ALL_NOTES = 128  # of MIDI
_WIDTHS = f"{KEYS} columns, {LOWEST} and up, or {ALL_NOTES}, 0 and up"
_LETTERS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


def note_name(note: int) -> str:
    """The name of a MIDI number.

    >>> note_name(60), note_name(21), note_name(70)
    ('C4', 'A0', 'A#4')
    """
    return f"{_LETTERS[note % 12]}{note // 12 - 1}"


def is_matrix(value: Any) -> bool:
    """True for a matrix, also in lists as in JSON; else each step lists its notes.

    No piano has note 0 or 1: a row of 88 or 128 of them can only be one of a matrix.
    """
    if isinstance(value, np.ndarray):
        return True
    return (
        isinstance(value, (list, tuple))
        and len(value) > 0
        and all(isinstance(row, (list, tuple)) and len(row) in (KEYS, ALL_NOTES) for row in value)
        and len({len(row) for row in value}) == 1
        and all(key in (0, 1) for row in value for key in row)
    )


def matrix_roll(array: np.ndarray[Any, Any]) -> Roll:
    """Convert a matrix of 0 and 1, (T, 88) or (T, 128), to a roll of the piano's keys.

    Raises:
        DataError: another shape or other values, no steps, a note outside the piano.
    """
    if array.ndim != 2 or array.shape[1] not in (KEYS, ALL_NOTES):
        raise DataError(f"has shape {array.shape}; allowed: one row per step, of {_WIDTHS}")
    if array.dtype.kind not in "biuf":
        raise DataError(f"holds {array.dtype}; allowed: 0 and 1")
    other = array[(array != 0) & (array != 1)]
    if len(other):
        raise DataError(f"holds {other[0]:g}; allowed: 0 and 1")
    if len(array) == 0:
        raise DataError("has no steps")
    if array.shape[1] == ALL_NOTES:
        sounding = np.flatnonzero(array.any(axis=0))
        outside = sounding[(sounding < LOWEST) | (sounding > HIGHEST)]
        if len(outside):
            raise DataError(no_key(int(outside[0])))
        array = array[:, LOWEST : HIGHEST + 1]
    return array.astype(np.uint8)


def notes_roll(steps: Any) -> Roll:
    """Convert the MIDI numbers that sound at each step to a roll, (T, 88).

    Raises:
        DataError: no steps, a step that is no list of integers, a note outside the piano.
    """
    if not isinstance(steps, (list, tuple)):
        raise DataError(f"is {type(steps).__name__}; allowed: a list of notes for each step")
    if len(steps) == 0:
        raise DataError("has no steps")
    roll = np.zeros((len(steps), KEYS), dtype=np.uint8)
    for number, notes in enumerate(steps, 1):
        if not isinstance(notes, (list, tuple)) or any(type(note) is not int for note in notes):
            shown = repr(notes)
            shown = shown if len(shown) <= 40 else f"{shown[:37]}..."
            raise DataError(f"step {number} is {shown}; allowed: a list of MIDI numbers")
        for note in notes:
            if not LOWEST <= note <= HIGHEST:
                raise DataError(f"step {number}: {no_key(note)}")
            roll[number - 1, note - LOWEST] = 1
    return roll


def no_key(note: int) -> str:
    """The message about a note that a piano does not have."""
    return f"note {note} is no key of a piano; allowed: {LOWEST} to {HIGHEST}"
