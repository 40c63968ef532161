"""A limit for what must not hang."""

import contextlib
import signal
from collections.abc import Iterator


class Hang(BaseException):
    """Something took longer than it may; no `except Exception` catches it."""


@contextlib.contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise `Hang` where the block takes longer."""

    def ring(number: int, frame: object) -> None:
        raise Hang(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
