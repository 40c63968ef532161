"""The page about a sweep: a row a job, the best of them, and the mean over seeds."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from seqpipe.report.best_jobs import Best, best_in_a_sentence, best_lines, bests_of
from seqpipe.report.clipping_comparison import draw_clipping
from seqpipe.report.figures import LONGEST_TITLE, VALID, figure, plain, save
from seqpipe.report.findings import Finding, Row
from seqpipe.report.fold_comparison import (
    FoldGroup,
    best_fold_command,
    best_in_words,
    fold_sections,
    repeats_of_folds,
)
from seqpipe.report.gradient_comparison import draw_gradients
from seqpipe.report.markdown import (
    Markup,
    code,
    heading,
    in_code,
    link,
    number,
    picture,
    table,
)
from seqpipe.report.mean_comparison import draw_means
from seqpipe.report.page import sections, write_page
from seqpipe.report.parallel_coordinates import draw_parallel
from seqpipe.report.search_findings import search_findings
from seqpipe.report.spread import CONFIDENCE, interval, mean_and_deviation
from seqpipe.report.sweep_jobs import FINISHED, FOLD, SEED, Job, differing, setting
from seqpipe.report.sweep_table import repeated, tested_metrics

# The comparisons an experiment may end in: each draws into figures/ and returns findings.
FIGURES: Mapping[str, Callable[..., list[Finding]]] = {
    "gradients": draw_gradients,
    "clipping": draw_clipping,
    "means": draw_means,
}


def write_comparison(
    folder: Path,
    jobs: Sequence[Job],
    *,
    command: str,
    ends_in: str | None = None,
    options: Mapping[str, Any] | None = None,
    folds: Sequence[FoldGroup] = (),
) -> Path:
    """Writes comparison.md, comparison.html and their figures into the folder of a sweep.

    Args:
        folder: of the sweep.
        jobs: at least one.
        command: repeats the sweep when typed in a shell.
        ends_in: one of FIGURES; None for a plain sweep.
        options: arguments of that function.
        folds: the jobs by everything but their fold; empty without folds.

    Returns:
        comparison.md.
    """
    assert jobs, "a comparison of something"
    findings = [] if ends_in is None else FIGURES[ends_in](folder, jobs, **(options or {}))
    bests = [] if folds else bests_of(jobs)
    best = frozenset(one.job.number for one in bests)
    in_short = [_in_short(jobs, bests), *best_in_words(folds)]
    parts = [heading(_title(jobs), 1), code(command, "sh"), " ".join(in_short)]
    parts += _again(repeating_best(jobs, folds))
    parts += fold_sections(folds)
    parts += sections(folder, [*search_findings(folder), *findings])
    parts += [heading("Jobs"), table(list(_rows(jobs, best)))]
    repeats = list(repeats_of_folds(folds) if folds else _repeats(jobs))
    if repeats:
        text = "Mean and standard deviation over the seeds of the jobs that finished"
        text += f", and the {CONFIDENCE:.0%} confidence interval of the mean (Student's t)."
        parts += [heading("Repeats"), text, table(repeats)]
    drawn = None if findings else _draw_results(folder, jobs, best)
    if drawn is not None:
        text = "The result of each job." if folds else ""
        text = text or "The result of each job; the best has a filled dot."
        parts += [heading("Results"), text, picture(drawn.relative_to(folder))]
    parallel = draw_parallel(folder, jobs, best)
    if parallel is not None:
        text = "A line for each job that finished, dark for good results; the red one is the best."
        parts += [heading("Parallel coordinates"), text, picture(parallel.relative_to(folder))]
    return write_page(folder / "comparison", parts)


def repeating_best(jobs: Sequence[Job], folds: Sequence[FoldGroup] = ()) -> Mapping[str, str]:
    """The best jobs in words, each with the command that repeats it; empty for a single job.

    Args:
        jobs: of a sweep.
        folds: the jobs by everything but their fold; of them a best setting is repeated as a whole.
    """
    if folds:
        return best_fold_command(folds)
    finished = sum(job.status == FINISHED for job in jobs)
    found = best_lines(bests_of(jobs), differing(jobs)) if finished > 1 else {}
    return {name: command for name, command in found.items() if command}


def _again(commands: Mapping[str, str]) -> Iterator[str]:
    for name, command in commands.items():
        yield f"Again, {in_code(name)}:"
        yield code(command, "sh")


def _title(jobs: Sequence[Job]) -> str:
    name = next(
        (jobs[0].overrides[k] for k in ("experiment", "sweep") if k in jobs[0].overrides), ""
    )
    count = "one job" if len(jobs) == 1 else f"{len(jobs)} jobs compared"
    return f"{name}: {count}" if name else count.capitalize()


def _in_short(jobs: Sequence[Job], bests: Sequence[Best]) -> str:
    finished = sum(job.status == FINISHED for job in jobs)
    counted = f"All {finished}" if finished == len(jobs) else f"{finished} of {len(jobs)}"
    text = "The one job finished." if finished == len(jobs) == 1 else f"{counted} jobs finished."
    if len(bests) == 1 and finished > 1:
        text += f" {best_in_a_sentence(bests[0], differing(jobs))}"
    elif len(bests) > 1:
        text += " Jobs with different data or a different monitored metric cannot be compared: "
        text += "each group has its own best job, chosen on the validation split."
    return text


def _rows(jobs: Sequence[Job], best: frozenset[int]) -> Iterator[Row]:
    keys, monitors = differing(jobs), {job.kept for job in jobs if job.metrics}
    tests = tested_metrics(jobs)
    failed = any(job.message for job in jobs)
    has_baselines = any(job.best_baseline for job in jobs)
    for job in jobs:
        row: dict[str, object] = {"job": job.number}
        row |= {key: job.overrides.get(key, "") for key in keys}
        row["status"] = job.status
        if any("parameters" in one.metrics for one in jobs):
            row["parameters"] = job.size
        value = number(job.monitored) if job.metrics else ""
        if len(monitors) == 1:
            row[next(iter(monitors))] = value
        elif monitors:
            row["monitored"] = f"{job.kept} {value}" if job.metrics else ""
        row |= {name: number(job.metrics[name]) if name in job.metrics else "" for name in tests}
        if has_baselines:
            row["best baseline"] = job.best_baseline
        row["seconds"] = f"{job.seconds:.0f}" if math.isfinite(job.seconds) else ""
        row["run"] = _link(job)
        if best:
            row["best"] = Markup("**best**") if job.number in best else ""
        if failed:
            row["reason"] = job.message
        yield row


def _link(job: Job) -> str:
    """A link to the run's page; its folder where there is none."""
    return link(job.folder, f"{job.folder}/report.html") if job.metrics else job.folder


def _repeats(jobs: Sequence[Job]) -> Iterator[Row]:
    """A row for each setting that was run with several seeds."""
    keys = [key for key in differing(jobs) if key != SEED]
    names = dict.fromkeys([job.kept for job in jobs if job.metrics] + tested_metrics(jobs))
    with_interval = {name for job in jobs for name in (job.kept, job.judged)}
    for values, group in repeated(jobs).items():
        row: dict[str, object] = dict(zip(keys, values, strict=True))
        row["seeds"] = len(group)
        for name in names:
            measured = [job.metrics[name] for job in group if name in job.metrics]
            row[name] = mean_and_deviation(measured)
            if name in with_interval:
                row[f"{name} {CONFIDENCE:.0%} interval"] = interval(measured)
        yield row


def _draw_results(folder: Path, jobs: Sequence[Job], best: frozenset[int]) -> Path | None:
    """Draws figures/results.png, a line a job; None unless several values share one metric."""
    shown = [job for job in jobs if job.status == FINISHED and math.isfinite(job.result)]
    if len(shown) < 2 or len({job.judged for job in shown}) > 1 or len(shown) > 60:
        return None
    keys = [key for key in differing(jobs) if key != FOLD]  # folds share a line
    values = [job.result for job in shown]
    names = [setting(job, keys) or f"job {job.number}" for job in shown]
    lines = {name: place for place, name in enumerate(dict.fromkeys(names))}
    with figure(8, 1.0 + 0.28 * len(lines)) as drawn:
        axes = drawn.add_subplot()
        for job, name, value in zip(shown, names, values, strict=True):
            filled = VALID if job.number in best else "white"
            axes.plot([value], [lines[name]], "o", color=VALID, markerfacecolor=filled)
        if min(values) > 0 and max(values) > 50 * min(values):
            axes.set_xscale("log")
        axes.set_yticks(range(len(lines)), [plain(name, 50) for name in lines])
        axes.set_ylim(len(lines) - 0.5, -0.5)
        axes.set_title(plain(shown[0].judged, LONGEST_TITLE))
        return save(drawn, folder / "figures" / "results.png")
