"""Workers that are processes of loky, each with a queue of its own.

A pool of loky fails as a whole if one of its processes dies. Here each worker is a pool of one: the
death of its process fails the job that it ran, and the next job gets a new process. A process lives
for many jobs, so that torch is imported once per worker.
"""

import contextlib
import os
import signal
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

from joblib.externals.loky import process_executor

from seqpipe.errors import first_line
from seqpipe.launchers.loky_internals import exit_code_in, keep_grown_workers, start_tracker
from seqpipe.launchers.resources import share_of_worker
from seqpipe.launchers.worker_process import begin, perform
from seqpipe.launchers.workers import (
    JobEnd,
    QueuedJob,
    Workers,
    ended_by,
    signals_blocked,
    variables_to_pass,
)

_FIRST_CALL = 10.0  # seconds to wait for the number of a process that has just been started


class _Slot:
    """A place for one process, which is started for its first job, and again after its death."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._executor: Any = None
        self._process: Future[int] | None = None

    def submit(self, job: QueuedJob) -> "Future[JobEnd]":
        """Gives a job to the process."""
        if self._executor is not None:
            with contextlib.suppress(process_executor.BrokenProcessPool):
                submitted: Future[JobEnd] = self._executor.submit(perform, job)
                return submitted
            self.close()  # it died between two jobs
        start_tracker()
        with signals_blocked():
            self._executor = process_executor.ProcessPoolExecutor(
                max_workers=1,
                env={**variables_to_pass(), **self._environment},
                initializer=_begin,
                initargs=(os.getpid(),),
            )
            self._process = self._executor.submit(os.getpid)
        first: Future[JobEnd] = self._executor.submit(perform, job)
        return first

    def signal(self, number: signal.Signals) -> None:
        """Sends the process a signal."""
        if self._process is not None:
            with contextlib.suppress(Exception):  # it has ended, or has not got so far
                os.kill(self._process.result(_FIRST_CALL), number)

    def close(self) -> None:
        """Ends the process."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, kill_workers=True)
        self._executor = self._process = None


class LokyWorkers(Workers):
    """Processes on this machine, which share its cores.

    Args:
        count: how many.
    """

    def __init__(self, count: int) -> None:
        self.capacity = count
        self._slots = [_Slot(share_of_worker(place, count)) for place in range(count)]
        self._busy: dict[Future[JobEnd], tuple[_Slot, QueuedJob]] = {}

    def start(self, job: QueuedJob) -> None:
        """Starts a job in a slot that is free."""
        taken = [slot for slot, _ in self._busy.values()]
        free = next(slot for slot in self._slots if slot not in taken)
        self._busy[free.submit(job)] = (free, job)

    def wait(self, seconds: float) -> list[JobEnd]:
        """Waits until a job ends, at most so long."""
        done, _ = wait(self._busy, seconds, return_when=FIRST_COMPLETED)
        return [self._end_of(future) for future in done]

    def _end_of(self, future: "Future[JobEnd]") -> JobEnd:
        slot, job = self._busy.pop(future)
        try:
            return future.result()
        except process_executor.BrokenProcessPool as error:
            slot.close()
            code = exit_code_in(error)
            fault = first_line(error) if code is None else ended_by(code)
            return JobEnd(job.number, fault=fault)
        except Exception as error:  # it could not be pickled
            return JobEnd(job.number, fault=first_line(error))

    def end(self, number: signal.Signals) -> None:
        """Passes a signal to each process that runs a job."""
        for slot, _ in self._busy.values():
            slot.signal(number)

    def close(self) -> None:
        """Ends all processes."""
        for slot in self._slots:
            slot.close()


def _begin(starter: int) -> None:
    keep_grown_workers()
    begin(starter)
