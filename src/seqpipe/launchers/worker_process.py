"""What runs in the process of a worker: its start, one job after another, signals, its output.

A worker gets each signal once: it leaves the group of processes of the terminal, so that Ctrl-C
reaches the process that started it alone, which passes it on. If that process is killed, the worker
ends its job as after SIGTERM.
"""

import contextlib
import importlib.util
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from seqpipe.collector import seldom_collecting
from seqpipe.errors import first_line
from seqpipe.launchers.workers import JobEnd, QueuedJob, name_of_signal
from seqpipe.processes import leave_terminal
from seqpipe.signals import raise_terminated, signal_handlers, unignored_signals

GRACE = 60.0
"""Seconds for a job to close its run after a signal; then its process is killed."""

_LOOK = 0.5  # seconds between two looks at the process that started this one
_received: list[int] = []  # signals that came while no job was running
_running: list[int] = []  # the job


def begin(starter: int) -> None:
    """Prepares the process of a worker, before its first job.

    Args:
        starter: number of the process that has started it.
    """
    leave_terminal()
    for number in (signal.SIGINT, signal.SIGTERM):  # those that the starter sends
        signal.signal(number, lambda received, _frame: _received.append(received))
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    watch = threading.Thread(target=_end_with, args=(starter,), daemon=True, name="watch")
    watch.start()


def _end_with(starter: int) -> None:
    """Waits until the starter or the parent has ended, then ends the job and this process."""
    parent = os.getppid()
    while os.getppid() == parent and _is_alive(starter):
        time.sleep(_LOOK)
    os.kill(os.getpid(), signal.SIGTERM)
    deadline = time.monotonic() + GRACE
    while _running and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True


def perform(job: QueuedJob) -> JobEnd:
    """Runs a job, and returns its end whatever happens in it, short of the end of the process."""
    os.environ.update(job.environment)
    # Lightning starts the further processes of a training as this one was started.
    sys.modules["__main__"].__spec__ = importlib.util.find_spec("seqpipe.__main__")
    handlers: dict[signal.Signals, object] = {signal.SIGINT: signal.default_int_handler}
    handlers |= dict.fromkeys(unignored_signals(), raise_terminated)
    _running.append(job.number)
    try:
        with signal_handlers(handlers), _output_to(job.log), seldom_collecting():
            if _received:
                return JobEnd(job.number, fault=_words(_received[0]))
            return _run(job)
    except (KeyboardInterrupt, SystemExit) as error:  # between two blocks
        return JobEnd(job.number, fault=_reason(error))
    except OSError as error:  # of the log
        return JobEnd(job.number, fault=first_line(error))
    finally:
        _running.clear()


def _run(job: QueuedJob) -> JobEnd:
    try:
        return JobEnd(job.number, float(job.run()))
    except (KeyboardInterrupt, SystemExit) as error:
        return JobEnd(job.number, fault=_reason(error))
    except Exception as error:  # before the run: its folder, its composition
        traceback.print_exc()
        return JobEnd(job.number, fault=first_line(error))


def _reason(error: BaseException) -> str:
    """Why a job ended, of an exception that ends a process."""
    if not isinstance(error, SystemExit) or isinstance(error.__context__, KeyboardInterrupt):
        return _words(signal.SIGINT)
    if isinstance(error.code, int) and error.code > 128:
        return _words(error.code - 128)
    return f"it exited with code {error.code}"


def _words(number: int) -> str:
    return f"ended by {name_of_signal(number)}"


@contextlib.contextmanager
def _output_to(log: Path) -> Iterator[None]:
    """Appends to a file all that this process and those it starts print in the block."""
    log.parent.mkdir(parents=True, exist_ok=True)
    opened = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    before = [os.dup(number) for number in (1, 2)]
    _turn_to([opened, opened])
    try:
        yield
    finally:
        _turn_to(before)
        for number in (opened, *before):
            os.close(number)


def _turn_to(files: list[int]) -> None:
    for stream, number, file in zip((sys.stdout, sys.stderr), (1, 2), files, strict=True):
        with contextlib.suppress(OSError, ValueError):  # a full disk; a stream that was closed
            stream.flush()
        os.dup2(file, number)
