"""Buffer of metrics, so that a training step never waits for the store."""

import itertools
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

CHUNK = 1000  # the most metrics that MLflow takes in one call
LIMIT = 200_000  # the most that wait while the store cannot be reached, about 100 MB
_LONGEST_WAIT = 60.0  # seconds between attempts at a store that does not answer

T = TypeVar("T")


class Buffer(Generic[T]):
    """Collects entries and sends them in chunks; a failure to send keeps them for the next time.

    Cost is per call, not per metric: one call for 1000 metrics takes 50 ms, one call for each
    of them 3 s (sqlite).

    Args:
        send: writes one chunk, of at most `CHUNK` entries; raises if it cannot.
        seconds: entries wait at most this long, if entries keep coming.
        limit: at most this many wait; beyond it the oldest are dropped.
    """

    def __init__(
        self, send: Callable[[Sequence[T]], None], seconds: float, limit: int = LIMIT
    ) -> None:
        self._send = send
        self._seconds = seconds
        self._limit = limit
        self._waiting: deque[T] = deque(maxlen=limit)
        self._wait = seconds  # grows while the store does not answer
        self._last_attempt = time.monotonic()
        self.failing = False
        self.dropped = 0

    @property
    def waiting(self) -> list[T]:
        """The entries that have not been sent, oldest first."""
        return list(self._waiting)

    def add(self, entries: Sequence[T]) -> None:
        """Adds entries, and sends all if it is time."""
        self.dropped += max(0, len(self._waiting) + len(entries) - self._limit)
        self._waiting.extend(entries)
        full = len(self._waiting) >= CHUNK and not self.failing
        if full or time.monotonic() - self._last_attempt >= self._wait:
            self.flush()

    def flush(self) -> None:
        """Sends all entries, or keeps them and warns once per outage."""
        try:
            while self._waiting:
                chunk = list(itertools.islice(self._waiting, CHUNK))
                self._send(chunk)
                for _ in chunk:  # only now: an interrupted call is repeated
                    self._waiting.popleft()
        except Exception as error:
            if not self.failing:
                log.warning("metrics cannot be written, training continues: %s", error)
            self.failing = True
            self._wait = min(max(2 * self._wait, 1.0), _LONGEST_WAIT)
        else:
            if self.failing:
                log.warning("metrics can be written again")
            self.failing = False
            self._wait = self._seconds
        self._last_attempt = time.monotonic()
