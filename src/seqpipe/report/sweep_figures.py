"""Figures and tables that compare the jobs of a sweep: gradient reach, and gradient clipping."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from seqpipe.report.decay import HORIZON, LONGEST_HALF_LIFE, VERDICTS
from seqpipe.report.figures import COLOURS, GREY, LONGEST_TITLE, figure, plain, save
from seqpipe.report.findings import Finding, Row
from seqpipe.report.markdown import escaped, in_code, number
from seqpipe.report.run_files import History, read_history
from seqpipe.report.sweep_jobs import FINISHED, Job, differing, judged_by, setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKS = ("o", "s", "^", "D", "v", "P")
_VERDICTS = {number: verdict for verdict, number in VERDICTS.items()}
_FLOOR = 1e-6  # of the peak: the smallest gradient that is drawn
_NOT_SHOWN = ("seed",)
_NORMS = ("grad_norm/window_max", "grad_norm/total")  # the first that was measured
_ENDED = {"not finished": "did not finish", "refused": "was refused", "failed": "failed"}


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
    table = _table(jobs, solved, lambda job: _reach(job.metrics) | {"gradient": _verdict(job)})
    text = _reach_in_words(kept, layout, solved, guessing)
    return [Finding("How far the gradient reaches", text, path.name, table, "Gradients")]


def draw_clipping(
    folder: Path,
    jobs: Sequence[Job],
    *,
    guessing: float | None = None,
    solved: float | None = None,
) -> list[Finding]:
    """Draws figures/clipping.png: the gradient's norm before clipping, and the loss.

    A line a job; a failed job has a line up to its last update.

    Args:
        folder: the sweep's folder.
        jobs: its jobs.
        guessing: the loss of a model that always guesses.
        solved: the task counts as solved if the test result is better than this.
    """
    names = {job.number: setting(job, differing(jobs)) or f"job {job.number}" for job in jobs}
    histories = {job.number: read_history(folder / job.folder / "history.csv") for job in jobs}
    with figure(9, 6.4) as drawn:
        above, below = drawn.subplots(2, 1, sharex=True)
        for place, job in enumerate(jobs):
            colour, history = COLOURS[place % len(COLOURS)], histories[job.number]
            _draw_series(above, _norms(history), colour, plain(names[job.number], 40))
            _draw_series(below, history.get("val/loss", []), colour, None)
        above.set_title("gradient norm before clipping, the largest of each window")
        below.set_title("val/loss")
        below.set_xlabel("optimizer step")
        if guessing is not None:
            _draw_level(below, guessing, "guessing")
        drawn.legend(loc="outside lower center", ncols=min(4, len(jobs)))
        path = save(drawn, folder / "figures" / "clipping.png")
    table = _table(jobs, solved, lambda job: _norms_in_numbers(job, histories[job.number]))
    sentences = [_norms_in_words(job, names[job.number], histories[job.number]) for job in jobs]
    text, group = "\n".join(sentences), "Exploding gradients"
    return [Finding("With clipping and without", text, path.name, table, group)]


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
            _draw_level(axes, level, words)
    names = [plain(panel, 24) if panel else "" for panel in layout.panels]
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_title(plain(judged_by(jobs), LONGEST_TITLE))


def _draw_level(axes: "Axes", level: float, words: str) -> None:
    """Draws a dotted line across, with its name at the right end."""
    axes.axhline(level, color=GREY, linewidth=0.9, linestyle=":")
    place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "bottom"}
    axes.annotate(words, (1, level), **place, fontsize=8, color=GREY)


def _draw_series(
    axes: "Axes", points: Sequence[tuple[int, float]], colour: str, name: str | None
) -> None:
    """Draws a line over the finite values, and a cross for each that was not finite."""
    finite = [(step, value) for step, value in points if math.isfinite(value)]
    few = len(finite) < 3  # a training that failed at once: a ring that other lines do not hide
    axes.plot(
        [step for step, _ in finite],
        [value for _, value in finite],
        color=colour,
        marker="o",
        markersize=10 if few else 3,
        markerfacecolor="none" if few else colour,
        label=name,
    )
    if any(value > 0 for _, value in finite):
        axes.set_yscale("log")
    for step in (step for step, value in points if not math.isfinite(value)):
        axes.plot([step], [0.97], "x", color=colour, transform=axes.get_xaxis_transform())


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


def _table(
    jobs: Sequence[Job], solved: float | None, measured: Callable[[Job], Mapping[str, object]]
) -> list[Row]:
    """A row a job: what differs, what was measured, the test result."""
    keys, judged = differing(jobs), judged_by(jobs)
    unfinished = any(job.status != FINISHED for job in jobs)
    rows: list[Row] = []
    for job in jobs:
        row: dict[str, object] = {key: job.overrides.get(key, "") for key in keys}
        row |= measured(job)
        row[judged] = _shown(job.metrics.get(judged, math.nan))
        if solved is not None:
            finished = job.status == FINISHED
            row["solved"] = ("yes" if _is_solved(job, solved) else "no") if finished else ""
        rows.append(row | ({"status": job.status} if unfinished else {}))
    return rows


def _verdict(job: Job) -> str:
    """The verdict of the last gradient probe; empty where there was none."""
    verdict = job.metrics.get("gradient/verdict", math.nan)
    return _VERDICTS.get(int(verdict), "") if math.isfinite(verdict) else ""


def _is_solved(job: Job, solved: float) -> bool:
    """True if the test result is better than a threshold; never if it is not finite."""
    return job.result > solved if job.mode == "max" else job.result < solved


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


def _shown(value: float) -> str:
    return "" if math.isnan(value) else number(value)


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
                names = [_name(j, layout) for j in here if _is_solved(j, solved) is outcome]
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


def _norms(history: History) -> Sequence[tuple[int, float]]:
    return next((history[name] for name in _NORMS if name in history), [])


def _largest(history: History) -> float:
    """The largest norm that was measured; infinite where one was not finite; NaN without any."""
    values = [value for _, value in _norms(history)]
    if any(not math.isfinite(value) for value in values):
        return math.inf
    return max(values, default=math.nan)


def _norms_in_numbers(job: Job, history: History) -> dict[str, object]:
    """The largest norm, the updates left out as not finite, the share clipped, the verdict."""
    largest = _largest(history)
    skipped = [job.metrics.get("bad_steps", math.nan)]
    skipped += [value for _, value in history.get("bad_steps", ())]
    finite = [value for value in skipped if math.isfinite(value)]
    clipped = [value for _, value in history.get("grad_norm/clipped_fraction", ())]
    return {
        "largest norm": _shown(largest),
        "bad steps": f"{max(finite):.0f}" if finite else "",
        "clipped": f"{sum(clipped) / len(clipped):.0%}" if clipped else "",
        # A training that failed has no last probe.
        "gradient": "exploded" if math.isinf(largest) else _verdict(job),
    }


def _norms_in_words(job: Job, name: str, history: History) -> str:
    """The largest gradient norm and the result of the training, in a sentence."""
    largest, words = _largest(history), f"- {in_code(name)}:"
    if math.isinf(largest):
        words += " the gradient was not finite;"
    elif not math.isnan(largest):
        words += f" the largest gradient norm is {number(largest)};"
    if job.status != FINISHED:
        why = f" ({job.message.split(';')[0]})" if job.message else ""
        return f"{words} the job {_ENDED.get(job.status, job.status)}{why}."
    return f"{words} {job.judged} is {number(job.result)}."
