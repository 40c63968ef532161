"""How long a store may keep a run waiting."""

import threading
import time
from collections.abc import Callable
from typing import Any

_CALL, _NEXT = 10.0, 3.0  # seconds for a call; for one after a call that did not come back
_TRAINING, _END = 12.0, 13.0  # seconds lost to failures; together with the last call under 30


class Unreachable(Exception):
    """The store has failed for so long that it is not asked any more."""


class Patience:
    """Calls a store, and loses at most about 25 seconds of a run with calls that fail.

    A call that does not come back is left to itself: a server that accepts connections and never
    answers, a file system that hangs. What succeeds may take as long as it takes.

    Attributes:
        lost: seconds that failed calls took.
    """

    def __init__(self) -> None:
        self.lost = 0.0
        self._limit = _TRAINING
        self._hangs = False

    def at_the_end(self) -> None:
        """Allows for the last attempts."""
        self._limit = min(self.lost, self._limit) + _END

    def call(self, action: Callable[..., Any], *arguments: Any, more: float = 0.0) -> Any:
        """What `action(*arguments)` returns or raises.

        Args:
            action: calls the store.
            arguments: its own.
            more: seconds that it may take beyond the usual, for a large file.

        Raises:
            Unreachable: too much time was lost.
            TimeoutError: it did not come back.
        """
        left = self._limit - self.lost
        if left <= 0:
            raise Unreachable("the store did not answer before")
        seconds = min(_NEXT if self._hangs else _CALL + more, left if self._hangs else left + more)
        started = time.monotonic()
        try:
            value = _within(seconds, action, arguments)
        except BaseException as error:
            self.lost += time.monotonic() - started
            self._hangs = self._hangs or isinstance(error, TimeoutError)
            raise
        self._hangs = False
        return value


def _within(seconds: float, action: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    results: list[Any] = []
    errors: list[BaseException] = []
    done = threading.Event()

    def work() -> None:
        try:
            results.append(action(*arguments))
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    threading.Thread(target=work, name="store", daemon=True).start()
    if not done.wait(seconds):
        raise TimeoutError(f"no answer within {seconds:.0f} s")
    if errors:
        raise errors[0]
    return results[0]
