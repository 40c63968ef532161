"""The progress of a sweep: jobs that are done, run, and failed, and the time that is left."""

import math
import statistics
import sys
import time
from collections.abc import Callable
from typing import TextIO

from seqpipe.display import duration


class Progress:
    """The line about the progress of a sweep, on stderr.

    Args:
        total: the number of jobs; None while that is not known.
        workers: jobs that run at the same time.
        in_place: the line is written over the last one, on a terminal; else each event has a line.
        clock: seconds.
        stream: where to; None: stderr.

    Attributes:
        waiting: jobs that count as running, and that a scheduler has not started.
    """

    def __init__(
        self,
        total: int | None,
        workers: int,
        *,
        in_place: bool = False,
        clock: Callable[[], float] = time.monotonic,
        stream: TextIO | None = None,
    ) -> None:
        self._total, self._workers, self._clock = total, workers, clock
        self._stream = sys.stderr if stream is None else stream
        self._in_place = in_place and self._stream.isatty()
        self._running: dict[int, float] = {}
        self._seconds: list[float] = []
        self._failed = self._skipped = self.waiting = 0

    def started(self, number: int) -> None:
        """A job has started."""
        self._running[number] = self._clock()

    def skipped(self) -> None:
        """A job was done before."""
        self._skipped += 1

    def ended(self, number: int, *, failed: bool, seconds: float = math.nan) -> None:
        """A job has ended.

        Args:
            number: of the job.
            failed: whether it has no result.
            seconds: it took, by its own clock; NaN: not known.
        """
        measured = self._clock() - self._running.pop(number)
        self._failed += failed
        if not failed:
            self._seconds.append(seconds if math.isfinite(seconds) else measured)

    def show(self) -> None:
        """Writes the line."""
        if self._in_place:
            self._stream.write(f"\r\x1b[2K{self.line()}")
        else:
            self._stream.write(f"{self.line()}\n")
        self._stream.flush()

    def tick(self) -> None:
        """Writes the line where it takes the place of the last one."""
        if self._in_place:
            self.show()

    def clear(self) -> None:
        """Makes room for other lines, or for the next prompt of the shell."""
        if self._in_place:
            self._stream.write("\r\x1b[2K")
            self._stream.flush()

    def line(self) -> str:
        """Return `sweep: 3 of 24 jobs done, 2 running, 1 failed, about 2 min 5 s left`."""
        total = "" if self._total is None else f" of {self._total}"
        plural = "" if self._total == 1 else "s"
        parts = [f"sweep: {len(self._seconds) + self._skipped}{total} job{plural} done"]
        run = len(self._running) - self.waiting
        parts += [f"{run} running"] if run > 0 else []
        parts += [f"{self.waiting} waiting"] if self.waiting else []
        parts += [f"{self._failed} failed"] if self._failed else []
        left = self._left()
        parts += [] if left is None else [f"about {duration(left)} left"]
        return ", ".join(parts)

    def _left(self) -> float | None:
        """Seconds until the end, if the other jobs take as long as those that are done."""
        if self._total is None or not self._seconds:
            return None
        each, now = statistics.fmean(self._seconds), self._clock()
        started = sorted(self._running.values())[: max(0, len(self._running) - self.waiting)]
        running = [max(0.0, each - (now - start)) for start in started]
        ended = len(self._seconds) + self._failed + self._skipped
        queued = self._total - ended - len(running)
        if queued <= 0 and not running:
            return None
        at_once = min(self._workers, max(1, len(running)))
        shared = (sum(running) + each * max(0, queued)) / at_once
        return max([shared, *running])
