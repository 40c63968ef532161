"""What every command shares at its end: what it says, exit codes, signals, readers that leave."""

import io
import os
import signal
import sys
from types import FrameType

from seqpipe.display import visible

WRONG_INPUT, FAILED, INTERRUPTED, TERMINATED = 2, 1, 130, 143


class Terminated(SystemExit):
    """SIGTERM, as an exception: everything that must be closed is closed on its way up."""


def on_sigterm() -> None:
    """From here on SIGTERM unwinds the stack as `Terminated`."""
    signal.signal(signal.SIGTERM, _terminate)


def _terminate(signum: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once: closing must not be cut short
    raise Terminated(TERMINATED)


def code_of(error: SystemExit) -> int:
    """The exit code of a SystemExit, which is said where that is due.

    Raises:
        KeyboardInterrupt: it is Lightning's answer to Ctrl-C.
    """
    if isinstance(error.__context__, KeyboardInterrupt):
        raise KeyboardInterrupt from None
    if error.code == TERMINATED:
        complain("terminated")
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
