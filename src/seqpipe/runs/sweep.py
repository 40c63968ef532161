"""Records of the jobs of a sweep, and the page that compares them.

Imports neither torch nor anything that does: a sweep may be refused before they are needed.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf
from rich.table import Table

from seqpipe.config.compose import Launch
from seqpipe.console import PlainConsole
from seqpipe.errors import ConfigError, DataError, first_line
from seqpipe.report.comparison import write_comparison
from seqpipe.report.fold_comparison import FoldGroup, group_folds, keys_of, write_folds
from seqpipe.report.markdown import columns_of
from seqpipe.report.sweep_jobs import (
    FAILED,
    FINISHED,
    REFUSED,
    Job,
    forget_jobs,
    note_job,
    read_jobs,
)


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
    """

    folder: Path
    judged_on: str = ""


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
    pairs = (override.lstrip("+").partition("=") for override in launch.overrides)
    overrides = {key: value for key, _, value in pairs}
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
    job = replace(job, judged_on=ended.judged_on)
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


def compare(sweep: Path, *, command: str, figure: str | None, **options: Any) -> Compared:
    """Compares the jobs of a sweep, finished or not.

    Args:
        sweep: folder of the sweep.
        command: repeats it when typed in a shell.
        figure: of an experiment, one of seqpipe.report.comparison.FIGURES, or None.
        options: more arguments of that figure.

    Returns:
        the page and the folds; without a page the records of the jobs are removed.
    """
    jobs = read_jobs(sweep)
    if not any(job.folder or job.status == FINISHED for job in jobs):
        forget_jobs(sweep)
        return Compared(None)
    folds: Sequence[FoldGroup] = group_folds(jobs)
    if folds:
        from seqpipe.runs.folds import pool  # imports torch, as the jobs have done

        folds = pool(sweep, folds)
        write_folds(sweep, folds)
    how: dict[str, Any] = {"command": command, "ends_in": figure, "options": options}
    written = write_comparison(sweep, jobs, folds=folds, **how)
    return Compared(written.with_suffix(".html"), folds)
