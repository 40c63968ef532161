"""Workers that are jobs of SLURM, or processes of this machine, by the library submitit.

Each job of a sweep is one job of SLURM. The process of the sweep stays, and asks how they are: it
needs a terminal that does not close (`tmux`), or `nohup`.
"""

import contextlib
import os
import shutil
import signal
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
from seqpipe.launchers.workers import JobEnd, QueuedJob, Workers, signals_blocked

EXTRA = "slurm"  # of seqpipe, with submitit
_FOLDER = ".submitit"  # in that of the sweep: what submitit writes
_LOOK = 0.25  # seconds between two looks at the jobs
_LATE = 10.0  # seconds in which a result may still appear in a shared folder


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

    def __init__(self, sweep: Path, capacity: int, options: Mapping[str, Any]) -> None:
        submitit = need("submitit", extra=EXTRA, what=f"launcher=submitit_{self.cluster}")
        self.capacity, self._folder = capacity, sweep / _FOLDER
        self._running: dict[int, Any] = {}
        self._missing: dict[int, float] = {}  # jobs that have ended without a result, since when
        self._keep = False
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
        if not submitted.done():
            return None
        if not submitted.paths.result_pickle.exists():
            since = self._missing.setdefault(number, time.monotonic())
            if time.monotonic() < since + self._patience():
                return None
            self._keep = True
            end = JobEnd(number, fault=f"its process ended without a result ({submitted.state})")
        else:
            try:
                end = submitted.result()
            except Exception as error:  # it could not be read, or made
                end = JobEnd(number, fault=first_line(error))
        del self._running[number]
        return end

    def _patience(self) -> float:
        return _LATE

    def close(self) -> None:
        """Ends jobs that still run, and removes what submitit has written if nothing was lost."""
        for submitted in self._running.values():
            submitted.cancel()
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

    def _patience(self) -> float:
        return 0.0  # a result is there before its process ends


class SlurmWorkers(SubmititWorkers):
    """Jobs of SLURM."""

    cluster = "slurm"

    def _submit(self, job: QueuedJob) -> Any:
        return self._executor.submit(SubmittedJob(job, None, {}))

    def end(self, number: signal.Signals) -> None:
        """Cancels each job: SLURM sends SIGTERM, and waits as long as it is configured to."""
        for submitted in self._running.values():
            submitted.cancel()


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
