"""Comparison of the settings of a sweep over several seeds: the mean of each, with its interval."""

import math
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seqpipe.report.figures import GREY, LONGEST_TITLE, TRAIN, VALID, figure, plain, save
from seqpipe.report.findings import Finding, Row
from seqpipe.report.markdown import number
from seqpipe.report.spread import CONFIDENCE, half_width, interval
from seqpipe.report.sweep_jobs import (
    FINISHED,
    SEED,
    Job,
    by_setting,
    differing,
    is_clear,
    setting,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_BESIDE = 4
"""Panels of a row."""
_WIDE_RANGE = 50.0
"""Results are drawn on a logarithmic axis if the largest is this many times the smallest."""


@dataclass(frozen=True)
class Repeated:
    """The runs of one setting, which differ in their seed alone.

    Args:
        name: of the setting, without what distinguishes its panel.
        jobs: those that finished.
    """

    name: str
    jobs: Sequence[Job]

    @property
    def values(self) -> list[float]:
        """The results that are finite."""
        return [job.result for job in self.jobs if math.isfinite(job.result)]

    @property
    def mean(self) -> float:
        """The mean of the results."""
        return statistics.fmean(self.values)

    @property
    def half_width(self) -> float:
        """Half of the interval of the mean, see `half_width`."""
        return half_width(self.values)


@dataclass(frozen=True)
class Panel:
    """The settings that can be compared: judged by the same metric, on the same data.

    Args:
        name: what distinguishes its data from that of the others; empty where nothing does.
        judged: the metric.
        mode: `min` or `max`, what is better.
        settings: one a line.
        baseline: the name of the best baseline and its value, or None.
    """

    name: str
    judged: str
    mode: str
    settings: Sequence[Repeated]
    baseline: tuple[str, float] | None

    @property
    def title(self) -> str:
        """`memory`, or the metric where one panel is all there is."""
        return self.name or self.judged

    @property
    def is_logarithmic(self) -> bool:
        """True if its results span orders of magnitude."""
        values = [value for one in self.settings for value in one.values]
        return min(values) > 0 and max(values) > _WIDE_RANGE * min(values)


def draw_means(
    folder: Path, jobs: Sequence[Job], *, units: Mapping[str, str] | None = None
) -> list[Finding]:
    """Draws figures/means.png: a panel for each set of data, a line for each setting.

    Results can be compared if they are of the same metric on the same data; they share a panel. The
    panels lie beside each other where all of them have the same settings.

    Args:
        folder: the sweep's folder.
        jobs: its jobs; those without a result are counted in the text, with their reasons.
        units: what the results of a panel count, by its name: `nats a character`.
    """
    panels = _panels(jobs)
    if not panels:
        return []
    path = _draw(folder / "figures" / "means.png", panels, units or {})
    text = (
        f"Mean of the test over the seeds, with its {CONFIDENCE:.0%} confidence interval"
        " (Student's t; none for a single seed). Small circles are single runs."
    )
    if any(panel.baseline for panel in panels):
        text += " The dashed line is the best of the simple models that each run is compared with."
    if any(map(_leaves_at_the_left, panels)):
        text += " An interval that reaches 0 leaves a logarithmic axis at its left end."
    text = " ".join([text, *_missing(jobs)])
    rows = [row for panel in panels for row in _rows(panel)]
    return [Finding("Means over seeds", text, path.name, rows, "Comparison")]


def _panels(jobs: Sequence[Job]) -> list[Panel]:
    """The settings by what they are judged by and on, in the order of the jobs."""
    finished = [job for job in jobs if _has_result(job)]
    by_panel: dict[tuple[str, str], list[Job]] = {}
    for job in finished:
        by_panel.setdefault((job.judged, job.judged_on), []).append(job)
    keys = [key for key in differing(finished) if key != SEED]
    inside = {key for group in by_panel.values() for key in differing(group)} - {SEED}
    own = [key for key in keys if key in inside]
    others = [key for key in keys if key not in inside]
    panels = []
    for (judged, _), group in by_panel.items():
        repeated = [
            Repeated(setting(of[0], own) or "all", of) for of in by_setting(group, own).values()
        ]
        name = _name(group[0], others)
        panels.append(Panel(name, judged, group[0].mode, repeated, _best_baseline(group)))
    return panels


def _has_result(job: Job) -> bool:
    return job.status == FINISHED and math.isfinite(job.result)


def _name(job: Job, keys: Sequence[str]) -> str:
    """The values of these keys; of a single key without its name, if the value is a word."""
    value = job.overrides.get(keys[0], "") if len(keys) == 1 else ""
    return value if value and is_clear(value) else setting(job, keys)


def _best_baseline(jobs: Sequence[Job]) -> tuple[str, float] | None:
    """The name and the mean of the baseline that is the best in the mean over these jobs."""
    values: dict[str, list[float]] = {}
    for job in jobs:
        for name, value in job.baselines.items():
            values.setdefault(name, []).append(value)
    if not values:
        return None
    means = {name: statistics.fmean(found) for name, found in values.items()}
    best = (max if jobs[0].mode == "max" else min)(means, key=means.__getitem__)
    return best, means[best]


def _missing(jobs: Sequence[Job]) -> Iterator[str]:
    """A sentence about the jobs without a result, with their reasons; none where all have one."""
    without = [job for job in jobs if not _has_result(job)]
    reasons = Counter(
        job.message or ("result not finite" if job.status == FINISHED else job.status)
        for job in without
    )
    if without:
        listed = "; ".join(f"{count}: {reason}" for reason, count in reasons.items())
        yield f"Not drawn, for lack of a result: {len(without)} of {len(jobs)} runs ({listed})."


def _rows(panel: Panel) -> list[Row]:
    rows: list[Row] = []
    for one in panel.settings:
        row: dict[str, object] = {"on": panel.title, "metric": panel.judged, "setting": one.name}
        row |= {"seeds": len(one.values), "mean": number(one.mean)}
        row[f"{CONFIDENCE:.0%} interval"] = interval(one.values)
        if panel.baseline:
            name, value = panel.baseline
            row["best baseline"] = f"{number(value)} ({name})"
        rows.append(row | {"parameters": one.jobs[0].size})
    return rows


def _draw(path: Path, panels: Sequence[Panel], units: Mapping[str, str]) -> Path:
    names = [[one.name for one in panel.settings] for panel in panels]
    beside = 1 < len(panels) <= _MOST_BESIDE and all(one == names[0] for one in names)
    width = 1.6 + 2.7 * len(panels) if beside else 8.0
    lines = len(names[0]) + 1 if beside else sum(map(len, names)) + len(panels)
    height = 1.1 * (1 if beside else len(panels)) + 0.3 * lines
    with figure(width, height) as drawn:
        for panel, axes in zip(panels, _axes(drawn, panels, beside=beside), strict=True):
            _draw_panel(axes, panel, units.get(panel.name, ""))
        return save(drawn, path)


def _axes(drawn: "Figure", panels: Sequence[Panel], *, beside: bool) -> list["Axes"]:
    if beside:
        return list(drawn.subplots(1, len(panels), sharey=True, squeeze=False)[0])
    heights = [len(panel.settings) + 2 for panel in panels]
    grid = drawn.subplots(len(panels), 1, height_ratios=heights, squeeze=False)
    return list(grid[:, 0])


def _draw_panel(axes: "Axes", panel: Panel, unit: str) -> None:
    """Draws single results as circles, the mean as a dot and its interval as a bar."""
    _set_range(axes, panel)
    for place, one in enumerate(panel.settings):
        line = [place] * len(one.values)
        axes.plot(one.values, line, "o", color=GREY, fillstyle="none", markersize=4)
        half = one.half_width
        axes.errorbar(
            [one.mean],
            [place],
            xerr=None if math.isnan(half) else half,
            fmt="o",
            color=VALID,
            capsize=4,
        )
    axes.set_yticks(range(len(panel.settings)), [plain(one.name, 40) for one in panel.settings])
    axes.set_ylim(len(panel.settings) - 0.5, -1.2)  # the top line is that of the baseline's name
    axes.set_title(plain(panel.title, LONGEST_TITLE))
    better = "higher" if panel.mode == "max" else "lower"
    measured = f"{unit} ({panel.judged})" if unit else panel.judged
    axes.set_xlabel(f"{plain(measured, LONGEST_TITLE)}\n{better} is better")
    if panel.baseline:
        _draw_baseline(axes, *panel.baseline)


def _set_range(axes: "Axes", panel: Panel) -> None:
    """Chooses the axis and its ends, so that all single results and the baseline lie inside."""
    values = [value for one in panel.settings for value in one.values]
    values += [panel.baseline[1]] if panel.baseline else []
    if panel.is_logarithmic:
        axes.set_xscale("log")
        axes.set_xlim(min(values) / 2, max(values) * 2)
        return
    ends = [one.mean + sign * one.half_width for one in panel.settings for sign in (-1, 1)]
    shown = [*values, *(end for end in ends if math.isfinite(end))]
    margin = 0.06 * (max(shown) - min(shown)) or 0.1 * abs(shown[0]) or 1.0
    axes.set_xlim(min(shown) - margin, max(shown) + margin)


def _leaves_at_the_left(panel: Panel) -> bool:
    """True if an interval on a logarithmic axis reaches 0."""
    halves = [(one.mean, one.half_width) for one in panel.settings]
    return panel.is_logarithmic and any(half >= mean for mean, half in halves)


def _draw_baseline(axes: "Axes", name: str, value: float) -> None:
    """Draws a dashed line with its name beside it, on the side that has more room."""
    axes.axvline(value, color=TRAIN, linewidth=1.2, linestyle="--")
    place = axes.transLimits.transform(axes.transScale.transform((value, 0.0)))[0]
    side, gap = ("right", -4) if place > 0.5 else ("left", 4)
    axes.annotate(
        f"{plain(name.replace('_', ' '), 30)} {number(value)}",
        (value, -0.85),
        xytext=(gap, 0),
        textcoords="offset points",
        ha=side,
        va="center",
        fontsize=8,
        color=TRAIN,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )
