"""Workers that are jobs of SLURM, or processes of this machine, by the library submitit.

Each job of a sweep is one job of SLURM. The process of the sweep stays, and asks how they are: it
needs a terminal that does not close (`tmux`), or `nohup`.
"""

import contextlib
import math
import os
import shutil
import signal
import subprocess
import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqpipe.data.optional_deps import need
from seqpipe.errors import ConfigError, first_line
from seqpipe.launchers.resources import GPUS, share_of_worker
from seqpipe.launchers.worker_process import begin, perform
from seqpipe.launchers.workers import JobEnd, QueuedJob, Workers, name_of_signal, signals_blocked

_FOLDER = ".submitit"  # in that of the sweep: what submitit writes
_LOOK = 0.25  # seconds between two looks at the jobs
_ASK = 5.0  # seconds between two questions to SLURM


@dataclass(frozen=True)
class SubmittedJob:
    """A job as submitit runs it.

    Args:
        job: of the sweep.
        starter: number of the process of the sweep, whose end also ends the job; None: it does not.
        environment: variables of this machine's share.
    """

    job: QueuedJob
    starter: int | None
    environment: Mapping[str, str]

    def __call__(self) -> JobEnd:
        """Runs the job."""
        if self.starter is not None:
            begin(self.starter)
            os.environ.pop(GPUS, None)  # submitit hides all GPUs
            os.environ.update(self.environment)
        return perform(self.job)


class SubmititWorkers(Workers):
    """Jobs that submitit starts.

    Args:
        sweep: folder of the sweep, which the machines of the jobs share.
        capacity: see `Workers`.
        options: of submitit's executor, as `timeout_min`; null leaves the default.
    """

    cluster: str
    late = 0.0  # seconds in which a result may still appear

    def __init__(self, sweep: Path, capacity: int, options: Mapping[str, Any]) -> None:
        submitit = need("submitit", extra="slurm", what=f"launcher=submitit_{self.cluster}")
        self.capacity, self._folder = capacity, sweep / _FOLDER
        self._running: dict[int, Any] = {}
        self._missing: dict[int, float] = {}  # since when a job is over without a result
        self._keep = False  # what submitit has written, as it may say why
        self._executor = submitit.AutoExecutor(self._folder, cluster=self.cluster)
        given = {name: value for name, value in options.items() if value is not None}
        try:
            self._executor.update_parameters(**given)
        except Exception as error:  # submitit's own check of names and values
            text = f"submitit refuses them ({first_line(error)}); allowed: options of submitit"
            raise ConfigError(f"hydra.launcher.options: {text}") from None

    def start(self, job: QueuedJob) -> None:
        """Submits a job."""
        self._running[job.number] = self._submit(job)

    @abstractmethod
    def _submit(self, job: QueuedJob) -> Any:
        """Submits a job; returns submitit's."""

    def wait(self, seconds: float) -> list[JobEnd]:
        """Waits until a job ends, at most so long."""
        deadline = time.monotonic() + seconds
        while True:
            ends = [end for number in list(self._running) if (end := self._end_of(number))]
            if ends or time.monotonic() > deadline:
                return ends
            time.sleep(_LOOK)

    def _end_of(self, number: int) -> JobEnd | None:
        """The end of a job; None while it runs."""
        submitted = self._running[number]
        end: JobEnd
        if submitted.paths.result_pickle.exists():
            try:
                end = submitted.result()
            except Exception as error:  # it could not be read, or made
                end = JobEnd(number, fault=first_line(error))
        elif self._is_over(submitted):
            since = self._missing.setdefault(number, time.monotonic())
            if time.monotonic() < since + self.late:
                return None
            self._keep = True
            end = JobEnd(number, fault=self._cause(submitted))
        else:
            return None
        del self._running[number]
        return end

    @abstractmethod
    def _is_over(self, submitted: Any) -> bool:
        """True if the process of a job has ended."""

    @abstractmethod
    def _cause(self, submitted: Any) -> str:
        """Why a job has ended without a result."""

    def close(self) -> None:
        """Ends jobs that still run, and removes what submitit has written if nothing was lost."""
        for submitted in self._running.values():
            submitted.cancel(check=False)
        if not (self._running or self._keep):
            shutil.rmtree(self._folder, ignore_errors=True)


class LocalWorkers(SubmititWorkers):
    """Processes of this machine, one for each job: as SLURM, to try it without."""

    cluster = "local"

    def __init__(self, sweep: Path, capacity: int, options: Mapping[str, Any]) -> None:
        super().__init__(sweep, capacity, options)
        self._places: dict[int, int] = {}  # of the running jobs

    def _submit(self, job: QueuedJob) -> Any:
        self._places = {k: place for k, place in self._places.items() if k in self._running}
        place = next(one for one in range(self.capacity) if one not in self._places.values())
        self._places[job.number] = place
        share = share_of_worker(place, self.capacity)
        share |= {GPUS: os.environ[GPUS]} if GPUS in os.environ and GPUS not in share else {}
        with signals_blocked(), _environment(share):
            return self._executor.submit(SubmittedJob(job, os.getpid(), share))

    def end(self, number: signal.Signals) -> None:
        """Sends SIGTERM to each job: of Ctrl-C submitit leaves it a second."""
        for submitted in self._running.values():
            with contextlib.suppress(OSError):  # it has ended
                os.kill(int(submitted.job_id), signal.SIGTERM)

    def _is_over(self, submitted: Any) -> bool:
        return bool(submitted.done())

    def _cause(self, submitted: Any) -> str:
        return "its process ended without a result"


class SlurmWorkers(SubmititWorkers):
    """Jobs of SLURM, asked for by `squeue` and `scontrol`: not every SLURM keeps accounts."""

    cluster, scheduled = "slurm", True
    late = 10.0  # a shared folder shows files later

    def __init__(self, sweep: Path, capacity: int, options: Mapping[str, Any]) -> None:
        super().__init__(sweep, capacity, options)
        self._states: dict[str, str] = {}
        self._asked = -math.inf

    def _submit(self, job: QueuedJob) -> Any:
        self._asked = -math.inf
        return self._executor.submit(SubmittedJob(job, None, {}))

    @property
    def waiting(self) -> int:
        """Jobs that SLURM has not started."""
        self._ask()
        return list(self._states.values()).count("PENDING")

    def _ask(self) -> None:
        if time.monotonic() < self._asked + _ASK:
            return
        self._asked = time.monotonic()
        numbers = ",".join(one.job_id for one in self._running.values())
        told = _output("squeue", "--noheader", "--states=all", "--format=%i %T", "--jobs", numbers)
        if told is not None:  # else SLURM does not answer now
            self._states = dict(line.split(maxsplit=1) for line in told.splitlines())

    def _is_over(self, submitted: Any) -> bool:
        self._ask()
        return bool(self._states) and self._states.get(submitted.job_id, "") not in _ACTIVE

    def _cause(self, submitted: Any) -> str:
        told = _output("scontrol", "--oneliner", "show", "job", submitted.job_id) or ""
        facts = dict(word.split("=", 1) for word in told.split() if "=" in word)
        exit_code, _, by_signal = facts.get("ExitCode", "0:0").partition(":")
        codes = [int(code) for code in (by_signal, exit_code) if code not in ("", "0")]
        more = [name_of_signal(code - 128 if code > 128 else code) for code in codes[:1]]
        words = ", ".join([facts.get("JobState", "unknown"), *more])
        return f"its process ended without a result (SLURM: {words})"

    def end(self, number: signal.Signals) -> None:
        """Cancels each job: SLURM sends SIGTERM, and waits as long as it is configured to."""
        for submitted in self._running.values():
            submitted.cancel(check=False)


_ACTIVE = (
    *("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING"),
    *("REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "RESIZING", "STAGE_OUT"),
)
"""States of a job that may still end with a result. Source: squeue(1), JOB STATE CODES."""


def _output(*words: str) -> str | None:
    """The text that a command of SLURM prints; None if it fails."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
