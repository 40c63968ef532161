"""What every command shares at its end: what it says, exit codes, signals, readers that leave."""

import os
import signal
import sys
from types import FrameType

WRONG_INPUT, FAILED, INTERRUPTED, TERMINATED = 2, 1, 130, 143
RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")


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


def rank() -> int:
    """Number of this process among those of one run; the first alone prints."""
    return int(next((os.environ[name] for name in RANKS if name in os.environ), "0"))


def say(text: str, end: str = "\n") -> None:
    """Print; whoever reads may have had enough (`| head`), which is no mistake."""
    try:
        print(text, end=end, flush=True)
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
    print(f"seqpipe: {message}", file=sys.stderr)
