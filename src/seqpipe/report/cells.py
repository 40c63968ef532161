"""Figure of the gates and states of the cells, at the start and the end of a training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqpipe.report.figures import add_title, figure, plain, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_ROWS = 6
START, END = "#9ca3af", "#1f5fa8"


class Spread(NamedTuple):
    """Histogram of the values of a gate or state.

    Args:
        counts: (bins,).
        edges: (bins + 1,).
        title: what to write above it; "" in checkpoints of older versions.
    """

    counts: NDArray[np.int64]
    edges: NDArray[np.float64]
    title: str = ""


Spreads = Mapping[str, Mapping[str, Spread]]
"""A histogram for each gate and part of the state, by layer."""


def draw_cells(folder: Path, first: Spreads, last: Spreads, title: str) -> Path:
    """Draws figures/inside_the_cells.png: a row a layer, a column a gate or part of the state.

    Args:
        folder: the run's folder.
        first: at the start, grey.
        last: at the end, of the same layers.
        title: the name of the run.
    """
    names = _rows(list(last))
    parts = list(dict.fromkeys(part for name in names for part in last[name]))
    with figure(1.2 + 1.9 * len(parts), 0.9 + 1.5 * len(names)) as drawn:
        grid = drawn.subplots(len(names), len(parts), squeeze=False)
        for row, name in zip(grid, names, strict=True):
            for axes, part in zip(row, parts, strict=True):
                if part not in last[name]:
                    axes.set_visible(False)
                    continue
                if first is not last and part in first.get(name, {}):
                    _draw(axes, first[name][part], START, filled=True)
                _draw(axes, last[name][part], END, filled=False)
                axes.set_yticks([])
                axes.grid(False)
                axes.spines["left"].set_visible(False)
                axes.set_title(plain(last[name][part].title or part, 24))
            row[0].set_ylabel(plain(name, 24), fontsize=8)
        add_title(drawn, title, ": at the end (grey: at the start)")
        return save(drawn, folder / "figures" / "inside_the_cells.png")


def _draw(axes: "Axes", spread: Spread, colour: str, *, filled: bool) -> None:
    total = max(1, int(spread.counts.sum()))
    density = spread.counts / total / np.maximum(np.diff(spread.edges), 1e-12)
    axes.stairs(
        density / max(float(density.max()), 1e-12),
        spread.edges,
        color=colour,
        fill=filled,
        alpha=0.45 if filled else 1.0,
        linewidth=1.4,
    )


def _rows(names: list[str]) -> Sequence[str]:
    if len(names) <= MOST_ROWS:
        return names
    half = MOST_ROWS // 2
    return [*names[:half], *names[-half:]]
