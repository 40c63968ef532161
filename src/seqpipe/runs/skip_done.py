"""Finishing an interrupted sweep: `skip_done=true` finds it, and decides which jobs are done.

A job is done if it finished with the configuration and the data that it would have now.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from seqpipe.build import build_data
from seqpipe.config.config_view import leaves
from seqpipe.config.sweep_plan import SweepPlan
from seqpipe.errors import ConfigError
from seqpipe.records import BadRecordError, read_yaml
from seqpipe.report.sweep_jobs import FINISHED, NOTES, Job, read_jobs
from seqpipe.rules import shown
from seqpipe.runs.identity import STAGES
from seqpipe.runs.resume import adopt_choices
from seqpipe.runs.sweep_record import FILE, LOCK, SweepRecord, read_sweep
from seqpipe.tracking.run_record import read_run_folder

KEY = "skip_done=true"
_NAMED = 3  # keys of a configuration in a message


@dataclass
class Continued:
    """A sweep that is continued.

    Attributes:
        folder: of the sweep.
        record: what its sweep.json says.
        lock: held by this process.
        done: the numbers of the jobs that are done.
        again: jobs that finished and run again, in words, with the reason.
    """

    folder: Path
    record: SweepRecord
    lock: FileLock
    done: set[int] = field(default_factory=set)
    again: dict[str, str] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """The report of what is done and what runs, for people."""
        planned = len(self.record.jobs or ())
        text = f"{len(self.done)} of {planned} jobs are done, and {planned - len(self.done)} run"
        again = [f"{name} runs again: {reason}" for name, reason in self.again.items()]
        return [f"skip_done: {self.folder}: {text}", *again]


def continue_sweep(plan: SweepPlan, wanted: Path, *, is_named: bool) -> Continued | None:
    """Finds the sweep of the same jobs, locks it, and decides which of its jobs are done.

    Args:
        plan: the jobs.
        wanted: the folder that a new sweep would have.
        is_named: whether it was typed, with `hydra.sweep.dir=`; else the newest sweep is taken of
            those beside it.

    Returns:
        None if there is no such sweep.

    Raises:
        ConfigError: another process runs it, or the folder that was named has other jobs.
        DataError: the data of a job cannot be read.
    """
    folder = _named(plan, wanted) if is_named else _newest(plan, wanted.parent)
    if folder is None:
        return None
    record = read_sweep(folder)
    assert record is not None
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        text = f"another process runs this sweep, {folder}; allowed: wait until it has ended"
        raise ConfigError(f"{KEY}: {text}") from None
    found = Continued(folder, record, lock)
    digests: dict[str, Mapping[str, str]] = {}
    try:
        for job in read_jobs(folder):
            if job.status == FINISHED:
                reason = _reason_to_repeat(folder, job, plan.compose(job.number), digests)
                if reason is None:
                    found.done.add(job.number)
                else:
                    _put_aside(folder, job)
                    found.again[job.title(plan.keys)] = reason
    except BaseException:
        lock.release()
        raise
    return found


def _named(plan: SweepPlan, folder: Path) -> Path | None:
    record = read_sweep(folder)
    if record is None:
        return None
    if record.jobs != plan.jobs:
        text = "holds a sweep of other jobs; allowed: the command of its sweep.json, or another"
        raise ConfigError(f"hydra.sweep.dir={folder}: {text} folder")
    return folder


def _newest(plan: SweepPlan, below: Path) -> Path | None:
    files = sorted(below.glob(f"*/{FILE}"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in files:
        record = read_sweep(file.parent)
        if record is not None and record.jobs == plan.jobs:
            return file.parent
    return None


def _reason_to_repeat(
    sweep: Path, job: Job, cfg: DictConfig, digests: dict[str, Mapping[str, str]]
) -> str | None:
    """The reason why a finished job is no longer what would be run; None if it is.

    Args:
        sweep: its folder.
        job: that finished.
        cfg: the configuration that it would have now.
        digests: of the data that was read before, by its configuration; it is added to.
    """
    folder = sweep / job.folder
    try:
        recorded = read_yaml(folder / "config.yaml", floats=True)
    except (BadRecordError, OSError) as error:
        return f"its config.yaml {error}"
    if not job.metrics:
        return "it has no metrics.json"
    adopt_choices(cfg, recorded)
    written: Any = OmegaConf.to_container(cfg, resolve=True)
    if changed := _changes(dict(leaves(recorded)), dict(leaves(written))):
        return changed
    data = json.dumps(written["data"], sort_keys=True, default=str)
    if data not in digests:
        digests[data] = build_data(cfg).digests
    before = read_run_folder(folder, str(folder)).datasets
    changed_splits = [
        split for split, stage in STAGES.items() if before.get(stage) != digests[data][split]
    ]
    return f"its data has changed ({', '.join(changed_splits)})" if changed_splits else None


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The values that differ, in words; empty if none does."""
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    words = [f"{key} is {shown(now.get(key))}, was {shown(before.get(key))}" for key in keys]
    more = [f"and {len(words) - _NAMED} more"] if len(words) > _NAMED else []
    return "; ".join([*words[:_NAMED], *more])


def _put_aside(sweep: Path, job: Job) -> None:
    """Renames the note of a job, so that it counts as one that was not started."""
    note = sweep / NOTES / f"{job.number}.json"
    taken = len(list(note.parent.glob(f"{note.name}.*")))
    note.rename(note.with_name(f"{note.name}.{taken + 1}"))
