"""What clipping does to a training whose gradient explodes: one figure, one table."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seqpipe.report.findings import Finding, Row
from seqpipe.report.gradient_comparison import COLOURS, draw_level, solved_or_not, verdict_of
from seqpipe.report.markdown import in_code, number
from seqpipe.report.run_files import figure, plain, save
from seqpipe.report.sentences import History
from seqpipe.report.sweep_jobs import FINISHED, Job, differing, judged_by, setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LARGEST = ("grad_norm/window_max", "grad_norm/total")  # the first that was measured
_ENDED = {"not finished": "did not finish", "refused": "was refused", "failed": "failed"}


def draw_clipping(
    folder: Path,
    jobs: Sequence[Job],
    *,
    guessing: float | None = None,
    solved: float | None = None,
) -> list[Finding]:
    """Draws figures/clipping.png: the gradient's norm before clipping, and the loss.

    A line a job; one that failed has a line as far as it came.

    Args:
        folder: of the sweep.
        jobs: its jobs.
        guessing: the loss of a model that knows nothing.
        solved: where the test's value is better than this, the task is solved.
    """
    keys = differing(jobs)
    names = [setting(job, keys) or f"job {job.number}" for job in jobs]
    histories = [read_history(folder / job.folder / "history.csv") for job in jobs]
    with figure(9, 6.4) as drawn:
        above, below = drawn.subplots(2, 1, sharex=True)
        for place, (name, history) in enumerate(zip(names, histories, strict=True)):
            colour = COLOURS[place % len(COLOURS)]
            norms = next((history[n] for n in _LARGEST if n in history), [])
            _draw(above, norms, colour, plain(name, 40))
            _draw(below, history.get("val/loss", []), colour, "")
        above.set_title("gradient norm before clipping, the largest of each window")
        below.set_title("val/loss")
        below.set_xlabel("optimizer step")
        if guessing is not None:
            draw_level(below, guessing, "guessing")
        drawn.legend(loc="outside lower center", ncols=min(4, len(jobs)))
        path = save(drawn, folder / "figures" / "clipping.png")
    told = zip(jobs, histories, strict=True)
    rows = [_row(job, keys, judged_by(jobs), history, solved) for job, history in told]
    text = "\n".join(
        _sentence(job, name, history)
        for job, name, history in zip(jobs, names, histories, strict=True)
    )
    return [Finding("With clipping and without", text, path.name, rows, "Exploding gradients")]


def read_history(path: Path) -> History:
    """history.csv of a run: for each metric the pairs (optimizer step, value)."""
    series: dict[str, list[tuple[int, float]]] = {}
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                point = (int(row["step"]), float(row["value"]))
                series.setdefault(row["metric"], []).append(point)
    return series


def _draw(axes: "Axes", points: Sequence[tuple[int, float]], colour: str, name: str) -> None:
    """A line over the finite values; a cross where one was not finite."""
    finite = [(step, value) for step, value in points if math.isfinite(value)]
    label = name or None
    few = len(finite) < 3  # a training that broke off at once: a ring that others do not hide
    axes.plot(
        [s for s, _ in finite],
        [v for _, v in finite],
        color=colour,
        marker="o",
        markersize=10 if few else 3,
        markerfacecolor="none" if few else colour,
        label=label,
    )
    if any(value > 0 for _, value in finite):
        axes.set_yscale("log")
    broken = [step for step, value in points if not math.isfinite(value)]
    for step in broken:
        axes.plot([step], [0.97], "x", color=colour, transform=axes.get_xaxis_transform())


def _largest(history: History) -> float:
    """The largest norm that was measured; infinite where one was not finite; NaN without any."""
    values = next(([v for _, v in history[n]] for n in _LARGEST if n in history), [])
    if any(not math.isfinite(value) for value in values):
        return math.inf
    return max(values, default=math.nan)


def _bad_steps(job: Job, history: History) -> float:
    """Updates that were left out, because a gradient was not finite."""
    told = job.metrics.get("bad_steps", math.nan)
    return max([told, *(value for _, value in history.get("bad_steps", ()))], key=_or_nothing)


def _or_nothing(value: float) -> float:
    return value if math.isfinite(value) else -1.0


def _row(job: Job, keys: Sequence[str], judged: str, history: History, solved: float | None) -> Row:
    row: dict[str, object] = {key: job.overrides.get(key, "") for key in keys}
    row["largest norm seen"] = _shown(_largest(history))
    bad = _bad_steps(job, history)
    row["bad steps"] = f"{bad:.0f}" if math.isfinite(bad) else ""
    clipped = [value for _, value in history.get("grad_norm/clipped_fraction", ())]
    row["clipped"] = f"{sum(clipped) / len(clipped):.0%}" if clipped else ""
    row["gradient"] = verdict_of(job)
    if math.isinf(_largest(history)):  # a training that broke off has no last look
        row["gradient"] = "exploded"
    row[judged] = _shown(job.metrics.get(judged, math.nan))
    if solved is not None:
        row["solved"] = solved_or_not(job, solved)
    row["status"] = job.status
    return row


def _shown(value: float) -> str:
    return "" if math.isnan(value) else number(value)


def _sentence(job: Job, name: str, history: History) -> str:
    """How large the gradient grew, and what became of the training."""
    largest, words = _largest(history), f"- {in_code(name)}:"
    if not math.isnan(largest):
        grew = f"the largest gradient norm seen is {number(largest)}"
        words += f" {grew if math.isfinite(largest) else 'the gradient was not finite'};"
    if job.status != FINISHED:
        why = f" ({job.message.split(';')[0]})" if job.message else ""
        return f"{words} the job {_ENDED.get(job.status, job.status)}{why}."
    return f"{words} {job.judged} is {number(job.metrics.get(job.judged, math.nan))}."
