"""Records of the jobs of a sweep, and the page that compares them.

Imports neither torch nor anything that does: a sweep may be refused before they are needed.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf
from rich.table import Table

from seqpipe.config.compose import Launch
from seqpipe.config.sweep_plan import overrides_by_key
from seqpipe.console import PlainConsole
from seqpipe.errors import ConfigError, DataError, first_line
from seqpipe.report.comparison import best_of, write_comparison
from seqpipe.report.fold_comparison import FoldGroup, group_folds, keys_of, write_folds
from seqpipe.report.markdown import columns_of
from seqpipe.report.sweep_jobs import (
    FAILED,
    FINISHED,
    PRUNED,
    REFUSED,
    Job,
    forget_jobs,
    note_job,
    read_jobs,
)
from seqpipe.runs.sweep_record import StartedSweep
from seqpipe.tracking.base import Status


def print_folds(groups: Sequence[FoldGroup]) -> None:
    """Prints a table for each group of folds: pooled, and over the folds."""
    console, keys = PlainConsole(), keys_of(groups)
    for group in groups:
        rows = list(group.rows())
        console.print(group.title(keys))
        found = Table()
        for name in columns_of(rows):
            found.add_column(name, justify="left" if name == "metric" else "right")
        for row in rows:
            found.add_row(*(str(row.get(name, "")) for name in columns_of(rows)))
        if rows:
            console.print(found)
        if group.why:
            console.print(f"not pooled: {group.why}")


@dataclass
class Ended:
    """The end of a job's run.

    Args:
        folder: of the run.
        judged_on: a hash of its validation and test data.
        run_id: in the store; None where it has none.
    """

    folder: Path
    judged_on: str = ""
    run_id: str | None = None


@contextlib.contextmanager
def noted(sweep: Path | None, number: int, cfg: DictConfig, launch: Launch) -> Iterator[Ended]:
    """Records the start of a job and the end of the block; every exception passes.

    Args:
        sweep: folder of the sweep; None without a sweep: then nothing is recorded.
        number: of the job.
        cfg: the job's configuration.
        launch: how it was started.
    """
    ended = Ended(launch.output_dir)
    if sweep is None:
        yield ended
        return
    overrides = overrides_by_key(launch.overrides)
    monitor, mode = (str(OmegaConf.select(cfg, f"task.{key}")) for key in ("monitor", "mode"))
    job, started = Job(number, overrides, monitor=monitor, mode=mode), time.monotonic()
    note_job(sweep, job)
    try:
        yield ended
    except Exception as error:
        message = first_line(error)
        status = REFUSED if isinstance(error, (ConfigError, DataError)) else FAILED
        folder = launch.output_dir
        left = _below(sweep, folder) if folder.is_dir() and any(folder.iterdir()) else ""
        seconds = time.monotonic() - started
        note_job(sweep, replace(job, status=status, message=message, folder=left, seconds=seconds))
        raise
    monitor = str(OmegaConf.select(cfg, "task.monitor"))  # the one that was chosen
    job = replace(job, monitor=monitor, folder=_below(sweep, ended.folder))
    job = replace(job, judged_on=ended.judged_on, run_id=ended.run_id or "")
    note_job(sweep, replace(job, status=FINISHED, seconds=time.monotonic() - started))


def _below(sweep: Path, folder: Path) -> str:
    """The path relative to the sweep's folder; unchanged for a folder elsewhere."""
    inside = folder.is_relative_to(sweep)
    return (folder.relative_to(sweep) if inside else folder).as_posix()


class Compared(NamedTuple):
    """The comparison of a sweep.

    Args:
        page: None if no job left anything.
        folds: the jobs by everything but their fold; none without folds.
    """

    page: Path | None
    folds: Sequence[FoldGroup] = ()


def end_sweep(
    sweep: StartedSweep, *, interrupted: bool, figure: str | None, **options: Any
) -> Compared:
    """Compares the jobs of a sweep, finished or not, and closes its run in the store.

    Args:
        sweep: that this process has started.
        interrupted: whether it was ended before its last job.
        figure: of an experiment, one of seqpipe.report.comparison.FIGURES, or None.
        options: more arguments of that figure.

    Returns:
        the page and the folds; without a page everything that was written is removed.
    """
    jobs = read_jobs(sweep.folder)
    if not any(job.folder or job.status == FINISHED for job in jobs):
        forget_jobs(sweep.folder)
        sweep.discard()
        return Compared(None)
    good = all(job.status in (FINISHED, PRUNED) for job in jobs)
    status: Status = "KILLED" if interrupted else ("FINISHED" if good else "FAILED")
    try:
        compared = _compare(sweep, jobs, figure, options)
    except BaseException:
        sweep.end("KILLED" if interrupted else "FAILED", numbers_of(jobs), {})
        raise
    sweep.end(status, numbers_of(jobs), {})
    return compared


def _compare(
    sweep: StartedSweep, jobs: Sequence[Job], figure: str | None, options: Mapping[str, Any]
) -> Compared:
    folder, folds = sweep.folder, group_folds(jobs)
    if folds:
        from seqpipe.runs.folds import pool  # imports torch, as the jobs have done

        folds = pool(folder, folds)
        write_folds(folder, folds)
    how: dict[str, Any] = {"ends_in": figure, "options": options}
    written = write_comparison(folder, jobs, command=sweep.record.command, folds=folds, **how)
    return Compared(written.with_suffix(".html"), folds)


def numbers_of(jobs: Sequence[Job]) -> dict[str, float]:
    """The counts of the jobs of a sweep, and the result of the best of them.

    The result is there only where all jobs can be compared, see `best_of`.
    """
    counts = Counter(job.status for job in jobs)
    numbers = {"sweep/jobs": float(len(jobs)), "sweep/finished": float(counts[FINISHED])}
    numbers["sweep/failed"] = float(counts[FAILED] + counts[REFUSED])
    best = [job for job in jobs if job.number in best_of(jobs)]
    if len(best) == 1:
        numbers |= {name: best[0].metrics[name] for name in (best[0].kept, best[0].judged)}
    return numbers
