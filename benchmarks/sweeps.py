"""Times a grid of 24 runs: two workers, one process, and one command after another.

    python benchmarks/sweeps.py [--repeat 1] [--epochs 2]

The grid is cell x depth x seed on `digits`: 3 x 2 x 4. `-m ... launcher=joblib workers=2` imports
torch once per worker, `-m` once, and 24 commands 24 times. The ways run in turns, each in a folder
of its own in which the data is prepared and the store exists. Threads are left to seqpipe: each
worker gets its share of the cores.
"""

import itertools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import Row, noise, parser_of, ratio, report

SEQPIPE = [sys.executable, "-m", "seqpipe"]
GRID = {"cell": ["rnn", "gru", "lstm"], "depth": ["1", "2"], "seed": ["0", "1", "2", "3"]}
SHORT = ("data=digits", "diagnostics=none", "baselines=false", "hidden_size=64")
PARALLEL = ("launcher=joblib", "workers=2")
WAYS = ("workers=2", "one process", "one by one")


def main() -> None:
    """Runs the grid in each way and prints the ratios."""
    parser = parser_of(__doc__)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=2)
    arguments = parser.parse_args()
    for reason in noise():
        print(f"not a quiet machine: {reason}")
    words = [*SHORT, f"trainer.max_epochs={arguments.epochs}"]
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    for turn in range(arguments.repeat):
        for way in WAYS if turn % 2 == 0 else reversed(WAYS):
            taken[way].append(seconds_of(way, words))
            print(f"{way}: {taken[way][-1]:.1f} s", flush=True)
    note = ", ".join(f"{way} {min(seconds):.0f} s" for way, seconds in taken.items())
    parallel = taken["workers=2"]
    rows = [
        Row(
            "24 runs, workers=2, to one by one",
            ratio(parallel, taken["one by one"]),
            1.0,
            note=note,
        ),
        Row("24 runs, workers=2, to -m", ratio(parallel, taken["one process"]), 1.0, note=note),
    ]
    report(rows, arguments)


def seconds_of(way: str, words: list[str]) -> float:
    """Seconds of the whole grid in one way, in a new folder."""
    swept = [f"{key}={','.join(values)}" for key, values in GRID.items()]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run([*SEQPIPE, *words, "trainer.max_steps=1"], folder)
        begin = time.perf_counter()
        if way == "one by one":
            for values in itertools.product(*GRID.values()):
                pairs = [f"{key}={value}" for key, value in zip(GRID, values, strict=True)]
                run([*SEQPIPE, *pairs, *words], folder)
        else:
            more = PARALLEL if way == "workers=2" else ()
            run([*SEQPIPE, "-m", *swept, *words, *more], folder)
        return time.perf_counter() - begin


def run(command: list[str], folder: Path) -> None:
    """Runs a command to its end.

    Raises:
        SystemExit: it fails.
    """
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        environment.pop(name, None)  # or there would be nothing to divide
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    main()
