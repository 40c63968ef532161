"""A piano roll as a picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seqpipe.report import run_files as report

_MARKED = 12  # notes with a name beside them, at most


def draw_roll(
    path: Path, roll: Sequence[Sequence[float]], names: Sequence[str], title: str = ""
) -> Path:
    """Draws a picture: a column a step, a row a note, from the lowest that sounds.

    Args:
        path: of the picture.
        roll: 0 and 1, a row for each of at least one step.
        names: of the notes, low to high, as many as a step has.
        title: what made it.
    """
    sounds = np.asarray(roll, dtype=np.uint8)
    assert sounds.ndim == 2 and sounds.shape[1] == len(names), "a note for each column"
    heard = np.flatnonzero(sounds.any(axis=0))
    low, high = (int(heard[0]), int(heard[-1])) if len(heard) else (0, len(names) - 1)
    with report.figure(9, 3.5) as drawn:
        axes = drawn.add_subplot()
        axes.imshow(
            sounds[:, low : high + 1].T, origin="lower", aspect="auto", cmap="Blues", vmin=0, vmax=1
        )
        axes.grid(False)
        notes = range(0, high - low + 1, max(1, (high - low + 1) // _MARKED))
        axes.set_yticks(notes, [names[low + note] for note in notes], fontsize=8)
        axes.set_xlabel("step")
        axes.set_title(report.plain(title, 60))
        return report.save(drawn, path)
