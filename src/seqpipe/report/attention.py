"""What each step of an answer looks at in x, as heat maps."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqpipe.report import run_files as report
from seqpipe.report.findings import Finding

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAMED_UP_TO = 48  # steps; of longer ones only some have a number
_LONGEST = 14  # characters of a name
_INCH = 0.19  # of a step, as long as the picture stays within bounds
_ACROSS = 2  # maps side by side


class Looks(NamedTuple):
    """One example.

    Args:
        x: name of each step of x; empty where a step has none, as of a series.
        y: name of each step of the answer.
        weights: (T_y, T_x) from 0 to 1, each row adds up to 1.
    """

    x: Sequence[str]
    y: Sequence[str]
    weights: NDArray[np.floating]


def draw_attention(path: Path, examples: Sequence[Looks], title: str = "") -> Path:
    """Draws a map for each example: x below, the answer at the side from its first step down.

    Args:
        path: the picture.
        examples: at least one.
        title: what was trained.
    """
    for looks in examples:
        assert len(looks.x) in (0, looks.weights.shape[1]), "a name for each step of x, or none"
        assert len(looks.y) == looks.weights.shape[0], "a name for each step of y"
    across = min(_ACROSS, len(examples))
    down = -(-len(examples) // across)
    T_y, T_x = np.max([looks.weights.shape for looks in examples], axis=0)
    width = across * min(6.0, max(3.0, 1.2 + _INCH * T_x)) + 0.8
    height = down * min(6.0, max(2.2, 1.0 + _INCH * T_y)) + 0.4
    with report.figure(float(width), float(height)) as drawn:
        panels = np.atleast_1d(drawn.subplots(down, across, squeeze=False)).ravel()
        for axes, looks in zip(panels, examples, strict=False):
            image = axes.imshow(looks.weights, aspect="auto", cmap="Blues", vmin=0, vmax=1)
            _name(axes, looks)
        for axes in panels[len(examples) :]:
            axes.remove()
        drawn.colorbar(image, ax=list(panels[: len(examples)]), label="weight", shrink=0.8)
        if title:
            drawn.suptitle(report.plain(title, 60), x=0.01, ha="left", fontsize=11)
        return report.save(drawn, path)


def attention_finding(examples: Sequence[Looks], figure: str) -> Finding:
    """How sharply the steps look, in a sentence.

    Args:
        examples: at least one.
        figure: name of the picture.
    """
    largest = np.concatenate([looks.weights.max(axis=1) for looks in examples])
    even = np.concatenate([np.full(len(looks.y), 1 / looks.weights.shape[1]) for looks in examples])
    text = (
        f"In {len(examples)} examples a step of the answer gives {largest.mean():.2f} of its"
        f" attention to one step of x, on average; looking everywhere alike would give"
        f" {even.mean():.2f}. Rows are the steps of the answer as it was decoded, columns those"
        " of x."
    )
    return Finding("Attention", text, figure=figure, group="Attention")


def _name(axes: "Axes", looks: Looks) -> None:
    axes.grid(False)
    axes.tick_params(length=0)
    axes.set_xlabel("x")
    axes.set_ylabel("answer")
    if 0 < len(looks.x) <= _NAMED_UP_TO:
        names = [_shown(name) for name in looks.x]
        turned = 90 if max(map(len, names)) > 1 else 0
        axes.set_xticks(range(len(names)), names, fontsize=8, rotation=turned)
    if len(looks.y) <= _NAMED_UP_TO:
        axes.set_yticks(range(len(looks.y)), [_shown(name) for name in looks.y], fontsize=8)


def _shown(name: str) -> str:
    """A name of one symbol: a space is seen."""
    return report.plain("␣" if name == " " else name, _LONGEST)
