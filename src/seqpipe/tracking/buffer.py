"""Buffer of metrics, so that a training step never waits for the store."""

import itertools
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

CHUNK = 1000  # the most metrics that MLflow takes in one call

T = TypeVar("T")


class Buffer(Generic[T]):
    """Collects entries and sends them in chunks.

    Cost is per call, not per metric: one call for 1000 metrics takes 50 ms, one call for each
    of them 3 s (sqlite).

    Args:
        send: takes one chunk, of at most `CHUNK` entries.
        seconds: entries wait at most this long, if entries keep coming.
    """

    def __init__(self, send: Callable[[Sequence[T]], None], seconds: float) -> None:
        self._send = send
        self._seconds = seconds
        self._waiting: deque[T] = deque()
        self._sent = time.monotonic()

    def add(self, entries: Sequence[T]) -> None:
        """Adds entries, and sends all if it is time."""
        self._waiting.extend(entries)
        if len(self._waiting) >= CHUNK or time.monotonic() - self._sent >= self._seconds:
            self.flush()

    def flush(self) -> None:
        """Sends all entries."""
        while self._waiting:
            chunk = list(itertools.islice(self._waiting, CHUNK))
            self._send(chunk)
            for _ in chunk:  # only now: an interrupted call is repeated
                self._waiting.popleft()
        self._sent = time.monotonic()
