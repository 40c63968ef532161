"""Figures of the gradient through time."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seqpipe.report.figures import COLOURS, LONGEST_TITLE, add_title, figure, plain, save, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Profiles = Mapping[str, NDArray[np.float64]]
"""Mean norm of dL/dh by distance from the loss, (D,), by layer."""

LOW, HIGH = -8.0, 2.0  # log10 of the norms that colours show: the same in every figure
_COLOUR_MAP = "magma"
MOST_PANELS, MARKED = 6, 40
LINES = (*COLOURS[1:], COLOURS[0])  # blue first


class ThroughTimePicture:
    """A picture of the norms of all layers at one step of a training, drawn many times.

    What stays the same is drawn once and kept as pixels: only the colours and the title are drawn
    again, in a tenth of the time.

    Args:
        names: of the layers, the lowest first.
        distances: the largest number of distances of a layer.
    """

    def __init__(self, names: Sequence[str], distances: int) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.names, self.distances = tuple(names), distances
        height = 1.1 + 0.3 * len(names)
        with style():
            drawn = Figure(figsize=(8, height), dpi=100, facecolor="white")  # laid out by hand
            self.canvas = FigureCanvasAgg(drawn)
            tall = 1 - 0.85 / height
            self.axes = drawn.add_axes((0.17, 0.5 / height, 0.7, tall))
            self.image = self.axes.imshow(
                np.zeros((len(names), distances)),
                extent=(-0.5, distances - 0.5, -0.5, len(names) - 0.5),
                aspect="auto",
                origin="lower",
                interpolation="nearest",
                animated=True,
                **_colours(),
            )
            labels = [plain(name, 24) for name in names]
            self.axes.set_yticks(range(len(names)), labels, fontsize=8)
            self.axes.set_xlabel("distance from the loss, steps")
            self.axes.grid(False)
            self.title = drawn.text(0.01, 1 - 0.22 / height, " ", weight="bold", animated=True)
            bar = drawn.add_axes((0.885, 0.5 / height, 0.015, tall))
            drawn.colorbar(self.image, cax=bar, ticks=[LOW, -4, 0, HIGH], label="log10 of the norm")
            self.canvas.draw()
            self.still = self.canvas.copy_from_bbox(drawn.bbox)

    def draw(self, profiles: Profiles, title: str) -> NDArray[np.uint8]:
        """Returns the picture, (height, width, 3), 0..255."""
        rows = np.full((len(self.names), self.distances), np.nan)
        for place, name in enumerate(self.names):
            norms = profiles[name][: self.distances]
            rows[place, : len(norms)] = log10(norms)
        self.image.set_data(rows)
        self.title.set_text(plain(title, 100))
        self.canvas.restore_region(self.still)
        self.axes.draw_artist(self.image)
        self.canvas.figure.draw_artist(self.title)
        pixels = np.asarray(self.canvas.buffer_rgba())
        return np.ascontiguousarray(pixels[..., :3])


def draw_profiles(folder: Path, first: Profiles, last: Profiles, title: str) -> Path:
    """Draws figures/gradient_through_time.png: norm by distance, before and after the training.

    Args:
        folder: the run's folder.
        first: at the start.
        last: at the end, of the same layers.
        title: the name of the run.
    """
    names = list(last)
    with figure(8, 3.6) as drawn:
        axes = drawn.add_subplot()
        for place, name in enumerate(names):
            colour = LINES[place % len(LINES)]
            style: Any = ["-", "-.", ":"][place // len(LINES) % 3]
            mark = "o" if len(last[name]) <= MARKED else ""
            axes.plot(
                _seen(last[name]),
                marker=mark,
                markersize=3,
                color=colour,
                linestyle=style,
                label=name,
            )
            if name in first and first is not last:
                axes.plot(_seen(first[name]), color=colour, linestyle=(0, (4, 3)), alpha=0.5)
        _log_axis(axes, [*first.values(), *last.values()])
        axes.set_xlabel("distance from the loss, steps")
        axes.set_ylabel("norm of dL/dh")
        axes.set_title(plain(title, LONGEST_TITLE))
        axes.legend(
            title="at the end (dashed: at the start)", loc="upper left", bbox_to_anchor=(1.0, 1.0)
        )
        return save(drawn, folder / "figures" / "gradient_through_time.png")


def draw_over_training(folder: Path, snapshots: Sequence[tuple[int, Profiles]], title: str) -> Path:
    """Draws figures/gradient_over_training.png: training step by distance, a panel a layer.

    Args:
        folder: the run's folder.
        snapshots: optimizer step, and the norms at it; at least two.
        title: the name of the run.
    """
    names = _panels(list(snapshots[-1][1]))
    rows = -(-len(names) // 2) if len(names) > 1 else 1
    with figure(8.5, 0.9 + 2.1 * rows) as drawn:
        grid = drawn.subplots(rows, min(2, len(names)), squeeze=False, sharex=True).ravel()
        steps = [step for step, _ in snapshots]
        for axes, name in zip(grid, names, strict=False):
            found = [profiles.get(name, np.zeros(0)) for _, profiles in snapshots]
            D = max(map(len, found))
            shown = np.full((D, len(snapshots)), np.nan)
            for place, norms in enumerate(found):
                shown[: len(norms), place] = log10(norms)
            image = axes.pcolormesh(_edges(steps), np.arange(D + 1) - 0.5, shown, **_colours())
            axes.grid(False)
            axes.set_title(plain(name, 40))
            axes.set_ylabel("distance")
        for axes in grid[len(names) :]:
            axes.set_visible(False)
        for axes in grid[max(0, len(names) - 2) : len(names)]:
            axes.set_xlabel("optimizer step")
            axes.tick_params(labelbottom=True)
        drawn.colorbar(image, ax=list(grid[: len(names)]), label="log10 of the norm of dL/dh")
        add_title(drawn, title)
        return save(drawn, folder / "figures" / "gradient_over_training.png")


def log10(norms: NDArray[np.float64]) -> NDArray[np.float64]:
    """log10 of norms; 0, infinity and NaN become the end of the scale of colours."""
    with np.errstate(divide="ignore", invalid="ignore"):
        powers: NDArray[np.float64] = np.log10(norms)
    return np.nan_to_num(powers, nan=HIGH, posinf=HIGH, neginf=LOW)


def _colours() -> dict[str, Any]:
    return {"cmap": _COLOUR_MAP, "vmin": LOW, "vmax": HIGH}


def _edges(steps: Sequence[int]) -> NDArray[np.float64]:
    """The edges of a column for each step, half way to its neighbours."""
    places = np.asarray(steps, dtype=np.float64)
    between = (places[1:] + places[:-1]) / 2
    return np.concatenate([places[:1], between, places[-1:]])


def _panels(names: list[str]) -> list[str]:
    """All layers, or the lowest and highest ones."""
    if len(names) <= MOST_PANELS:
        return names
    half = MOST_PANELS // 2
    return [*names[:half], *names[-half:]]


def _seen(norms: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where((norms > 0) & np.isfinite(norms), norms, np.nan)


def _log_axis(axes: "Axes", every: Sequence[NDArray[np.float64]]) -> None:
    """Makes the axis logarithmic, over the values: two to sixteen powers of ten."""
    seen = np.concatenate([_seen(norms) for norms in every])
    seen = seen[np.isfinite(seen)]
    if len(seen) == 0:
        return
    axes.set_yscale("log")
    top = np.ceil(np.log10(seen.max()) + 1e-9)
    bottom = np.floor(np.log10(seen.min()) - 1e-9)
    axes.set_ylim(10.0 ** min(max(bottom, top - 16), top - 2), 10.0**top)
