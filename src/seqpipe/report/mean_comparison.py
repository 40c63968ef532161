"""Comparison of the settings of a sweep over several seeds: the mean of each, with its interval."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seqpipe.report.figures import GREY, LONGEST_TITLE, VALID, figure, plain, save
from seqpipe.report.findings import Finding, Row
from seqpipe.report.markdown import number
from seqpipe.report.sweep_jobs import (
    CONFIDENCE,
    FINISHED,
    SEED,
    Job,
    by_setting,
    differing,
    setting,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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


def half_width(values: Sequence[float]) -> float:
    """Half of the 95 % confidence interval of a mean, by Student's t; NaN for a single value.

    Source: Student (1908): t_{n-1} s / sqrt(n), for values that are normally distributed.
    """
    if len(values) < 2:
        return math.nan
    from scipy.stats import t  # takes half a second

    quantile = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
    return quantile * statistics.stdev(values) / math.sqrt(len(values))


def draw_means(folder: Path, jobs: Sequence[Job]) -> list[Finding]:
    """Draws figures/means.png: a panel for each set of data, a line for each setting.

    Results can be compared if they are of the same metric on the same data; they share a panel.

    Args:
        folder: the sweep's folder.
        jobs: its jobs.
    """
    panels = _panels(jobs)
    if not panels:
        return []
    rows = [row for title, settings in panels for row in _rows(title, settings)]
    lines = sum(len(settings) for _, settings in panels)
    with figure(8, 0.9 * len(panels) + 0.3 * lines) as drawn:
        heights = [len(settings) + 1 for _, settings in panels]
        grid = drawn.subplots(len(panels), 1, height_ratios=heights, squeeze=False)
        for axes, (title, settings) in zip(grid[:, 0], panels, strict=True):
            _draw_panel(axes, title, settings)
        path = save(drawn, folder / "figures" / "means.png")
    text = (
        f"Mean of the test over the seeds, with its {CONFIDENCE:.0%} confidence interval"
        " (Student's t; none for a single seed). Small circles are single runs."
    )
    return [Finding("Means over seeds", text, path.name, rows, "Comparison")]


def _panels(jobs: Sequence[Job]) -> list[tuple[str, list[Repeated]]]:
    """The settings by what they are judged by and on, in the order of the jobs."""
    finished = [job for job in jobs if job.status == FINISHED and math.isfinite(job.result)]
    by_panel: dict[tuple[str, str], list[Job]] = {}
    for job in finished:
        by_panel.setdefault((job.judged, job.judged_on), []).append(job)
    keys = [key for key in differing(finished) if key != SEED]
    inside = {key for group in by_panel.values() for key in differing(group)} - {SEED}
    own = [key for key in keys if key in inside]
    panels = []
    for (judged, _), group in by_panel.items():
        repeated = [
            Repeated(setting(of[0], own) or "all", of) for of in by_setting(group, own).values()
        ]
        data = setting(group[0], [key for key in keys if key not in inside])
        title = f"{data} ({judged})" if data else judged
        panels.append((title, repeated))
    return panels


def _rows(title: str, settings: Sequence[Repeated]) -> list[Row]:
    return [
        {
            "on": title,
            "setting": one.name,
            "seeds": len(one.values),
            "mean": number(one.mean),
            f"{CONFIDENCE:.0%} interval": _interval(one),
            "parameters": one.jobs[0].size,
        }
        for one in settings
    ]


def _interval(one: Repeated) -> str:
    half = one.half_width
    return "" if math.isnan(half) else f"{number(one.mean - half)} to {number(one.mean + half)}"


def _draw_panel(axes: "Axes", title: str, settings: Sequence[Repeated]) -> None:
    """Draws single results as circles, the mean as a dot and its interval as a bar."""
    for place, one in enumerate(settings):
        axes.plot(one.values, [place] * len(one.values), "o", color=GREY, fillstyle="none")
        half = one.half_width
        axes.errorbar(
            [one.mean],
            [place],
            xerr=None if math.isnan(half) else half,
            fmt="o",
            color=VALID,
            capsize=4,
        )
    axes.set_yticks(range(len(settings)), [plain(one.name, 40) for one in settings])
    axes.set_ylim(len(settings) - 0.5, -0.5)
    axes.set_title(plain(title, LONGEST_TITLE))
