"""Parallel coordinates of a sweep: a line for each job, across the keys that differ, to its result.

Source: Inselberg (1985), "The plane with parallel coordinates".
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seqpipe.report.figures import COLOURS, GREY, LONGEST_TITLE, figure, plain, save
from seqpipe.report.markdown import number
from seqpipe.report.sweep_jobs import FINISHED, FOLD, SEED, Job, differing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEWEST_KEYS, FEWEST_JOBS = 2, 3
_BEST = COLOURS[0]
_MOST_AXES = 12
_MOST_TICKS = 6
_WIDE_RANGE = 20.0
_CROWDED = 0.25
"""An axis is logarithmic if its largest value is at least so many times its smallest, and half of
its values would lie in this part of it at the lower end."""


@dataclass(frozen=True)
class Scale:
    """An axis: the height of each value on it, from 0 to 1, and its ticks.

    Args:
        title: the key, or the metric.
        places: of each job.
        ticks: height and label.
    """

    title: str
    places: Sequence[float]
    ticks: Sequence[tuple[float, str]]

    def upside_down(self) -> "Scale":
        """The same axis with its smallest value on top."""
        ticks = [(1 - place, label) for place, label in self.ticks]
        return Scale(self.title, [1 - place for place in self.places], ticks)


def scale_of(title: str, values: Sequence[str]) -> Scale:
    """The axis of a key: of numbers if all its values are, logarithmic if they span a lot.

    Args:
        title: the key.
        values: of each job, as typed; empty where a job leaves the key as it is.
    """
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        numbers = []
    if numbers and all(map(math.isfinite, numbers)):
        return scale_of_numbers(title, numbers)
    names = list(dict.fromkeys(values))
    heights = {name: (k + 0.5) / len(names) for k, name in enumerate(names)}
    return Scale(
        title,
        [heights[value] for value in values],
        [(heights[name], plain(name, 14) if name else "(not set)") for name in names],
    )


def scale_of_numbers(title: str, values: Sequence[float]) -> Scale:
    """The axis of numbers, logarithmic if they span a lot and are positive.

    Args:
        title: the key or the metric.
        values: of each job, finite.
    """
    low, high = min(values), max(values)
    crowded = statistics.median(values) - low < _CROWDED * (high - low)
    logarithmic = crowded and low > 0 and high >= _WIDE_RANGE * low
    shown = [math.log10(value) for value in values] if logarithmic else list(values)
    bottom, top = min(shown), max(shown)
    height = top - bottom or 1.0
    known = sorted(set(zip(shown, values, strict=True)))
    if len(known) > _MOST_TICKS:
        steps = [bottom + height * k / (_MOST_TICKS - 1) for k in range(_MOST_TICKS)]
        known = [(step, 10**step if logarithmic else step) for step in steps]
    ticks = [((place - bottom) / height, _short(value)) for place, value in known]
    suffix = " (log)" if logarithmic else ""
    return Scale(f"{title}{suffix}", [(place - bottom) / height for place in shown], ticks)


def _short(value: float) -> str:
    return number(float(f"{value:.3g}"))


def drawable(jobs: Sequence[Job]) -> list[Job]:
    """The jobs with a finite result; none where they are too few, or cannot be compared."""
    shown = [job for job in jobs if job.status == FINISHED and math.isfinite(job.monitored)]
    keys = keys_of(jobs)
    comparable = len({(job.kept, job.judged_on) for job in shown}) == 1
    few = len(shown) < FEWEST_JOBS or len(keys) < FEWEST_KEYS
    return [] if few or not comparable else shown


def keys_of(jobs: Sequence[Job]) -> list[str]:
    """The keys that have an axis: those that differ, without seed and fold."""
    return [key for key in differing(jobs) if key not in (SEED, FOLD)][:_MOST_AXES]


def draw_parallel(folder: Path, jobs: Sequence[Job], best: frozenset[int]) -> Path | None:
    """Draws figures/parallel_coordinates.png; None where it would say nothing.

    It needs at least two keys that differ and three jobs with a result that can be compared.

    Args:
        folder: of the sweep.
        jobs: of the sweep.
        best: the numbers of the best, whose line is thick.
    """
    shown = drawable(jobs)
    if not shown:
        return None
    scales = [scale_of(key, [job.overrides.get(key, "") for job in shown]) for key in keys_of(jobs)]
    result = scale_of_numbers(shown[0].kept, [job.monitored for job in shown])
    if shown[0].mode != "max":
        result = result.upside_down()
    with figure(2.0 + 1.5 * len(scales), 3.8) as drawn:
        from matplotlib import colormaps

        axes, across = drawn.add_subplot(), range(len(scales) + 1)
        # The best last, on top of the others.
        order = sorted(range(len(shown)), key=lambda k: (shown[k].number in best, result.places[k]))
        for k in order:
            chosen = shown[k].number in best
            axes.plot(
                across,
                [scale.places[k] for scale in (*scales, result)],
                color=_BEST if chosen else colormaps["cividis"](0.9 * (1 - result.places[k])),
                linewidth=2.6 if chosen else 1.1,
                alpha=1.0 if chosen else 0.7,
            )
        for place, scale in enumerate((*scales, result)):
            _draw_axis(axes, place, scale)
        better = "higher" if shown[0].mode == "max" else "lower"
        axes.set_title(f"{plain(shown[0].kept, LONGEST_TITLE)}: {better} is better, and on top")
        return save(drawn, folder / "figures" / "parallel_coordinates.png")


def _draw_axis(axes: "Axes", place: int, scale: Scale) -> None:
    axes.plot([place, place], [0, 1], color=GREY, linewidth=0.9, zorder=0.5)
    for height, label in scale.ticks:
        axes.annotate(
            label,
            (place, height),
            xytext=(4, 0),
            textcoords="offset points",
            fontsize=8,
            va="center",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.75},
        )
    axes.annotate(
        plain(scale.title, 24), (place, 1.07), ha="center", va="bottom", fontsize=8, color=GREY
    )
    axes.set_ylim(-0.06, 1.18)
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
