"""Figures in the style of the report, whatever the user's matplotlibrc says."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from seqpipe.display import visible
from seqpipe.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

# Distinguishable in grey and by the colour-blind.
TRAIN, VALID, GREY = "#9a6a00", "#1f5fa8", "#6b7280"
COLOURS = ("#b91c1c", VALID, TRAIN, "#0f766e", "#7c3aed", "#374151")
LONGEST_TITLE = 60
_STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": "#e5e7eb",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "legend.frameon": False,
}


@contextmanager
def style() -> Iterator[None]:
    """Sets the style of the report for the block, and restores the user's afterwards."""
    import matplotlib  # takes half a second, which a refused configuration should not

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # the backend stays
        matplotlib.rcParams.update(_STYLE)
        yield


@contextmanager
def figure(width: float, height: float) -> Iterator["Figure"]:
    """An empty figure, in inches. It is not pyplot's, so nothing has to be closed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)  # drawn as a box
        drawn = Figure(figsize=(width, height), dpi=130, layout="constrained")
        FigureCanvasAgg(drawn)
        yield drawn


def save(drawn: "Figure", path: Path) -> Path:
    """Writes a figure, and the folder above it."""
    drawn.set_facecolor("white")
    with replacing(path) as made:
        # As `savefig` does, which draws everything once more to know how large it is.
        cast("FigureCanvasAgg", drawn.canvas).print_png(made)
    return path


def add_title(drawn: "Figure", title: str, remark: str = "") -> None:
    """Writes a title above all panels, flush left."""
    text = plain(title, LONGEST_TITLE) + remark
    drawn.suptitle(text, x=0.01, ha="left", fontsize=10, fontweight="bold")


def plain(name: str, longest: int = 18) -> str:
    """A name as an axis can show it: short, one line, no control characters, no mathematics."""
    text = visible(" ".join(str(name).split())) or repr(str(name))
    short = text if len(text) <= longest else text[: longest - 1] + "…"
    return short.replace("$", r"\$")


def draw_level(axes: "Axes", level: float, words: str) -> None:
    """Draws a dotted line across, with its name at the right end."""
    axes.axhline(level, color=GREY, linewidth=0.9, linestyle=":")
    place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "bottom"}
    axes.annotate(words, (1, level), **place, fontsize=8, color=GREY)
