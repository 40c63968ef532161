"""Turns of two programs that train: each waits until it is told to run, and reports its seconds.

The two run in processes of their own, so that neither changes the memory of the other, and in
turns, so that a busy machine slows both. A program that is measured reads its orders from a pipe
and writes its results, as JSON, to another; the environment holds the numbers of the pipes. torch
is not imported here.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from measuring import CLOCKS, peak_memory

HERE = Path(__file__).resolve().parent
PIPES, CLOCK = "BENCHMARK_PIPES", "BENCHMARK_CLOCK"


class Turns:
    """The side of the program that is measured."""

    def __init__(self) -> None:
        orders, results = (int(number) for number in os.environ[PIPES].split())
        self._orders, self._results = os.fdopen(orders), os.fdopen(results, "w")
        self.now: Callable[[], float] = CLOCKS[os.environ[CLOCK]]

    def wait(self) -> None:
        """Returns when it is this program's turn; ends the process where there is none left."""
        if self._orders.readline() != "go\n":
            os._exit(0)

    def report(self, **result: float) -> None:
        """Ends the turn. The peak of the memory so far is added."""
        print(json.dumps({**result, "memory": peak_memory()}), file=self._results, flush=True)


class Program:
    """The side that measures: a program in a process of its own.

    Args:
        command: of the program.
        folder: it runs in.
        clock: that it reads.
        first: its report after the warm-up.

    Attributes:
        reports: of its turns so far.
    """

    def __init__(self, command: Sequence[str], folder: Path, clock: str) -> None:
        theirs, self._orders = os.pipe()
        self._results, mine = os.pipe()
        self._log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env={**environment(), PIPES: f"{theirs} {mine}", CLOCK: clock},
            pass_fds=(theirs, mine),
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        os.close(theirs)
        os.close(mine)
        self._reader = os.fdopen(self._results)
        self.first = self._read()
        self.reports: list[dict[str, Any]] = []

    def turn(self) -> dict[str, Any]:
        """Lets the program run, and returns its report."""
        os.write(self._orders, b"go\n")
        self.reports.append(self._read())
        return self.reports[-1]

    def _read(self) -> dict[str, Any]:
        line = self._reader.readline()
        if not line:
            self.process.wait()
            self._log.seek(0)
            raise SystemExit(self._log.read().decode(errors="replace")[-4000:])
        found: dict[str, Any] = json.loads(line)
        return found

    def end(self) -> None:
        """Ends the program."""
        os.close(self._orders)
        self._reader.close()
        self._log.close()
        self.process.kill()
        self.process.wait()


def environment() -> dict[str, str]:
    """That of a measured program: one thread, our source and these files on its path."""
    path = os.pathsep.join([str(HERE), str(HERE.parent / "src")])
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": path}


@contextlib.contextmanager
def running(
    commands: dict[str, Sequence[str]], folder: Path, clock: str
) -> Iterator[dict[str, Program]]:
    """Starts programs one after the other, each through its warm-up; ends them at the end."""
    programs: dict[str, Program] = {}
    try:
        for name, command in commands.items():
            programs[name] = Program(command, folder, clock)
        yield programs
    finally:
        for program in programs.values():
            program.end()


def bare_memory(imports: str) -> float:
    """Most megabytes that a process holds which only imports some modules."""
    code = f"import {imports}, measuring; print(measuring.peak_memory())"
    command = [sys.executable, "-c", code]
    return float(subprocess.run(command, env=environment(), capture_output=True, check=True).stdout)
