"""Loss at each step of y, with teacher forcing and in free running."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from seqpipe.files import replacing
from seqpipe.report.figures import GREY, LONGEST_TITLE, TRAIN, VALID, figure, plain, save
from seqpipe.report.findings import Finding

_BINS = 64  # at most, in the picture; the table has every position


class Position(NamedTuple):
    """One step of y, from 1, or the mean over some: both losses in nats, and sequences so long."""

    position: float
    sequences: float
    teacher_forced: float
    free_running: float


def write_positions(folder: Path, positions: Sequence[Position]) -> Path:
    """Writes loss_by_position.csv, a row for each step of y."""
    path = folder / "loss_by_position.csv"
    with replacing(path) as made, made.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Position._fields)
        for p in positions:
            losses = (f"{p.teacher_forced:.6g}", f"{p.free_running:.6g}")
            writer.writerow((int(p.position), int(p.sequences), *losses))
    return path


def binned(positions: Sequence[Position], most: int = _BINS) -> list[Position]:
    """Means over neighbouring positions, at most `most` of them; each sequence weighs the same."""
    width = -(-len(positions) // most)
    return [_mean(positions[i : i + width]) for i in range(0, len(positions), width)]


def _mean(some: Sequence[Position]) -> Position:
    total = sum(p.sequences for p in some)
    return Position(
        sum(p.position for p in some) / len(some),
        total / len(some),
        sum(p.teacher_forced * p.sequences for p in some) / total,
        sum(p.free_running * p.sequences for p in some) / total,
    )


def draw_positions(folder: Path, positions: Sequence[Position], title: str = "") -> Path:
    """Draws figures/loss_by_position.png.

    Args:
        folder: the run's folder.
        positions: a row for each step of y, from the first on.
        title: of the run.
    """
    shown = binned(positions)
    at = [p.position for p in shown]
    with figure(8, 4.2) as drawn:
        axes, below = drawn.subplots(2, 1, sharex=True, height_ratios=[5, 1])
        forced, free = [p.teacher_forced for p in shown], [p.free_running for p in shown]
        mark = {"marker": "o", "markersize": 3} if len(shown) <= 40 else {}
        axes.fill_between(at, forced, free, color=TRAIN, alpha=0.12, linewidth=0)
        # Where the lines coincide, the wider one is visible on both sides of the other.
        axes.plot(
            at,
            free,
            color=TRAIN,
            linewidth=3,
            label="free running: its own predictions as input",
            **mark,
        )
        axes.plot(at, forced, color=VALID, label="teacher forcing: the true y as input", **mark)
        axes.set_ylim(bottom=0)
        axes.set_ylabel("nats at this position")
        above = f"{plain(title, LONGEST_TITLE)}: " if title else ""
        axes.set_title(f"{above}loss by position")
        axes.legend(loc="best")
        width = at[1] - at[0] if len(at) > 1 else 1.0
        below.bar(at, [p.sequences for p in shown], width=0.9 * width, color=GREY, alpha=0.35)
        below.set_ylabel("sequences")
        below.set_xlabel("position in y" + (f" (means of {width:.0f})" if width > 1 else ""))
        below.grid(False)
        if len(positions) <= 20:
            below.set_xticks([int(a) for a in at])
        return save(drawn, folder / "figures" / "loss_by_position.png")


def positions_finding(
    positions: Sequence[Position], examples: int, figure: str | None = None
) -> Finding:
    """The exposure gap, in words: how much the loss rises in free running."""
    whole = _mean(positions)
    gap = whole.free_running - whole.teacher_forced
    text = (
        "When the model reads the true y before each step, the loss is"
        f" {whole.teacher_forced:.3g} nats per step;"
        f" when it reads its own predictions, it is {whole.free_running:.3g}"
        f" ({examples} validation examples, scored against the true y at the same position)."
    )
    if len(positions) > 1 and gap > 0.01 * whole.teacher_forced:
        worst = max(positions, key=lambda p: p.free_running - p.teacher_forced)
        more = worst.free_running - worst.teacher_forced
        text += (
            f" The difference, **{gap:.2g} nats**, is the exposure gap: later steps read earlier"
            " mistakes, and other good continuations count as wrong. The losses are equal at "
            "position 1"
            f" and differ most at {worst.position:.0f} (by {more:.2g})."
        )
    else:
        text += " Reading its own predictions does not raise the loss here."
    return Finding("Free running", text, figure=figure, group="Free running")
