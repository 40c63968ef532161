"""The queue of a sweep: a job starts when a worker is free, and none takes another along."""

import contextlib
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from seqpipe.config.sweep_plan import overrides_by_key
from seqpipe.display import visible
from seqpipe.launchers.progress import Progress
from seqpipe.launchers.worker_process import GRACE
from seqpipe.launchers.workers import JobEnd, QueuedJob, Workers
from seqpipe.report.sweep_jobs import (
    FAILED,
    FINISHED,
    REFUSED,
    RUNNING,
    Job,
    note_job,
    read_job,
)
from seqpipe.terminal import PROGRAM, print_error, print_text

_TICK = 1.0  # seconds between two updates of the progress

Ended = Callable[[int, float], None]
"""Called with the number of a job and its monitored value, NaN if it failed."""


class JobQueue:
    """The jobs of a sweep while they run.

    Args:
        workers: what runs them.
        progress: what is shown of it.
        sweep: folder of the sweep.
        ended: called after each job.
    """

    def __init__(self, workers: Workers, progress: Progress, sweep: Path, ended: Ended) -> None:
        self._workers, self._progress, self._sweep, self._ended = workers, progress, sweep, ended
        self._running: dict[int, QueuedJob] = {}

    def run(self, jobs: Iterator[QueuedJob]) -> None:
        """Runs all jobs and closes the workers. A job is asked for as a worker becomes free.

        Raises:
            KeyboardInterrupt: Ctrl-C; the running jobs have closed their runs.
            SystemExit: the same of another signal.
        """
        jobs = self._not_done(jobs)
        try:
            while self._fill(jobs) or self._running:
                self._progress.waiting = self._workers.waiting
                self._progress.tick()
                self._collect(jobs)
        except (KeyboardInterrupt, SystemExit) as error:
            self._progress.clear()
            if self._running and self._workers.logs:
                self._end_running(error)
            raise
        finally:
            self._progress.clear()
            self._workers.close()

    def _not_done(self, jobs: Iterator[QueuedJob]) -> Iterator[QueuedJob]:
        """Yield the jobs that are to run: of a sweep that is continued, some are done."""
        for job in jobs:
            note = read_job(self._sweep, job.number)
            if note is None or note.status != FINISHED:
                yield job
                continue
            self._progress.skipped()
            self._ended(job.number, note.monitored)
            print_text(f"{job.title}: done before, {note.line}")

    def _fill(self, jobs: Iterator[QueuedJob]) -> bool:
        """Starts jobs while there is capacity; returns False if nothing was started."""
        filled = False
        while len(self._running) < self._workers.capacity:
            job = next(jobs, None)
            if job is None:
                break
            self._running[job.number] = job
            self._progress.started(job.number)
            if not self._workers.logs:
                print(visible(job.title), file=sys.stderr)
            self._workers.start(job)
            filled = True
        return filled

    def _collect(self, jobs: Iterator[QueuedJob]) -> None:
        """Waits for jobs to end, starts others in their place, and then prints how they ended."""
        ends = [(self._running.pop(end.number), end) for end in self._workers.wait(_TICK)]
        notes = [_completed_note(job, end, self._sweep) for job, end in ends]
        for (job, end), note in zip(ends, notes, strict=True):
            failed = note is not None and note.failed
            seconds = note.seconds if note is not None and self._workers.scheduled else math.nan
            self._progress.ended(job.number, failed=failed, seconds=seconds)
            self._ended(end.number, end.value)
        if self._workers.logs:
            self._fill(jobs)
        self._progress.waiting = self._workers.waiting if ends else self._progress.waiting
        for (job, _), note in zip(ends, notes, strict=True):
            self._announce(job, note)

    def _announce(self, job: QueuedJob, note: Job | None) -> None:
        """Prints how a job ended, and the progress."""
        if note is None:  # of a command that notes nothing
            return
        self._progress.clear()
        if self._workers.logs and note.failed:
            print_error(f"{job.title}: {note.status}: {_message(note, job.log)}")
        elif self._workers.logs:
            print_text(f"{job.title}: {note.line}")
        self._progress.show()

    def _end_running(self, error: KeyboardInterrupt | SystemExit) -> None:
        """Passes the signal on, and waits until the running jobs have closed their runs."""
        number = signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM
        count = len(self._running)
        print_error(f"ending {count} running {'job' if count == 1 else 'jobs'}; Ctrl-C again kills")
        self._workers.end(number)
        deadline = time.monotonic() + GRACE
        while self._running and time.monotonic() < deadline:
            for end in self._workers.wait(_TICK):
                del self._running[end.number]


def _completed_note(job: QueuedJob, end: JobEnd, sweep: Path) -> Job | None:
    """The note of a job, completed where its process could not; None if it has none."""
    note = read_job(sweep, job.number)
    if end.fault and (note is None or note.status == RUNNING):
        left = sweep / str(job.number)
        with contextlib.suppress(OSError):  # it is not there, or not empty
            left.rmdir()
        folder = left.name if left.is_dir() else ""
        note = note or Job(job.number, overrides_by_key(job.overrides))
        note = replace(note, status=FAILED, message=end.fault, folder=note.folder or folder)
        note_job(sweep, note)
    return note


def _message(note: Job, log: Path) -> str:
    """Why a job has no result: the whole message where it is refused, else where to read more."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    _, is_there, message = f"\n{text}".rpartition(f"\n{PROGRAM}")
    if note.status == REFUSED and is_there:
        return message.strip()
    return f"{note.message}; see {log}" if text else note.message
