"""The terminal of every command: messages, exit codes, signals, closed pipes and streams."""

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
    """A signal that ends the process, raised as an exception so that everything is closed."""


def heeded() -> list[signal.Signals]:
    """The signals that end this process; under `nohup`, SIGHUP is not among them."""
    return [number for number in ENDING if signal.getsignal(number) != signal.SIG_IGN]


def on_sigterm() -> None:
    """Makes SIGTERM, SIGHUP, SIGQUIT and SIGXCPU raise `Terminated` from here on."""
    for number in heeded():
        signal.signal(number, terminate)


@contextlib.contextmanager
def signals_as_exit() -> Iterator[None]:
    """Makes signals raise `Terminated` within the block."""
    with handling(dict.fromkeys(heeded(), terminate)):
        yield


@contextlib.contextmanager
def handling(handlers: Mapping[signal.Signals, object]) -> Iterator[None]:
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


def terminate(signum: int, frame: FrameType | None) -> None:
    """Handles a signal by raising `Terminated`; later ones are ignored while files are closed."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    raise Terminated(128 + signum)


def code_of(error: SystemExit) -> int:
    """The exit code of a SystemExit; its message, or the signal, is printed.

    Raises:
        KeyboardInterrupt: the user pressed Ctrl-C, which Lightning turns into SystemExit.
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
    """Prints a text; a closed pipe (`| head`) is ignored."""
    try:
        print(visible(text), end=end, flush=True)
    except BrokenPipeError:
        discard_output()


def discard_output() -> None:
    """Discards everything that is printed from here on."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def tolerating_lost_stderr() -> Iterator[None]:
    """Lets a run continue when stderr is gone (a closed terminal or pipe, a full disk)."""
    stream = sys.stderr
    tolerant = cast(TextIO, _Tolerant(stream))
    sys.stderr = tolerant
    try:
        yield
    finally:
        if sys.stderr is tolerant:
            sys.stderr = stream


class _Tolerant:
    """A stream that discards its text once it cannot be written."""

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
    """For a command that only prints: `--help | head` ends it silently, as any other program."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def complain(message: object) -> None:
    """Prints a line on stderr, after the name of the program."""
    print(f"seqpipe: {visible(str(message))}", file=sys.stderr)


def open_streams() -> None:
    """Opens the standard streams that the caller closed (`>&-`) on the null device.

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
