"""Signals that end the process, raised as exceptions so that files and runs are closed."""

import contextlib
import signal
import threading
from collections.abc import Iterator, Mapping
from types import FrameType

ENDING_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGHUP", "SIGQUIT", "SIGXCPU")  # of batch systems, closed terminals
    if hasattr(signal, name)
)


class Terminated(SystemExit):
    """A signal that ends the process, raised as an exception so that everything is closed."""


def unignored_signals() -> list[signal.Signals]:
    """The signals that end this process; under `nohup`, SIGHUP is not among them."""
    return [number for number in ENDING_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]


def raise_on_signals() -> None:
    """Makes SIGTERM, SIGHUP, SIGQUIT and SIGXCPU raise `Terminated` from here on."""
    for number in unignored_signals():
        signal.signal(number, raise_terminated)


@contextlib.contextmanager
def signals_as_exit() -> Iterator[None]:
    """Makes signals raise `Terminated` within the block."""
    with signal_handlers(dict.fromkeys(unignored_signals(), raise_terminated)):
        yield


@contextlib.contextmanager
def signal_handlers(handlers: Mapping[signal.Signals, object]) -> Iterator[None]:
    """Installs signal handlers for the block; only the main thread may."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, new) for number, new in handlers.items()}  # type: ignore[arg-type]
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, signal.SIG_DFL if old is None else old)


def raise_terminated(signum: int, frame: FrameType | None) -> None:
    """Handles a signal by raising `Terminated`; later ones are ignored while files are closed."""
    for number in ENDING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise Terminated(128 + signum)
