"""Workers: what runs the jobs of a sweep, in this process or in others."""

import contextlib
import math
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class QueuedJob:
    """A job that any process can run: it is pickled.

    Args:
        number: its place in the sweep, from 0.
        overrides: those of its command line.
        title: its number, and what distinguishes it from others: `#2 (cell=gru)`.
        run: runs it, and returns the monitored value.
        log: the file that gets what it prints, in a process of its own.
        environment: variables of its process.
    """

    number: int
    overrides: tuple[str, ...]
    title: str
    run: Callable[[], float]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class JobEnd:
    """The end of a job.

    Args:
        number: of the job.
        value: the monitored value; NaN if the job failed.
        fault: the reason, if the job or its process was ended from outside; else empty.
    """

    number: int
    value: float = math.nan
    fault: str = ""


class Workers(ABC):
    """Runs jobs, several at a time.

    Attributes:
        capacity: how many jobs it takes at a time.
        logs: True if what jobs print is in their logs.
        scheduled: True if a scheduler may let jobs wait after their start here.
    """

    capacity: int = 1
    logs: bool = True
    scheduled: bool = False

    @property
    def waiting(self) -> int:
        """Jobs that were given to a scheduler, which has not started them."""
        return 0

    @abstractmethod
    def start(self, job: QueuedJob) -> None:
        """Starts a job; there is capacity for it."""

    @abstractmethod
    def wait(self, seconds: float) -> list[JobEnd]:
        """Waits until a job ends, at most so long. Returns the jobs that have ended."""

    @abstractmethod
    def end(self, number: signal.Signals) -> None:
        """Passes a signal to each running job, which closes its run."""

    @abstractmethod
    def close(self) -> None:
        """Ends all processes, also those whose job still runs."""


class InThisProcess(Workers):
    """Runs one job after another in this process; they print on the terminal."""

    logs = False

    def __init__(self) -> None:
        self._ended: list[JobEnd] = []

    def start(self, job: QueuedJob) -> None:
        """Runs the job to its end; exceptions pass."""
        self._ended.append(JobEnd(job.number, job.run()))

    def wait(self, seconds: float) -> list[JobEnd]:
        """The jobs that ended since the last call."""
        ended, self._ended = self._ended, []
        return ended

    def end(self, number: signal.Signals) -> None:
        """Does nothing: the job got the signal itself."""

    def close(self) -> None:
        """Does nothing."""


def name_of_signal(code: int) -> str:
    """`SIGKILL` for 9; a number without a name stays one."""
    try:
        return signal.Signals(code).name
    except ValueError:
        return f"signal {code}"


def ended_by(code: int) -> str:
    """How a process ended, in words.

    Args:
        code: its exit code, negative for a signal, as `subprocess` has it.
    """
    if code < 0:
        more = " (out of memory?)" if -code == getattr(signal, "SIGKILL", 9) else ""
        return f"its process was ended by {name_of_signal(-code)}{more}"
    return f"its process ended with exit code {code}"


def variables_to_pass() -> dict[str, str]:
    """The variables of this process that a job elsewhere needs: ours and those of MLflow."""
    return {k: v for k, v in os.environ.items() if k.startswith(("SEQPIPE_", "MLFLOW_"))}


@contextlib.contextmanager
def signals_blocked(*more: signal.Signals) -> Iterator[None]:
    """Lets Ctrl-C wait until the end of the block; processes that are started in it never get it.

    Args:
        *more: further signals that wait.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, *more})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
