"""Measures how long a command takes to start, against the imports that no training can do without.

    python benchmarks/start_up.py [--repeat 5]

The unit is `python -c "import torch, pytorch_lightning, mlflow"`, from the start of the process to
its end. It and all commands run in turn, so that other load on the machine affects each of them;
shown is the median over the rounds of the ratio to the unit, by the clock and by processor time (of
a machine that is busy, believe the second). torch has one thread. The store and the prepared data
are there already, as every run but the first one of a folder finds them.

The moment of the first update is a line that a callback prints; the configuration adds it as any
callback of a user's own, `+callbacks.first._target_=first_update.FirstUpdate`.
"""

import argparse
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

UNIT = [sys.executable, "-c", "import torch, pytorch_lightning, mlflow"]
SEQPIPE = [sys.executable, "-m", "seqpipe"]
CALLBACK = """
import time
from pytorch_lightning import Callback

class FirstUpdate(Callback):
    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == 1:
            print(time.process_time(), flush=True)
"""


class Times(NamedTuple):
    """Seconds of a process: by the clock, and of the processor."""

    wall: float
    processor: float


class Row(NamedTuple):
    """A command, its goal, the words after `python -m seqpipe`, and its exit code."""

    what: str
    goal: str
    words: list[str]
    code: int = 0


ADDED = "+callbacks.first._target_=first_update.FirstUpdate"
FIRST = Row("first update of a default run", "<= 1.2", [ADDED])
ROWS = [
    Row("trainer.max_steps=1, in all", "<= 1.35", ["trainer.max_steps=1"]),
    Row("--help", "< 0.6 s", ["--help"]),
    Row("--cfg job", "< 0.6 s", ["--cfg", "job"]),
    Row("a refused key, detph=3", "< 0.6 s", ["detph=3"], 2),
    Row("a refused option, cell=lstn", "< 0.6 s", ["cell=lstn"], 2),
    Row("a refused value, depth=0", "< 0.6 s", ["depth=0"], 2),
]


def whole(command: list[str], folder: Path, code: int = 0) -> Times:
    """The times of a process from its start to its end.

    Raises:
        SystemExit: it ends with another code.
    """
    used, begin = _children(), time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=_environment(), capture_output=True, text=True)
    times = Times(time.perf_counter() - begin, _children() - used)
    if done.returncode != code:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return times


def to_first_update(folder: Path) -> Times:
    """The times of a default run until its first update; then it is ended.

    Raises:
        SystemExit: it makes no update.
    """
    begin = time.perf_counter()
    running = subprocess.Popen(
        [*SEQPIPE, *FIRST.words],
        cwd=folder,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert running.stdout is not None
    line = running.stdout.readline()
    wall = time.perf_counter() - begin
    if not line:
        sys.exit(f"{' '.join(FIRST.words)} made no update")
    running.send_signal(signal.SIGTERM)
    running.communicate()
    return Times(wall, float(line))


def _children() -> float:
    """Processor seconds of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}


def main() -> None:
    """Runs the rounds and prints a row for each command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    units, taken = list[Times](), dict[str, list[Times]]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "first_update.py").write_text(CALLBACK)
        whole([*SEQPIPE, "trainer.max_steps=1"], folder)
        for _ in range(arguments.repeat):
            units.append(whole(UNIT, folder))
            taken.setdefault(FIRST.what, []).append(to_first_update(folder))
            for row in ROWS:
                times = whole([*SEQPIPE, *row.words], folder, row.code)
                taken.setdefault(row.what, []).append(times)
    seconds = [statistics.median(column) for column in zip(*units, strict=True)]
    print(f"{UNIT[2]}: {seconds[0]:.2f} s, {seconds[1]:.2f} s of the processor")
    print(f"{'what':30}{'goal':>9}{'ratio':>8}{'of processor time':>20}{'seconds':>10}")
    for row in [FIRST, *ROWS]:
        pairs = list(zip(taken[row.what], units, strict=True))
        wall = statistics.median(one.wall / unit.wall for one, unit in pairs)
        processor = statistics.median(one.processor / unit.processor for one, unit in pairs)
        median = statistics.median(one.wall for one in taken[row.what])
        print(f"{row.what:30}{row.goal:>9}{wall:8.2f}{processor:20.2f}{median:10.2f}")


if __name__ == "__main__":
    main()
