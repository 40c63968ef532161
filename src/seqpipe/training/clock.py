"""How long a training batch takes."""

import time


class Clock:
    """From where the model gets a batch to the end of what is done with it."""

    def __init__(self) -> None:
        self._started = self._ended = 0.0

    def start(self) -> None:
        """The model gets a batch."""
        self._started = self._ended = time.perf_counter()

    def stop(self) -> None:
        """The gradients are there, or the update is made: the last call of a batch counts."""
        self._ended = time.perf_counter()

    def taken(self) -> float:
        """Seconds of the present batch."""
        return self._ended - self._started
