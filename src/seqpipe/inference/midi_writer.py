"""Piano rolls as MIDI files."""

from pathlib import Path
from typing import Any

import numpy as np

from seqpipe.data.optional_deps import need

TICKS = 480  # a step
VELOCITY = 80


def write_midi(path: Path, roll: Any, *, lowest: int, steps_per_minute: float) -> Path:
    """Writes a roll as a MIDI file of one piano; a note that goes on is held, not struck again.

    Args:
        path: of the file.
        roll: (T, K) of 0 and 1.
        lowest: MIDI number of the first of the K notes.
        steps_per_minute: how fast; a step is a quarter note.

    Raises:
        ConfigError: symusic is not installed.
    """
    symusic = need("symusic", extra="midi", what="sample, of music")
    score = symusic.Score(TICKS)
    score.tempos.append(symusic.Tempo(time=0, qpm=steps_per_minute))
    track = symusic.Track(name="seqpipe", program=0, is_drum=False)
    for start, end, key in held(np.asarray(roll)):
        note = symusic.Note(
            time=start * TICKS,
            duration=(end - start) * TICKS,
            pitch=lowest + key,
            velocity=VELOCITY,
        )
        track.notes.append(note)
    score.tracks.append(track)
    score.dump_midi(str(path))
    return path


def held(roll: "np.ndarray[Any, Any]") -> list[tuple[int, int, int]]:
    """(first step, step after the last, column) of each note that sounds, in order of time."""
    silence = np.zeros((1, roll.shape[1]), dtype=np.int8)
    changes = np.diff(np.concatenate([silence, roll.astype(np.int8), silence]), axis=0)
    notes = []
    for key in range(roll.shape[1]):
        starts = np.flatnonzero(changes[:, key] == 1)
        ends = np.flatnonzero(changes[:, key] == -1)
        notes += [(int(s), int(e), key) for s, e in zip(starts, ends, strict=True)]
    return sorted(notes)
