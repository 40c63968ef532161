"""Messages and exit codes of every command, and output streams that are closed."""

import contextlib
import errno
import io
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from typing import Any, TextIO, cast

from seqpipe.display import visible
from seqpipe.errors import ConfigError, DataError, RecordError, SeqpipeError, resource_message
from seqpipe.signals import ENDING_SIGNALS

PROGRAM = "seqpipe: "  # what messages start with
WRONG_INPUT, FAILED, INTERRUPTED, TERMINATED = 2, 1, 130, 143


def exit_code_of(error: SystemExit, *, first: bool = True) -> int:
    """The exit code of a SystemExit; its message, or the signal, is printed.

    Args:
        error: it ended a command.
        first: this process is the only one, or the first of several: it prints the signal.

    Raises:
        KeyboardInterrupt: the user pressed Ctrl-C, which Lightning turns into SystemExit.
    """
    if isinstance(error.__context__, KeyboardInterrupt):
        raise KeyboardInterrupt from None
    names = {128 + number: f"ended by {number.name}" for number in ENDING_SIGNALS}
    names[TERMINATED] = "terminated"
    if first and error.code in names:
        print_error(names[error.code])
    if isinstance(error.code, str):
        print_error(error.code)
    return error.code if isinstance(error.code, int) else int(error.code is not None)


def report_error(error: Exception, *, first: bool = True) -> int:
    """Prints an error: a message for those a user can mend, a traceback for ours.

    Args:
        error: it ended a command.
        first: this process is the only one, or the first of several: it prints results.

    Returns:
        the exit code of the process.
    """
    if isinstance(error, SeqpipeError):
        if isinstance(error, RecordError) and first:
            print_text(error.summary)
        if error.shown:
            print_error(error)
        return WRONG_INPUT if isinstance(error, (ConfigError, DataError)) else FAILED
    if (text := resource_message(error)) is not None:
        print_error(text)
    else:
        traceback.print_exception(error)
    return FAILED


def print_text(text: str, end: str = "\n") -> None:
    """Prints a text; a closed pipe (`| head`) or terminal is ignored."""
    try:
        print(visible(text), end=end, flush=True)
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO):
            raise
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


def end_on_closed_pipe() -> None:
    """For a command that only prints: `--help | head` ends it silently, as any other program."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def print_error(message: object) -> None:
    """Prints a line on stderr, after the name of the program."""
    print(f"{PROGRAM}{visible(str(message))}", file=sys.stderr)


def open_closed_streams() -> None:
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
