"""Figures of the answers of a model: attention maps, a piano roll."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqpipe.report.figures import add_title, figure, plain, save
from seqpipe.report.findings import Finding

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STEPS_NAMED = 48  # steps of an attention map; of longer ones only some have a number
_LONGEST_STEP = 14  # characters of a step's name
_INCHES = 0.19  # for a step, as long as the figure stays within bounds
_ACROSS = 2  # maps side by side
_NOTES_NAMED = 12  # at most


class AttentionMap(NamedTuple):
    """The attention of one example.

    Args:
        x: name of each step of x; empty where a step has none, as of a series.
        y: name of each step of the answer.
        weights: (T_y, T_x) from 0 to 1, each row adds up to 1.
    """

    x: Sequence[str]
    y: Sequence[str]
    weights: NDArray[np.floating]


def draw_attention(path: Path, examples: Sequence[AttentionMap], title: str = "") -> Path:
    """Draws a map for each example: x below, the answer at the side from its first step down.

    Args:
        path: the picture.
        examples: at least one.
        title: the title.
    """
    for attention in examples:
        assert len(attention.x) in (0, attention.weights.shape[1]), (
            "a name for each step of x, or none"
        )
        assert len(attention.y) == attention.weights.shape[0], "a name for each step of y"
    across = min(_ACROSS, len(examples))
    down = -(-len(examples) // across)
    T_y, T_x = np.max([attention.weights.shape for attention in examples], axis=0)
    width = across * min(6.0, max(3.0, 1.2 + _INCHES * T_x)) + 0.8
    height = down * min(6.0, max(2.2, 1.0 + _INCHES * T_y)) + 0.4
    with figure(float(width), float(height)) as drawn:
        panels = np.atleast_1d(drawn.subplots(down, across, squeeze=False)).ravel()
        for axes, attention in zip(panels, examples, strict=False):
            image = axes.imshow(attention.weights, aspect="auto", cmap="Blues", vmin=0, vmax=1)
            _name_steps(axes, attention)
        for axes in panels[len(examples) :]:
            axes.remove()
        drawn.colorbar(image, ax=list(panels[: len(examples)]), label="weight", shrink=0.8)
        if title:
            add_title(drawn, title)
        return save(drawn, path)


def attention_finding(examples: Sequence[AttentionMap], figure: str) -> Finding:
    """Describes the concentration of the attention in a sentence.

    Args:
        examples: at least one.
        figure: name of the picture.
    """
    largest = np.concatenate([attention.weights.max(axis=1) for attention in examples])
    even = np.concatenate(
        [np.full(len(attention.y), 1 / attention.weights.shape[1]) for attention in examples]
    )
    text = (
        f"In {len(examples)} examples, a step of the answer gives {largest.mean():.2f} of its"
        f" attention to one step of x, on average; uniform attention would give"
        f" {even.mean():.2f}. Rows are the steps of the answer as it was decoded, columns those"
        " of x."
    )
    return Finding("Attention", text, figure=figure, group="Attention")


def _name_steps(axes: "Axes", attention: AttentionMap) -> None:
    axes.grid(False)
    axes.tick_params(length=0)
    axes.set_xlabel("x")
    axes.set_ylabel("answer")
    if 0 < len(attention.x) <= _STEPS_NAMED:
        names = [_step(name) for name in attention.x]
        turned = 90 if max(map(len, names)) > 1 else 0
        axes.set_xticks(range(len(names)), names, fontsize=8, rotation=turned)
    if len(attention.y) <= _STEPS_NAMED:
        axes.set_yticks(range(len(attention.y)), [_step(name) for name in attention.y], fontsize=8)


def _step(name: str) -> str:
    return plain("␣" if name == " " else name, _LONGEST_STEP)


def draw_roll(
    path: Path, roll: Sequence[Sequence[float]], names: Sequence[str], title: str = ""
) -> Path:
    """Draws a piano roll: a column a step, a row a note, from the lowest that sounds.

    Args:
        path: the picture.
        roll: 0 and 1, a row for each of at least one step.
        names: names of the notes, low to high.
        title: the title.
    """
    sounds = np.asarray(roll, dtype=np.uint8)
    assert sounds.ndim == 2 and sounds.shape[1] == len(names), "a note for each column"
    heard = np.flatnonzero(sounds.any(axis=0))
    low, high = (int(heard[0]), int(heard[-1])) if len(heard) else (0, len(names) - 1)
    with figure(9, 3.5) as drawn:
        axes = drawn.add_subplot()
        axes.imshow(
            sounds[:, low : high + 1].T, origin="lower", aspect="auto", cmap="Blues", vmin=0, vmax=1
        )
        axes.grid(False)
        notes = range(0, high - low + 1, max(1, (high - low + 1) // _NOTES_NAMED))
        axes.set_yticks(notes, [names[low + note] for note in notes], fontsize=8)
        axes.set_xlabel("step")
        axes.set_title(plain(title, 60))
        return save(drawn, path)
