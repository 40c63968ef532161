"""A program that imports once what takes seconds, then forks a process for each piece of code."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import seqpipe

SOURCE = str(Path(seqpipe.__file__).parents[1])
TESTS = str(Path(__file__).parent)
SEQPIPE = "import runpy; runpy.run_module('seqpipe', run_name='__main__', alter_sys=True)"
"""Code that is `python -m seqpipe` with the arguments given."""
EVERYTHING = """
import pathlib
import matplotlib.backends.backend_agg, matplotlib.pyplot
import mlflow.pyfunc, mlflow.store.tracking.sqlalchemy_store
import pytest
import prepared
import seqpipe.commands.evaluate, seqpipe.commands.predict, seqpipe.commands.train
import seqpipe.runs.sweep
import seqpipe.tracking.mlflow, seqpipe.tracking.pyfunc, seqpipe.tracking.serving
from seqpipe.config.commandline import check
prepared.compose_once(pytest.MonkeyPatch())
prepared.copy_tables(pytest.MonkeyPatch(), pathlib.Path({pipes!r}, "mlflow.db"))
prepared.leave_figures_white(pytest.MonkeyPatch())
check([])
"""
"""Imports of all that trains, records and predicts; the default configuration is composed.

The figures of a run are white, those of a comparison are not.
"""

_PROGRAM = """
import atexit, gc, json, os, signal, socket, sys, threading
sys.path.append({tests!r})
gc.disable()
{imports}
gc.freeze()  # what was imported is not looked through again
gc.enable()
orders = socket.socket(fileno=0)
child = -1
while child:
    order, streams = b"", []
    while not order.endswith(b"\\n"):
        part, some, _, _ = socket.recv_fds(orders, 65536, 3)
        if not part:
            sys.exit()
        order, streams = order + part, streams + some
    child = os.fork()
    if child:
        print(child, flush=True)
        for number in streams:
            os.close(number)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
order = json.loads(order)
orders.detach()
for number, stream in enumerate(streams):
    os.dup2(stream, number)
    os.close(stream)
os.chdir(order["cwd"])
os.environ.clear()
os.environ.update(order["env"])
sys.stdin = open(0, closefd=False)
# Also where the tests run with nohup or in the background.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
sys.argv = ["-c", *order["arguments"]]
code = 0
try:
    exec(order["code"], {{"__name__": "__main__"}})
except SystemExit as end:
    if isinstance(end.code, str):
        raise
    code = int(end.code or 0)
# As the interpreter ends, but without taking apart what was imported: half a second for nothing.
threading._shutdown()
atexit._run_exitfuncs()
try:
    sys.stdout.flush()
    sys.stderr.flush()
except OSError:
    sys.exit(code)  # which says so
os._exit(code)
"""


class Started:
    """A process that was forked: its streams, a signal for it, and how it ends.

    Args:
        program: the one that forks.
        streams: file numbers of this end of its standard input, output and error.
    """

    def __init__(self, program: "subprocess.Popen[bytes]", streams: Sequence[int]) -> None:
        self.program = program
        self.returncode: int | None = None
        self.pid = int(_line(program, 300))
        self.stdin = open(streams[0], "wb", buffering=0)
        self.stdout, self.stderr = (open(number, "rb") for number in streams[1:])

    def send_signal(self, number: int) -> None:
        """Send a signal to the process."""
        os.kill(self.pid, number)

    def wait(self, seconds: float = 300) -> int:
        """Return the exit code, once the process has ended."""
        if self.returncode is None:
            self.returncode = int(_line(self.program, seconds))
        return self.returncode

    def close(self) -> None:
        """Close the streams on this side, and end a process that has not been waited for."""
        if self.returncode is None:
            self.send_signal(signal.SIGKILL)
            self.wait()
        for stream in (self.stdin, self.stdout, self.stderr):
            stream.close()


def _line(program: "subprocess.Popen[bytes]", seconds: float) -> bytes:
    answered, _, _ = select.select([program.stdout], [], [], seconds)
    assert answered, f"no answer in {seconds} s"
    return program.stdout.readline()


class Forking:
    """Runs Python code in processes of its own, which begin with the imports done.

    Args:
        imports: code that is run once, before the first fork.
        pipes: a folder for what the processes print.
    """

    def __init__(self, imports: str, pipes: Path) -> None:
        self.pipes, self.count = pipes, 0
        code = _PROGRAM.format(imports=imports.format(pipes=str(pipes)), tests=TESTS)
        self.orders, orders = socket.socketpair()
        self.program = subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": SOURCE},
            bufsize=0,  # of two lines that come at once the second is left for `select`
            stdin=orders.fileno(),
            stdout=subprocess.PIPE,
        )
        orders.close()

    def run(
        self,
        code: str,
        *arguments: str,
        cwd: Path,
        env: Mapping[str, str] = os.environ,
        seconds: float = 300,
    ) -> "subprocess.CompletedProcess[str]":
        """How the code ends, with these words in sys.argv, in this folder and environment."""
        self.count += 1
        out, err = self.pipes / f"{self.count}.out", self.pipes / f"{self.count}.err"
        with open(os.devnull) as stdin, out.open("wb") as stdout, err.open("wb") as stderr:
            streams = [stream.fileno() for stream in (stdin, stdout, stderr)]
            self._order(code, arguments, cwd, env, streams)
        _line(self.program, seconds)
        ended = int(_line(self.program, seconds))
        return subprocess.CompletedProcess(arguments, ended, out.read_text(), err.read_text())

    def start(
        self, code: str, *arguments: str, cwd: Path, env: Mapping[str, str] = os.environ
    ) -> Started:
        """The process as it begins; it must end before another is forked."""
        (stdin, write), (read_out, stdout), (read_err, stderr) = (os.pipe() for _ in range(3))
        self._order(code, arguments, cwd, env, (stdin, stdout, stderr))
        for number in (stdin, stdout, stderr):
            os.close(number)
        return Started(self.program, (write, read_out, read_err))

    def _order(
        self,
        code: str,
        arguments: Sequence[str],
        cwd: Path,
        env: Mapping[str, str],
        streams: Sequence[int],
    ) -> None:
        order = {"code": code, "arguments": arguments, "cwd": str(cwd), "env": dict(env)}
        line = json.dumps(order).encode() + b"\n"
        sent = socket.send_fds(self.orders, [line], streams)
        self.orders.sendall(line[sent:])

    def close(self) -> None:
        """Ends the program."""
        self.orders.close()
        self.program.communicate()
