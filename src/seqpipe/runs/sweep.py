"""Records of the jobs of a sweep, and the page that compares them.

Imports neither torch nor anything that does: a sweep may be refused before they are needed.
"""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from seqpipe.config.compose import Launch
from seqpipe.errors import ConfigError, DataError, first_line
from seqpipe.report.comparison import write_comparison
from seqpipe.report.sweep_jobs import (
    FAILED,
    FINISHED,
    REFUSED,
    Job,
    forget_jobs,
    note_job,
    read_jobs,
)


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
    job = replace(job, folder=_below(sweep, ended.folder), judged_on=ended.judged_on)
    note_job(sweep, replace(job, status=FINISHED, seconds=time.monotonic() - started))


def _below(sweep: Path, folder: Path) -> str:
    """The path relative to the sweep's folder; unchanged for a folder elsewhere."""
    inside = folder.is_relative_to(sweep)
    return (folder.relative_to(sweep) if inside else folder).as_posix()


def compare(sweep: Path, *, command: str, figure: str | None, **options: Any) -> Path | None:
    """Compares the jobs of a sweep, finished or not.

    Args:
        sweep: folder of the sweep.
        command: repeats it when typed in a shell.
        figure: of an experiment, one of seqpipe.report.comparison.FIGURES, or None.
        options: more arguments of that figure.

    Returns:
        the page; None if no job left anything: then the records of the jobs are removed.
    """
    jobs = read_jobs(sweep)
    if not any(job.folder or job.status == FINISHED for job in jobs):
        forget_jobs(sweep)
        return None
    written = write_comparison(sweep, jobs, command=command, ends_in=figure, options=options)
    return written.with_suffix(".html")
