"""Limits on the time that a run waits for its store."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

_CALL, _NEXT = 10.0, 3.0  # seconds for a call; for one after a call that did not come back
_TRAINING, _END = 12.0, 13.0  # seconds lost to failures; together with the last call under 30
_SHARE = 0.01  # of the time of the run may be lost as well: a long run tries for longer


class Unreachable(Exception):
    """The store has failed for so long that it is not called any more."""


class TimeBudget:
    """Calls a store, and spends about 25 seconds and 1 % of a run at most on calls that fail.

    A call that does not return is abandoned: a server that accepts connections and never answers,
    a file system that hangs. A successful call may take as long as it takes.

    Attributes:
        lost: seconds spent on failed calls.
    """

    def __init__(self) -> None:
        self.lost = 0.0
        self._limit = _TRAINING
        self._started = time.monotonic()
        self._hangs = False

    def extend_for_end(self) -> None:
        """Grants more time for the last attempts."""
        self._limit, self._started = self.lost + _END, time.monotonic()

    def call(self, action: Callable[..., Any], *arguments: Any, extra_seconds: float = 0.0) -> Any:
        """Returns or raises what `action(*arguments)` does.

        Args:
            action: calls the store.
            arguments: its arguments.
            extra_seconds: added to the usual limit, for a large file.

        Raises:
            Unreachable: too much time was lost.
            TimeoutError: it did not return.
        """
        left = self._limit + _SHARE * (time.monotonic() - self._started) - self.lost
        if left <= 0:
            raise Unreachable("the store did not answer before")
        seconds = min(
            _NEXT if self._hangs else _CALL + extra_seconds,
            left if self._hangs else left + extra_seconds,
        )
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
    result: Future[Any] = Future()

    def work() -> None:
        try:
            result.set_result(action(*arguments))
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=work, name="store", daemon=True).start()
    wait([result], seconds)
    if not result.done():
        raise TimeoutError(f"no answer within {seconds:.0f} s")
    return result.result()
