"""Measures how long a command takes to start, against the imports that no training can do without.

    python benchmarks/start_up.py [--repeat 5] [--clock processor]

The unit is `python -c "import torch, pytorch_lightning, mlflow"`, from the start of the process to
its end. It and all commands run in turn, so that other load on the machine affects each of them;
shown is the median over the rounds. torch has one thread. The store and the prepared data are there
already, as every run but the first one of a folder finds them.

The moment of the first update is a line that a callback prints; the configuration adds it as any
callback of a user's own, `+callbacks.first._target_=first_update.FirstUpdate`.
"""

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

from measuring import Row, add_clock, parser_of, ratio, report

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
ADDED = "+callbacks.first._target_=first_update.FirstUpdate"


class Command(NamedTuple):
    """What follows `python -m seqpipe`, the exit code, and the goal in units or in seconds."""

    words: tuple[str, ...]
    code: int = 0
    units: float | None = None
    seconds: float | None = None


COMMANDS = {
    "one update in all, trainer.max_steps=1": Command(("trainer.max_steps=1",), units=1.35),
    "--help": Command(("--help",), seconds=0.6),
    "--cfg job": Command(("--cfg", "job"), seconds=0.6),
    "a refused key, detph=3": Command(("detph=3",), 2, seconds=0.6),
    "a refused option, cell=lstn": Command(("cell=lstn",), 2, seconds=0.6),
    "a refused value, depth=0": Command(("depth=0",), 2, seconds=0.6),
}
FIRST, FIRST_UNITS = "first update of a default run", 1.2


def whole(command: list[str], folder: Path, clock: str, code: int = 0) -> float:
    """Seconds of a process from its start to its end.

    Raises:
        SystemExit: it ends with another code.
    """
    used, begin = _children(), time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=_environment(), capture_output=True, text=True)
    wall, processor = time.perf_counter() - begin, _children() - used
    if done.returncode != code:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return {"wall": wall, "processor": processor}[clock]


def to_first_update(folder: Path, clock: str) -> float:
    """Seconds of a default run until its first update; then it is ended.

    Raises:
        SystemExit: it makes no update.
    """
    begin = time.perf_counter()
    running = subprocess.Popen(
        [*SEQPIPE, ADDED],
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
        sys.exit(f"{ADDED} made no update")
    running.send_signal(signal.SIGTERM)
    running.communicate()
    return {"wall": wall, "processor": float(line)}[clock]


def _children() -> float:
    """Processor seconds of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}


def rounds(repeat: int, clock: str) -> tuple[list[float], dict[str, list[float]]]:
    """Seconds of the unit and of each command, in turns."""
    units, taken = list[float](), dict[str, list[float]]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "first_update.py").write_text(CALLBACK)
        whole([*SEQPIPE, "trainer.max_steps=1"], folder, clock)
        for _ in range(repeat):
            units.append(whole(UNIT, folder, clock))
            taken.setdefault(FIRST, []).append(to_first_update(folder, clock))
            for what, one in COMMANDS.items():
                seconds = whole([*SEQPIPE, *one.words], folder, clock, one.code)
                taken.setdefault(what, []).append(seconds)
    return units, taken


def main() -> None:
    """Runs the rounds and prints a row for each command."""
    parser = parser_of(__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    add_clock(parser)
    arguments = parser.parse_args()
    units, taken = rounds(arguments.repeat, arguments.clock)
    unit = statistics.median(units)
    rows = []
    for what, seconds in taken.items():
        one = COMMANDS.get(what, Command((), units=FIRST_UNITS))
        median, times = statistics.median(seconds), ratio(seconds, units)
        if one.seconds is None:
            note = f"{median:.2f} s; the imports take {unit:.2f} s"
            rows.append(Row(what, times, one.units, note=note))
        else:
            note = f"{times:.2f} of the imports"
            rows.append(Row(what, median, one.seconds, unit=" s", note=note))
    report(rows, arguments)


if __name__ == "__main__":
    main()
