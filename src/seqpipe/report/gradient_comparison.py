"""How far gradients reach in the jobs of a sweep: one figure, one table."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from seqpipe.report.decay import HORIZON, LONGEST_HALF_LIFE, VERDICTS
from seqpipe.report.findings import Finding, Row
from seqpipe.report.markdown import escaped, in_code, number
from seqpipe.report.run_files import GREY, figure, plain, save
from seqpipe.report.sweep_jobs import FINISHED, Job, differing, judged_by, setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Profile(NamedTuple):
    """The norm of the gradient at each distance from the loss, over its peak."""

    distances: list[int]
    norms: list[float]


def profiles(path: Path) -> dict[str, Profile]:
    """The gradients at the `start` and the `end` of a training.

    Args:
        path: gradients.parquet of a run.

    Returns:
        mean over the probe's examples, for the lowest layer of the first stack, read forwards;
        empty where the file is missing or holds nothing.
    """
    if not path.is_file():
        return {}
    import pyarrow.parquet as parquet  # read at the end of a sweep, not at the start of a command

    columns = parquet.read_table(path).to_pydict()
    rows = [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]
    for key in ("stack", "direction", "loss", "layer"):  # one of each: the first as they come
        wanted = _chosen(key, [row[key] for row in rows])
        rows = [row for row in rows if row[key] == wanted]
    steps = sorted({row["step"] for row in rows})
    named = dict(zip(("start", "end"), (steps[0], steps[-1]), strict=True)) if steps else {}
    return {name: _mean_profile(rows, step) for name, step in named.items()}


def _chosen(key: str, values: Sequence[object]) -> object:
    """The lowest layer; the forward direction and the last step's loss where there are any."""
    preferred: Mapping[str, str] = {"direction": "forwards", "loss": "last", "stack": "encoder"}
    if key == "layer" or not values:
        return min(values, default=None)  # type: ignore[type-var]
    return preferred[key] if preferred[key] in values else values[0]


def _mean_profile(rows: Sequence[Mapping[str, float]], step: float) -> Profile:
    at: dict[int, list[float]] = {}
    for row in rows:
        if row["step"] == step:
            at.setdefault(int(row["distance"]), []).append(row["norm"])
    means = {distance: sum(norms) / len(norms) for distance, norms in sorted(at.items())}
    peak = max((value for value in means.values() if math.isfinite(value)), default=0.0)
    return Profile(
        list(means), [value / peak if peak > 0 else math.nan for value in means.values()]
    )


COLOURS = ("#b91c1c", "#1f5fa8", "#9a6a00", "#0f766e", "#7c3aed", "#374151")
_MARKS = ("o", "s", "^", "D", "v", "P")
_VERDICTS = {number: verdict for verdict, number in VERDICTS.items()}
_FLOOR = 1e-6  # of the peak: what is drawn
_NOT_SHOWN = ("seed",)


def draw_gradients(
    folder: Path,
    jobs: Sequence[Job],
    *,
    guessing: float | None = None,
    solved: float | None = None,
) -> list[Finding]:
    """Draws figures/gradients.png: gradients against the distance from the loss, and results.

    A line for each value of the first key that was swept (such as the cell), a panel for each
    setting of the others (such as the length), and one panel with what the test says.

    Args:
        folder: of the sweep.
        jobs: its jobs; those that did not finish have no line.
        guessing: what the test would say of a model that knows nothing.
        solved: where the test's value is better than this, the task is solved.
    """
    line_key, panel_keys = _keys(jobs)
    lines = list(dict.fromkeys(job.overrides.get(line_key, "") for job in jobs))
    panels = list(dict.fromkeys(setting(job, panel_keys) for job in jobs))
    kept = [job for job in jobs if job.status == FINISHED]
    columns = min(2, len(panels) + 1)
    with figure(4.6 * columns, 3.4 * math.ceil((len(panels) + 1) / columns) + 0.6) as drawn:
        grid = drawn.subplots(math.ceil((len(panels) + 1) / columns), columns, squeeze=False)
        axes = list(grid.flat)
        for panel, ax in zip(panels, axes, strict=False):
            here = [job for job in kept if setting(job, panel_keys) == panel]
            _draw_profiles(ax, folder, here, line_key, lines)
            ax.set_title(plain(panel, 40) if panel else "gradient")
        _draw_results(
            axes[len(panels)], kept, line_key, lines, panel_keys, panels, guessing, solved
        )
        for empty in axes[len(panels) + 1 :]:
            empty.set_axis_off()
        _legend(drawn, lines)
        path = save(drawn, folder / "figures" / "gradients.png")
    rows = [_row(job, differing(jobs), judged_by(jobs), solved) for job in jobs]
    text = _told(kept, line_key, panel_keys, panels, solved, guessing)
    return [Finding("How far the gradient reaches", text, path.name, rows, "Gradients")]


def _keys(jobs: Sequence[Job]) -> tuple[str, list[str]]:
    """The key that has a line for each value, and those that have a panel for each setting."""
    keys = [key for key in differing(jobs) if key not in _NOT_SHOWN]
    line = "cell" if "cell" in keys or not keys else keys[0]
    return line, [key for key in keys if key != line]


def _draw_profiles(
    axes: "Axes", folder: Path, jobs: Sequence[Job], line_key: str, lines: Sequence[str]
) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.axhline(HORIZON, color=GREY, linewidth=0.9, linestyle=":")
    for job in jobs:
        colour = COLOURS[lines.index(job.overrides.get(line_key, "")) % len(COLOURS)]
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
    axes: "Axes",
    jobs: Sequence[Job],
    line_key: str,
    lines: Sequence[str],
    panel_keys: Sequence[str],
    panels: Sequence[str],
    guessing: float | None,
    solved: float | None,
) -> None:
    for place, line in enumerate(lines):
        points = [
            (panels.index(setting(job, panel_keys)), job.metrics.get(job.judged, math.nan))
            for job in jobs
            if job.overrides.get(line_key, "") == line
        ]
        colour, mark = COLOURS[place % len(COLOURS)], _MARKS[place % len(_MARKS)]
        shift = 0.12 * (place - (len(lines) - 1) / 2)  # equal values lie beside each other
        axes.plot([x + shift for x, _ in points], [y for _, y in points], mark, color=colour)
    heights = [job.metrics.get(job.judged, math.nan) for job in jobs]
    if any(value > 0 for value in heights) and not any(value <= 0 for value in heights):
        axes.set_yscale("log")
    for level, words in ((guessing, "guessing"), (solved, "solved")):
        if level is not None:
            draw_level(axes, level, words)
    axes.set_xticks(range(len(panels)), [plain(panel, 24) if panel else "" for panel in panels])
    axes.set_xlim(-0.6, len(panels) - 0.4)
    axes.set_title(plain(judged_by(jobs), 60))


def draw_level(axes: "Axes", level: float, words: str) -> None:
    """A dotted line across, with what it stands for at its right end."""
    axes.axhline(level, color=GREY, linewidth=0.9, linestyle=":")
    axes.annotate(
        words,
        (1, level),
        xycoords=("axes fraction", "data"),
        fontsize=8,
        ha="right",
        va="bottom",
        color=GREY,
    )


def _legend(drawn: object, lines: Sequence[str]) -> None:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    assert isinstance(drawn, Figure)
    marks = [
        Line2D([], [], color=COLOURS[k % len(COLOURS)], marker=_MARKS[k % len(_MARKS)], label=name)
        for k, name in enumerate(map(plain, lines))
        if name.strip("'")
    ]
    marks.append(Line2D([], [], color=GREY, linestyle="--", linewidth=1.0, label="before training"))
    marks.append(Line2D([], [], color=GREY, linewidth=1.8, label="after it"))
    marks.append(Line2D([], [], color=GREY, linestyle=":", linewidth=0.9, label="1 % of the peak"))
    drawn.legend(handles=marks, loc="outside lower center", ncols=len(marks))


def _row(job: Job, keys: Sequence[str], judged: str, solved: float | None) -> Row:
    """A line of the table: what it was, how its gradient decays, what the test says."""
    row: dict[str, object] = {key: job.overrides.get(key, "") for key in keys}
    row["half-life, steps"] = _half_life(job.metrics)
    row["horizon, steps"] = _whole(job.metrics.get("gradient/horizon"))
    row["gradient"] = verdict_of(job)
    row[judged] = number(job.metrics[judged]) if judged in job.metrics else ""
    if solved is not None:
        row["solved"] = solved_or_not(job, solved)
    if job.status != FINISHED:
        row["status"] = job.status
    return row


def verdict_of(job: Job) -> str:
    """What the job's last look at its gradient said; empty where there was none."""
    verdict = job.metrics.get("gradient/verdict", math.nan)
    return _VERDICTS.get(int(verdict), "") if math.isfinite(verdict) else ""


def solved_or_not(job: Job, solved: float) -> str:
    """`yes` or `no`; empty for a job that did not finish."""
    if job.status != FINISHED:
        return ""
    return "yes" if is_solved(job, solved) else "no"


def is_solved(job: Job, solved: float) -> bool:
    """Whether the test's value is better than a threshold; one that is not finite never is."""
    value = job.metrics.get(job.judged, math.nan)
    return value > solved if job.mode == "max" else value < solved


def _half_life(metrics: Mapping[str, float]) -> str:
    """In steps; a gradient that grows or stays as it is never halves."""
    value, decay = metrics.get("gradient/half_life"), metrics.get("gradient/decay", math.nan)
    if value is None:
        return ""
    if value == LONGEST_HALF_LIFE * metrics.get(
        "gradient/horizon", math.nan
    ):  # nothing longer is told apart
        return f"≥ {_whole(value)}"
    return _whole(value) if math.isfinite(value) else "never" if decay >= 1 else ""


def _whole(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _told(
    jobs: Sequence[Job],
    line_key: str,
    panel_keys: Sequence[str],
    panels: Sequence[str],
    solved: float | None,
    guessing: float | None,
) -> str:
    """A sentence for each panel: who solves it, and how far each gradient reaches."""
    sentences = [
        "The lines are the norm of the loss's gradient at each step of the sequence, counted back "
        "from the loss, as a share of its peak: dashed before training, full after it. Beyond "
        "the horizon, from which on a line stays under 1 %, a step has almost no say in what is "
        "learnt."
    ]
    for panel in panels:
        here = [job for job in jobs if setting(job, panel_keys) == panel]
        parts = []
        if solved is not None and here:
            good = _names([job for job in here if is_solved(job, solved)], line_key)
            bad = _names([job for job in here if not is_solved(job, solved)], line_key)
            parts = [f"{good} solved" if good else "", f"{bad} not solved" if bad else ""]
        reach = [
            f"{_whole(job.metrics['gradient/horizon'])} ({_name(job, line_key)})"
            for job in here
            if _whole(job.metrics.get("gradient/horizon"))
        ]
        parts.append(f"horizon, in steps: {', '.join(reach)}" if reach else "")
        words = "; ".join(part for part in parts if part)
        if words:
            sentences.append(f"- {f'{in_code(panel)}: ' if panel else ''}{words}.")
    if guessing is not None and jobs:
        sentences[0] += f" Guessing gives {escaped(jobs[0].judged)} {number(guessing)}."
    lines = sentences[1:]
    return sentences[0] + ("\n\n" + "\n".join(lines) if lines else "")


def _name(job: Job, line_key: str) -> str:
    name = escaped(job.overrides.get(line_key, "this job"))
    seed = job.overrides.get("seed")
    return name if seed is None else f"{name} (seed {seed})"


def _names(jobs: Sequence[Job], line_key: str) -> str:
    names = [_name(job, line_key) for job in jobs]
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
