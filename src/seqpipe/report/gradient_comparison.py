"""Comparison of the jobs of a sweep by the reach of their gradients: a figure and a table."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from seqpipe.report.decay import HORIZON, LONGEST_HALF_LIFE
from seqpipe.report.figures import COLOURS, GREY, LONGEST_TITLE, draw_level, figure, plain, save
from seqpipe.report.findings import Finding
from seqpipe.report.markdown import escaped, in_code, number
from seqpipe.report.sweep_jobs import FINISHED, Job, differing, judged_by, result_rows, setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKS = ("o", "s", "^", "D", "v", "P")
_FLOOR = 1e-6  # of the peak: the smallest gradient that is drawn
_NOT_SHOWN = ("seed",)


class Profile(NamedTuple):
    """The norm of the gradient at each distance from the loss, over its peak."""

    distances: list[int]
    norms: list[float]


def profiles(path: Path) -> dict[str, Profile]:
    """Reads the gradients at the `start` and the `end` of a training.

    Args:
        path: gradients.parquet of a run.

    Returns:
        mean over the probe's examples, for the lowest layer of the first stack, read forwards;
        empty where the file is missing or holds nothing.
    """
    if not path.is_file():
        return {}
    import pyarrow.parquet as parquet  # read at the end of a sweep, not at the start of a command

    rows = parquet.read_table(path).to_pylist()
    for key, preferred in (("stack", "encoder"), ("direction", "forwards"), ("loss", "last")):
        values = [row[key] for row in rows]
        wanted = preferred if preferred in values or not values else values[0]
        rows = [row for row in rows if row[key] == wanted]
    lowest = min((row["layer"] for row in rows), default=0)
    rows = [row for row in rows if row["layer"] == lowest]
    steps = sorted({row["step"] for row in rows})
    named = {"start": steps[0], "end": steps[-1]} if steps else {}
    return {
        name: _mean_profile([row for row in rows if row["step"] == step])
        for name, step in named.items()
    }


def _mean_profile(rows: Sequence[Mapping[str, float]]) -> Profile:
    at: dict[int, list[float]] = {}
    for row in rows:
        at.setdefault(int(row["distance"]), []).append(row["norm"])
    means = {distance: sum(norms) / len(norms) for distance, norms in sorted(at.items())}
    peak = max((value for value in means.values() if math.isfinite(value)), default=0.0)
    shares = [value / peak if peak > 0 else math.nan for value in means.values()]
    return Profile(list(means), shares)


class _Layout:
    """The lines and panels of a figure.

    A line for each value of one key (the cell, or else the first that was swept), a panel for
    each setting of the others.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        keys = [key for key in differing(jobs) if key not in _NOT_SHOWN]
        self.line_key = "cell" if "cell" in keys or not keys else keys[0]
        self.panel_keys = [key for key in keys if key != self.line_key]
        self.lines = list(dict.fromkeys(map(self.line, jobs)))
        self.panels = list(dict.fromkeys(map(self.panel, jobs)))

    def line(self, job: Job) -> str:
        return job.overrides.get(self.line_key, "")

    def panel(self, job: Job) -> str:
        return setting(job, self.panel_keys)

    def place(self, job: Job) -> int:
        return self.lines.index(self.line(job))


def draw_gradients(
    folder: Path,
    jobs: Sequence[Job],
    *,
    guessing: float | None = None,
    solved: float | None = None,
) -> list[Finding]:
    """Draws figures/gradients.png: gradients against the distance from the loss, and results.

    A line for each value of the first key that was swept (such as the cell), a panel for each
    setting of the others (such as the length), and one panel with the test results.

    Args:
        folder: the sweep's folder.
        jobs: its jobs; those that did not finish have no line.
        guessing: the test result of a model that always guesses.
        solved: the task counts as solved if the test result is better than this.
    """
    layout = _Layout(jobs)
    kept = [job for job in jobs if job.status == FINISHED]
    columns = min(2, len(layout.panels) + 1)
    rows = math.ceil((len(layout.panels) + 1) / columns)
    with figure(4.6 * columns, 3.4 * rows + 0.6) as drawn:
        axes = list(drawn.subplots(rows, columns, squeeze=False).flat)
        for panel, ax in zip(layout.panels, axes, strict=False):
            here = [job for job in kept if layout.panel(job) == panel]
            _draw_profiles(ax, folder, here, layout)
            ax.set_title(plain(panel, 40) if panel else "gradient")
        levels = {"guessing": guessing, "solved": solved}
        _draw_results(axes[len(layout.panels)], kept, layout, levels)
        for empty in axes[len(layout.panels) + 1 :]:
            empty.set_axis_off()
        marks = _legend(layout)
        drawn.legend(handles=marks, loc="outside lower center", ncols=len(marks))
        path = save(drawn, folder / "figures" / "gradients.png")
    table = result_rows(jobs, solved, lambda job: _reach(job.metrics) | {"gradient": job.verdict})
    text = _reach_in_words(kept, layout, solved, guessing)
    return [Finding("How far the gradient reaches", text, path.name, table, "Gradients")]


def _draw_profiles(axes: "Axes", folder: Path, jobs: Sequence[Job], layout: _Layout) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.axhline(HORIZON, color=GREY, linewidth=0.9, linestyle=":")
    for job in jobs:
        colour = COLOURS[layout.place(job) % len(COLOURS)]
        for name, profile in profiles(folder / job.folder / "gradients.parquet").items():
            heights = [value if value > 0 else math.nan for value in profile.norms]
            style, width = ("--", 1.0) if name == "start" else ("-", 1.8)
            axes.plot(profile.distances, heights, color=colour, linestyle=style, linewidth=width)
    axes.set_yscale("log")
    axes.set_ylim(_FLOOR, 2)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.set_xlabel("steps from the loss")
    axes.set_ylabel("gradient norm, share of its peak")


def _draw_results(
    axes: "Axes", jobs: Sequence[Job], layout: _Layout, levels: Mapping[str, float | None]
) -> None:
    for job in jobs:
        place = layout.place(job)
        shift = 0.12 * (place - (len(layout.lines) - 1) / 2)  # equal values lie side by side
        axes.plot(
            [layout.panels.index(layout.panel(job)) + shift],
            [job.result],
            _MARKS[place % len(_MARKS)],
            color=COLOURS[place % len(COLOURS)],
        )
    heights = [job.result for job in jobs]
    if any(value > 0 for value in heights) and not any(value <= 0 for value in heights):
        axes.set_yscale("log")
    for words, level in levels.items():
        if level is not None:
            draw_level(axes, level, words)
    names = [plain(panel, 24) if panel else "" for panel in layout.panels]
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_title(plain(judged_by(jobs), LONGEST_TITLE))


def _legend(layout: _Layout) -> list[Any]:
    from matplotlib.lines import Line2D

    marks = [
        Line2D([], [], color=COLOURS[k % len(COLOURS)], marker=_MARKS[k % len(_MARKS)], label=name)
        for k, name in enumerate(map(plain, layout.lines))
        if name.strip("'")
    ]
    marks.append(Line2D([], [], color=GREY, linestyle="--", linewidth=1.0, label="before training"))
    marks.append(Line2D([], [], color=GREY, linewidth=1.8, label="after it"))
    marks.append(Line2D([], [], color=GREY, linestyle=":", linewidth=0.9, label="1 % of the peak"))
    return marks


def _reach(metrics: Mapping[str, float]) -> dict[str, object]:
    """The half-life and the horizon; a gradient that grows or stays the same never halves."""
    value, decay = metrics.get("gradient/half_life"), metrics.get("gradient/decay", math.nan)
    horizon = metrics.get("gradient/horizon", math.nan)
    half_life = _whole(value)
    if value == LONGEST_HALF_LIFE * horizon:  # a longer one was not measured
        half_life = f"≥ {half_life}"
    elif value is not None and not math.isfinite(value) and decay >= 1:
        half_life = "never"
    return {"half-life, steps": half_life, "horizon, steps": _whole(horizon)}


def _whole(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _reach_in_words(
    jobs: Sequence[Job], layout: _Layout, solved: float | None, guessing: float | None
) -> str:
    """A sentence for each panel: which jobs solve the task, and how far each gradient reaches."""
    text = (
        "The lines are the norm of the loss's gradient at each step of the sequence, counted back "
        "from the loss, as a share of its peak: dashed before training, solid after it. Beyond "
        "the horizon, where a line stays under 1 %, a step has almost no influence on learning."
    )
    if guessing is not None and jobs:
        text += f" A model that guesses gets {escaped(jobs[0].judged)} {number(guessing)}."
    lines = []
    for panel in layout.panels:
        here = [job for job in jobs if layout.panel(job) == panel]
        parts = []
        if solved is not None:
            for outcome, words in ((True, "solved"), (False, "not solved")):
                names = [_name(j, layout) for j in here if j.solves(solved) is outcome]
                if names:
                    listed = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
                    parts.append(f"{listed} {words}")
        reach = [
            f"{_whole(job.metrics['gradient/horizon'])} ({_name(job, layout)})"
            for job in here
            if _whole(job.metrics.get("gradient/horizon"))
        ]
        if reach:
            parts.append(f"horizon, in steps: {', '.join(reach)}")
        if parts:
            lines.append(f"- {f'{in_code(panel)}: ' if panel else ''}{'; '.join(parts)}.")
    return text + ("\n\n" + "\n".join(lines) if lines else "")


def _name(job: Job, layout: _Layout) -> str:
    name = escaped(job.overrides.get(layout.line_key, "this job"))
    seed = job.overrides.get("seed")
    return name if seed is None else f"{name} (seed {seed})"
