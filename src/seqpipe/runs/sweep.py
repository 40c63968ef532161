"""Records of the jobs of a sweep, and the page that compares them.

Imports neither torch nor anything that does: a sweep may be refused before they are needed.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.table import Table

from seqpipe.config.compose import Launch
from seqpipe.config.sweep_plan import overrides_by_key
from seqpipe.console import PlainConsole
from seqpipe.errors import ConfigError, DataError, first_line
from seqpipe.report.best_jobs import best_of, bests_of
from seqpipe.report.comparison import repeating_best, write_comparison
from seqpipe.report.findings import Row
from seqpipe.report.fold_comparison import (
    FoldGroup,
    best_group,
    group_folds,
    keys_of,
    write_folds,
)
from seqpipe.report.markdown import columns_of
from seqpipe.report.run_files import write_rows
from seqpipe.report.spread import spread_of
from seqpipe.report.sweep_jobs import (
    FAILED,
    FINISHED,
    NOT_STARTED,
    PRUNED,
    REFUSED,
    RUNNING,
    Job,
    forget_jobs,
    log_of_job,
    note_job,
    read_jobs,
)
from seqpipe.report.sweep_table import job_table, seed_table
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
        line: its result in one line.
        pruned: whether its search stopped it.
    """

    folder: Path
    judged_on: str = ""
    run_id: str | None = None
    line: str = ""
    pruned: bool = False


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
    job = Job(number, overrides, monitor=monitor, mode=mode, command=launch.command_line)
    started = time.monotonic()
    note_job(sweep, job)
    try:
        yield ended
    except BaseException as error:
        status, message = _end_of(error)
        folder = launch.output_dir
        left = _below(sweep, folder) if folder.is_dir() and any(folder.iterdir()) else ""
        seconds = time.monotonic() - started
        note_job(sweep, replace(job, status=status, message=message, folder=left, seconds=seconds))
        raise
    monitor = str(OmegaConf.select(cfg, "task.monitor"))  # the one that was chosen
    job = replace(job, monitor=monitor, folder=_below(sweep, ended.folder))
    job = replace(job, judged_on=ended.judged_on, run_id=ended.run_id or "", line=ended.line)
    status = PRUNED if ended.pruned else FINISHED
    note_job(sweep, replace(job, status=status, seconds=time.monotonic() - started))


def _end_of(error: BaseException) -> tuple[str, str]:
    """The status of a job that an exception ended, and its reason."""
    if isinstance(error, (ConfigError, DataError)):
        return REFUSED, first_line(error)
    return (FAILED, first_line(error)) if isinstance(error, Exception) else (RUNNING, "interrupted")


def _below(sweep: Path, folder: Path) -> str:
    """The path relative to the sweep's folder; unchanged for a folder elsewhere."""
    inside = folder.is_relative_to(sweep)
    return (folder.relative_to(sweep) if inside else folder).as_posix()


@dataclass(frozen=True)
class Compared:
    """The comparison of a sweep.

    Args:
        page: None if no job left anything.
        folds: the jobs by everything but their fold; none without folds.
        best: the best jobs in words, each with the command that repeats it.
    """

    page: Path | None
    folds: Sequence[FoldGroup] = ()
    best: Mapping[str, str] = field(default_factory=dict)


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
    finished = any(job.status == FINISHED for job in jobs)
    logged = any(
        job.status == FAILED and log_of_job(sweep.folder, job.number).is_file() for job in jobs
    )  # the messages say where to read more
    if not (finished or logged or sweep.left_anything()):
        forget_jobs(sweep.folder)
        sweep.discard()
        return Compared(None)
    jobs = with_unstarted(jobs, sweep.record.jobs or ())
    good = all(job.status in (FINISHED, PRUNED) for job in jobs)
    status: Status = "KILLED" if interrupted else ("FINISHED" if good else "FAILED")
    tables, tags, compared = dict[str, Sequence[Row]](), dict[str, str](), None
    try:
        compared = _compare(sweep, jobs, figure, options)
        tables = write_tables(sweep.folder, jobs)
        if compared.best:
            tags["best.command"] = "\n".join(compared.best.values())
            tags["best"] = "\n".join(compared.best)
        return compared
    finally:
        numbers = numbers_of(jobs, () if compared is None else compared.folds)
        sweep.end(status if compared else "FAILED", numbers, tags, tables)


def with_unstarted(jobs: Sequence[Job], planned: Sequence[Mapping[str, str]]) -> list[Job]:
    """The jobs of a sweep, and those that were planned and never started.

    Args:
        jobs: that left a note.
        planned: the overrides of each job of the sweep.
    """
    started = {job.number for job in jobs}
    missing = [
        Job(number, overrides, status=NOT_STARTED)
        for number, overrides in enumerate(planned)
        if number not in started
    ]
    return sorted([*jobs, *missing], key=lambda job: job.number)


def write_tables(folder: Path, jobs: Sequence[Job]) -> dict[str, Sequence[Row]]:
    """Writes comparison.csv, and seeds.csv where seeds are repeated.

    Returns:
        their rows, by the name of the table.
    """
    made = {"comparison": job_table(jobs, best_of(jobs)), "seeds": seed_table(jobs)}
    tables: dict[str, Sequence[Row]] = {name: rows for name, rows in made.items() if rows}
    for name, rows in tables.items():
        write_rows(folder / f"{name}.csv", rows)
    return tables


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
    return Compared(written.with_suffix(".html"), folds, repeating_best(jobs, folds))


def numbers_of(jobs: Sequence[Job], folds: Sequence[FoldGroup] = ()) -> dict[str, float]:
    """The counts of the jobs of a sweep, and the result of the best of them.

    The result is there only where all jobs can be compared, see `bests_of`. Over several seeds, the
    mean of the best setting is there too, with its spread; of folds, the pooled result of the best
    setting, or of the only one.
    """
    counts = Counter(job.status for job in jobs)
    numbers = {"sweep/jobs": float(len(jobs))}
    numbers |= {f"sweep/{status}": float(counts[status]) for status in (FINISHED, FAILED)}
    numbers["sweep/failed"] += counts[REFUSED]
    if counts[PRUNED]:
        numbers["sweep/pruned"] = float(counts[PRUNED])
    if folds:
        best_folds = folds[0] if len(folds) == 1 else best_group(folds)
        pooled = None if best_folds is None else best_folds.pooled
        metrics = {} if pooled is None else pooled.metrics
        return numbers | {f"pooled/{name}": value for name, value in metrics.items()}
    bests = bests_of(jobs)
    if len(bests) != 1:
        return numbers
    (best,) = bests
    for name in dict.fromkeys((best.job.kept, best.job.judged)):
        numbers[name] = best.job.metrics[name]
        if len(best.repeats) > 1:
            spread = spread_of(best.values(name))._asdict()
            numbers |= {f"seeds/{name}/{part}": value for part, value in spread.items()}
    return numbers
