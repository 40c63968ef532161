"""All runs of a sweep, for commands about runs: `run=sweep:latest`, `run=sweep:<name>`."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from seqpipe.errors import ConfigError, DataError, did_you_mean
from seqpipe.inference.ensemble import ensemble_of, why_no_ensemble
from seqpipe.inference.model import Model
from seqpipe.records import BadRecordError, inside
from seqpipe.report.sweep_jobs import FINISHED, Job, differing, read_jobs
from seqpipe.runs.open_model import open_model
from seqpipe.runs.options import SWEEP, ModelOptions, RunOptions
from seqpipe.runs.sweep_record import FILE, SweepRecord, read_sweep
from seqpipe.tracking.run_record import RunRecord

log = logging.getLogger(__name__)

_SWEEPS = Path("outputs", "sweeps")
_SHOWN = 5
_Options = TypeVar("_Options", bound=RunOptions)


@dataclass(frozen=True)
class Member:
    """One finished job of a sweep.

    Args:
        job: its note.
        name: its number and what distinguishes it, `#2 (lstm depth=2)`.
        folder: of its run.
    """

    job: Job
    name: str
    folder: Path

    def options(self, options: _Options) -> _Options:
        """The options of a command about this run alone."""
        return replace(options, run=str(self.folder))


@dataclass(frozen=True)
class Members:
    """The finished jobs of a sweep.

    Args:
        folder: of the sweep.
        record: what its sweep.json says.
        members: the finished jobs.
        left_out: the others, in words, with their reasons.
    """

    folder: Path
    record: SweepRecord
    members: Sequence[Member]
    left_out: Sequence[str]

    def as_run(self, found: RunRecord) -> RunRecord:
        """The run of the sweep itself, in the store of a member's run where that is its own.

        Args:
            found: the run of a member.
        """
        parent = self.record.parent
        own = parent is not None and parent.store == found.tracking_uri
        return RunRecord(
            name=f"sweep {self.folder.name}",
            run_id=parent.run_id if own and parent is not None else None,
            tracking_uri=found.tracking_uri if own else None,
            folder=self.folder,
        )


def find_members(options: RunOptions, root: Path) -> Members:
    """The finished jobs of the sweep that the options name; those left out are printed.

    Args:
        options: of a command, with `run=sweep:...`.
        root: the folder the user works in.

    Raises:
        ConfigError: there is no such sweep, or none of its jobs finished.
        DataError: its record cannot be read.
    """
    if options.tracking_uri is not None:
        text = f"has no effect with run={options.run}, which is a folder; allowed: leave it out"
        raise ConfigError(f"tracking_uri={options.tracking_uri}: {text}")
    folder = _folder(options.run, root)
    record = read_sweep(folder)
    if record is None:
        allowed = "allowed: the file that the sweep wrote, unchanged"
        raise DataError(f"{folder / FILE}: cannot be read; {allowed}")
    jobs = _read(folder)
    keys = differing(jobs) or list(record.keys)
    members, left_out = list[Member](), list[str]()
    for job in jobs:
        name = job.title(keys)
        if job.status != FINISHED:
            left_out.append(f"{name}: {job.status}{f', {job.message}' if job.message else ''}")
            continue
        try:
            members.append(Member(job, name, inside(folder, job.folder)))
        except BadRecordError as error:
            left_out.append(f"{name}: {job.folder} {error}")
    for text in left_out:
        log.warning("left out: %s", text)
    if not members:
        text = "none of its jobs finished; allowed: a sweep with a finished job"
        raise ConfigError(f"run={options.run}: {text}")
    return Members(folder, record, members, left_out)


def _read(folder: Path) -> list[Job]:
    try:
        return read_jobs(folder)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        allowed = "allowed: the notes that the sweep wrote, unchanged"
        raise DataError(f"{folder}/jobs: cannot be read ({error}); {allowed}") from None


def _folder(run: str, root: Path) -> Path:
    """The folder of the sweep that `run` names.

    Raises:
        ConfigError: there is no such sweep.
    """
    name, below = run.removeprefix(SWEEP), root / _SWEEPS
    found = sorted(below.glob(f"*/{FILE}"), key=lambda file: (file.stat().st_mtime, file.parent))
    if name == "latest":
        if not found:
            text = f"there is no sweep in {below}; allowed: train one first, with -m"
            raise ConfigError(f"run={run}: {text}")
        return found[-1].parent
    for place in (below / name, root / Path(name).expanduser()):
        if name and (place / FILE).is_file():
            return place.absolute()
    names = [file.parent.name for file in found]
    shown = ", ".join(reversed(names[-_SHOWN:])) or f"none in {below}"
    text = f"no such sweep; allowed: {SWEEP}latest, {SWEEP}<name of its folder>, as {shown}"
    raise ConfigError(f"run={run}: {text}{did_you_mean(name, names)}")


@dataclass(frozen=True)
class Opened:
    """A member with its model.

    Args:
        member: of the sweep.
        model: of its run.
        found: its run.
    """

    member: Member
    model: Model
    found: RunRecord


def open_members(options: ModelOptions, members: Members, root: Path) -> list[Opened]:
    """Open the models of all members, on the chosen device."""
    return [Opened(one, *open_model(one.options(options), root)) for one in members.members]


def ensemble_or_reason(opened: Sequence[Opened], run: str) -> tuple[Model | None, str]:
    """The ensemble of some models, or the reason why there is none.

    Args:
        opened: the models.
        run: as typed.
    """
    models = [one.model for one in opened]
    reason = why_no_ensemble(models, [one.member.name for one in opened])
    if reason:
        return None, f"run={run}: no ensemble: {reason}"
    return ensemble_of(models), ""
