"""Comparison of the jobs of a sweep with and without gradient clipping: a figure and a table."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seqpipe.report.figures import COLOURS, draw_level, figure, plain, save
from seqpipe.report.findings import Finding
from seqpipe.report.markdown import in_code, number
from seqpipe.report.run_files import History, read_history
from seqpipe.report.sweep_jobs import FINISHED, Job, differing, result_rows, setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NORMS = ("grad_norm/window_max", "grad_norm/total")  # the first that was measured
_ENDED = {"not finished": "did not finish", "refused": "was refused", "failed": "failed"}


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
            draw_level(below, guessing, "guessing")
        drawn.legend(loc="outside lower center", ncols=min(4, len(jobs)))
        path = save(drawn, folder / "figures" / "clipping.png")
    table = result_rows(jobs, solved, lambda job: _norms_in_numbers(job, histories[job.number]))
    sentences = [_norms_in_words(job, names[job.number], histories[job.number]) for job in jobs]
    text, group = "\n".join(sentences), "Exploding gradients"
    return [Finding("With clipping and without", text, path.name, table, group)]


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
        "largest norm": "" if math.isnan(largest) else number(largest),
        "bad steps": f"{max(finite):.0f}" if finite else "",
        "clipped": f"{sum(clipped) / len(clipped):.0%}" if clipped else "",
        # A training that failed has no last probe.
        "gradient": "exploded" if math.isinf(largest) else job.verdict,
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
