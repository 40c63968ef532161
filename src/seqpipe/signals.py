"""Signals that end the process, raised as exceptions so that files and runs are closed."""

import contextlib
import signal
import threading
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import NoReturn


def _known(*names: str) -> tuple[signal.Signals, ...]:
    return tuple(getattr(signal, name) for name in names if hasattr(signal, name))


_OF_SCHEDULERS = _known("SIGUSR1", "SIGUSR2")  # SLURM sends one of them before a time limit
ENDING_SIGNALS = (
    *_known("SIGTERM", "SIGHUP", "SIGQUIT", "SIGXCPU"),  # of batch systems, closed terminals
    *_OF_SCHEDULERS,
)


class Terminated(SystemExit):
    """A signal that ends the process, raised as an exception so that everything is closed."""


def unignored_signals() -> list[signal.Signals]:
    """The signals that end this process; under `nohup`, SIGHUP is not among them.

    Nor is one of a scheduler that another program handles, such as submitit.
    """
    handlers = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    ours = (signal.SIG_DFL, raise_terminated)
    return [
        number
        for number, handler in handlers.items()
        if handler != signal.SIG_IGN and (number not in _OF_SCHEDULERS or handler in ours)
    ]


def interruptible_signals() -> list[signal.Signals]:
    """The signals that end a training once it is saved: those above, and Ctrl-C.

    Also a signal of a scheduler that another program handles: see `passing_on`.
    """
    others = [one for one in _OF_SCHEDULERS if callable(signal.getsignal(one))]
    unignored = signal.getsignal(signal.SIGINT) != signal.SIG_IGN
    ctrl_c = [signal.SIGINT] if unignored else []
    return [*dict.fromkeys([*unignored_signals(), *others, *ctrl_c])]


def raise_on_signals() -> None:
    """Makes the signals that end this process raise `Terminated` from here on."""
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


@contextlib.contextmanager
def passing_on() -> Iterator[None]:
    """Passes a signal that ended the block on to the handler that another program has for it.

    submitit requeues its job in this way. Any exception passes.
    """
    try:
        yield
    except Terminated as error:
        number = int(error.code or 0) - 128
        handler = signal.getsignal(number) if number in _OF_SCHEDULERS else None
        if callable(handler) and handler is not raise_terminated:
            handler(number, None)
        raise


def ignore_ending_signals() -> None:
    """Ignores the signals that end this process, while the last files are closed."""
    for number in unignored_signals():
        signal.signal(number, signal.SIG_IGN)


def raise_terminated(signum: int, frame: FrameType | None) -> NoReturn:
    """Handles a signal by raising `Terminated`; later ones are ignored while files are closed."""
    ignore_ending_signals()
    raise Terminated(128 + signum)


def raise_signal(number: int) -> NoReturn:
    """Raises what a signal that ends this process raises.

    Raises:
        KeyboardInterrupt: SIGINT.
        Terminated: another signal.
    """
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise_terminated(number, None)
