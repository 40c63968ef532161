"""What every command shares at its end: what it says, exit codes, signals, readers that leave."""

import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any, TextIO, cast

from seqpipe.display import visible

WRONG_INPUT, FAILED, INTERRUPTED, TERMINATED = 2, 1, 130, 143
ENDING = tuple(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGHUP", "SIGQUIT", "SIGXCPU")  # of batch systems, closed terminals
    if hasattr(signal, name)
)


class Terminated(SystemExit):
    """A signal that ends the process, as an exception: on its way up all is closed."""


def heeded() -> list[signal.Signals]:
    """The signals that end this process; under `nohup`, SIGHUP does not."""
    return [number for number in ENDING if signal.getsignal(number) != signal.SIG_IGN]


def on_sigterm() -> None:
    """From here on SIGTERM, SIGHUP, SIGQUIT and SIGXCPU unwind the stack as `Terminated`."""
    for number in heeded():
        signal.signal(number, _terminate)


@contextlib.contextmanager
def signals_as_exit() -> Iterator[None]:
    """As `on_sigterm`, within the block only."""
    with handling(dict.fromkeys(heeded(), _terminate)):
        yield


@contextlib.contextmanager
def handling(handlers: Mapping[signal.Signals, object]) -> Iterator[None]:
    """Installs handlers of signals for the block; in another thread than the main one, none."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    before = {number: signal.signal(number, new) for number, new in handlers.items()}  # type: ignore[arg-type]
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, signal.SIG_DFL if old is None else old)


def _terminate(signum: int, frame: FrameType | None) -> None:
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)  # once: closing must not be cut short
    raise Terminated(128 + signum)


def code_of(error: SystemExit) -> int:
    """The exit code of a SystemExit, which is said where that is due.

    Raises:
        KeyboardInterrupt: it is Lightning's answer to Ctrl-C.
    """
    if isinstance(error.__context__, KeyboardInterrupt):
        raise KeyboardInterrupt from None
    if error.code == TERMINATED:
        complain("terminated")
    else:
        for number in ENDING:
            if error.code == 128 + number:
                complain(f"ended by {number.name}")
    if isinstance(error.code, str):
        complain(error.code)
    return error.code if isinstance(error.code, int) else int(error.code is not None)


def say(text: str, end: str = "\n") -> None:
    """Print; whoever reads may have had enough (`| head`), which is no mistake."""
    try:
        print(visible(text), end=end, flush=True)
    except BrokenPipeError:
        say_no_more()


def say_no_more() -> None:
    """Nobody reads any longer: what is still to be printed goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def heard_by_nobody() -> Iterator[None]:
    """A stderr that is gone (a closed terminal or pipe, a full disk) ends no run."""
    stream = sys.stderr
    tolerant = cast(TextIO, _Tolerant(stream))
    sys.stderr = tolerant
    try:
        yield
    finally:
        if sys.stderr is tolerant:
            sys.stderr = stream


class _Tolerant:
    """A stream whose text goes nowhere once it cannot be written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            self._write_no_more()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._write_no_more()

    def _write_no_more(self) -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def only_prints() -> None:
    """This command does nothing else: `--help | head` ends as for any other program."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def complain(message: object) -> None:
    """A line on stderr, under the name of the program."""
    print(f"seqpipe: {visible(str(message))}", file=sys.stderr)


def open_streams() -> None:
    """Standard streams that the caller closed (`>&-`) lead nowhere.

    Otherwise the next file opened would get their number, and be read or written in their place.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: for PYTHONIOENCODING=ascii
