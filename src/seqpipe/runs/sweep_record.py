"""The record of a whole sweep: `sweep.json` in its folder, and the parent of its runs in the store.

The process that starts a sweep opens both before the first job, and closes the parent after the
last. Jobs find them by the folder, in whichever process or machine they run. Imports no torch until
a parent is opened.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout
from omegaconf import OmegaConf

from seqpipe.config.compose import Launch
from seqpipe.config.sweep_plan import SweepPlan, overrides_by_key
from seqpipe.errors import first_line
from seqpipe.files import write_json
from seqpipe.records import BadRecordError, read_json
from seqpipe.report.sweep_jobs import NOTES, Job, setting
from seqpipe.tracking.base import Row, Status, Tracker
from seqpipe.tracking.journal import UNSENT

log = logging.getLogger(__name__)

FILE = "sweep.json"
LOCK = ".lock"  # held by the process that runs the sweep
_OF_HYDRA = "multirun.yaml"
_PICTURES = "figures"


class Parent(NamedTuple):
    """The run in the store that the runs of the jobs belong to."""

    run_id: str
    store: str
    experiment: str


@dataclass(frozen=True)
class SweepRecord:
    """The contents of sweep.json.

    Args:
        command: repeats the sweep when typed in a shell.
        keys: those that the sweep varies.
        jobs: the overrides of each planned job; None where the sweeper chooses them while it runs.
        parent: None where the tracker has no such runs, or its store did not answer.
    """

    command: str
    keys: tuple[str, ...] = ()
    jobs: tuple[Mapping[str, str], ...] | None = None
    parent: Parent | None = None


def read_sweep(folder: Path) -> SweepRecord | None:
    """The record in the folder of a sweep; None where it cannot be read."""
    try:
        read = read_json(folder / FILE)
        parent = read["parent"] and Parent(*(str(read["parent"][key]) for key in Parent._fields))
        jobs = read["jobs"] and tuple(
            {str(key): str(value) for key, value in job.items()} for job in read["jobs"]
        )
        return SweepRecord(str(read["command"]), tuple(map(str, read["keys"])), jobs, parent)
    except (BadRecordError, OSError, KeyError, TypeError, AttributeError):
        return None


def write_sweep(folder: Path, record: SweepRecord) -> None:
    """Writes sweep.json."""
    parent = None if record.parent is None else record.parent._asdict()
    write_json(folder / FILE, {**asdict(record), "parent": parent})


def launch_in_sweep(launch: Launch, folder: Path, number: int) -> Launch:
    """How a job was started, with its name and the run that it belongs to.

    Args:
        launch: of the job.
        folder: of its sweep.
        number: of the job.
    """
    record = read_sweep(folder)
    if record is None:
        return launch
    values = overrides_by_key(launch.overrides)
    name = setting(Job(number, values), [key for key in record.keys if key in values])
    parent = None if record.parent is None else (record.parent.run_id, record.parent.store)
    return replace(launch, name=name, parent=parent)


@dataclass
class StartedSweep:
    """A sweep that this process has started.

    Attributes:
        folder: of the sweep.
        record: what sweep.json says.
        tracker: of the parent run; it records nothing where there is none.
    """

    folder: Path
    record: SweepRecord
    tracker: Tracker = field(default_factory=Tracker)
    _lock: FileLock | None = None

    def end(
        self,
        status: Status,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        tables: Mapping[str, Sequence[Row]] | None = None,
    ) -> None:
        """Records the results of the sweep, its files, and then its status.

        Args:
            status: of the parent run.
            metrics: the numbers of the jobs, and of the best of them.
            tags: other facts.
            tables: by their names.
        """
        self.tracker.log_metrics(metrics, step=0)
        self.tracker.set_tags(tags)
        for name, rows in (tables or {}).items():
            self.tracker.log_table(name, rows)
        for path in sorted([*self.folder.glob("*"), *(self.folder / _PICTURES).glob("*")]):
            if path.is_file() and not path.name.startswith("."):
                below = path.parent != self.folder
                self.tracker.log_artifact(path, _PICTURES if below else "")
        self.tracker.end(status)
        self._release()

    def left_anything(self) -> bool:
        """True if a job has written a file, beside its note."""
        own = {FILE, LOCK, _OF_HYDRA, NOTES, UNSENT}
        entries = (path for path in self.folder.iterdir() if path.name not in own)
        files = (file for entry in entries for file in (entry, *entry.rglob("*")))
        return any(file.is_file() for file in files)

    def discard(self) -> None:
        """Removes what was written at the start: no job left anything."""
        self.tracker.discard()
        for name in (FILE, _OF_HYDRA):
            (self.folder / name).unlink(missing_ok=True)
        self._release()
        (self.folder / LOCK).unlink(missing_ok=True)

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()


def restart_sweep(
    folder: Path, record: SweepRecord, lock: FileLock, plan: SweepPlan, root: Path
) -> StartedSweep:
    """Opens the parent run of a sweep again that was ended before its last job.

    Args:
        folder: of the sweep.
        record: what its sweep.json says.
        lock: of the folder, held by this process.
        plan: the jobs.
        root: the folder the user works in.
    """
    from seqpipe.build import build_tracker  # imports torch

    started = StartedSweep(folder, record, _lock=lock)
    if record.parent is None:
        return started
    try:
        tracker = build_tracker(plan.first.cfg, root, folder)
        if tracker.location == record.parent.store:
            tracker.reopen(record.parent.run_id)
            started.tracker = tracker
    except Exception as error:  # the jobs may still run
        text = "run %s of the sweep stays as it is: %s"
        log.warning(text, record.parent.run_id, first_line(error))
    return started


def start_sweep(wanted: Path, plan: SweepPlan, root: Path, command: str) -> StartedSweep:
    """Makes the folder of a sweep, writes sweep.json and opens the parent run.

    Args:
        wanted: the folder; the next free name is taken where another sweep has it.
        plan: the jobs.
        root: the folder the user works in.
        command: repeats the sweep when typed in a shell.

    Raises:
        OSError: the folder cannot be written to.
    """
    folder, lock = _claim(wanted)
    record = SweepRecord(command, plan.keys, plan.jobs)
    write_sweep(folder, record)
    started = StartedSweep(folder, record, _lock=lock)
    try:
        opened = _open_parent(plan, folder, root, command)
    except Exception as error:  # of a store or of the user's own tracker: the jobs may still run
        log.warning("the sweep has no run of its own: %s", first_line(error))
        opened = None
    if opened is not None and opened.record_id is not None:
        started.tracker = opened
        parent = Parent(opened.record_id, opened.location, _experiment_of(plan))
        started.record = replace(record, parent=parent)
        write_sweep(folder, started.record)
    return started


def _claim(wanted: Path) -> tuple[Path, FileLock]:
    """Makes the folder of a sweep, and locks it: two sweeps do not share one."""
    for number in range(1, 1000):
        folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            continue
        if not any((folder / name).exists() for name in (FILE, NOTES, _OF_HYDRA)):
            return folder, lock
        lock.release()
    raise AssertionError(f"{wanted}: a thousand sweeps have this name")


def _experiment_of(plan: SweepPlan) -> str:
    """The experiment of a sweep: that of its first job."""
    named = OmegaConf.select(plan.first.cfg, "logger.experiment_name")
    return str(named or plan.first.choices.get("data", "data"))


def sweep_name(plan: SweepPlan) -> str:
    """The name of a sweep: `cell, depth (9 jobs)`, after that of its experiment or grid."""
    chosen = [plan.first.choices.get(group, "") for group in ("experiment", "sweep")]
    fixed = [name for name in chosen if name and name in plan.common.values()]
    count = "" if plan.jobs is None else f" ({_jobs(plan.jobs)})"
    keys = ", ".join(plan.keys) or "one setting"
    return f"{': '.join([*fixed, keys])}{count}"


def _jobs(jobs: Sequence[object]) -> str:
    return "one job" if len(jobs) == 1 else f"{len(jobs)} jobs"


def _open_parent(plan: SweepPlan, folder: Path, root: Path, command: str) -> Tracker | None:
    """Opens the run of a sweep in the store; None where the tracker has no such runs."""
    from seqpipe.build import build_tracker  # imports torch
    from seqpipe.tracking.provenance import environment_tags

    tracker = build_tracker(plan.first.cfg, root, folder)
    if not getattr(tracker, "has_parents", False):
        return None
    tags: dict[str, Any] = {
        "command": command,
        "trains": "no",
        "sweep": folder.name,
        "sweep.keys": ", ".join(plan.keys),
        "folder": str(folder),
        **environment_tags(root),
    }
    tracker.start(
        run_name=sweep_name(plan),
        experiment=_experiment_of(plan),
        params={"command": command, **plan.common},
        tags=tags,
        datasets={},
    )
    return tracker
