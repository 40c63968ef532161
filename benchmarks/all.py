"""Runs every benchmark of `make bench`, and writes their results into docs/performance.md.

    python benchmarks/all.py [--only kernels training] [--page docs/performance.md]

Each runs in a process of its own, one thread, and writes its rows with `--json`. The page gets one
table between its two markers, with the machine, the versions and the date, and says so if the
machine was not quiet. Without `--page` the table is only printed, and kept in outputs/.
"""

import argparse
import datetime
import os
import subprocess
import sys
from pathlib import Path

from measuring import machine, markdown, noise, read_rows

HERE = Path(__file__).resolve().parent
BENCHMARKS = {
    "training": "the training loop",
    "kernels": "recurrent kernels",
    "start_up": "starting",
    "threads": "threads",
    "sweeps": "a grid of 24 runs",
    "generation": "sampling and translating",
    "predicting": "predicting",
    "cost": "growth of the cost",
    "gpu": "on a GPU",
}
"""The files that run, in this order, and the titles of their tables."""
START, END = "<!-- results: start -->", "<!-- results: end -->"
WITHOUT_ROWS = {"gpu": "unmeasured, no device"}
"""Why a benchmark that ended well may have no rows."""


def main() -> None:
    """Runs the benchmarks, prints the tables and writes them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=list(BENCHMARKS), choices=list(BENCHMARKS))
    parser.add_argument("--results", type=Path, default=Path("outputs/benchmarks"))
    parser.add_argument("--page", type=Path, help="the page that gets the tables")
    arguments = parser.parse_args()
    arguments.results.mkdir(parents=True, exist_ok=True)
    reasons = noise()
    tables = []
    for name in arguments.only:
        file = arguments.results / f"{name}.jsonl"
        file.unlink(missing_ok=True)
        command = [sys.executable, str(HERE / f"{name}.py"), "--json", str(file)]
        print(f"## {' '.join(command[1:])}", flush=True)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        if name in ("threads", "sweeps"):  # which measure or divide them
            del environment["OMP_NUM_THREADS"]
        failed = subprocess.run(command, env=environment, check=False).returncode
        rows = read_rows(file) if file.is_file() else []
        heading = f"### {BENCHMARKS[name][0].upper()}{BENCHMARKS[name][1:]} (`{name}.py`)"
        why = "not measured" if failed else WITHOUT_ROWS.get(name, "not measured")
        tables.append(f"{heading}\n\n{markdown(rows) if rows else why}")
        if failed:
            tables.append(f"`{name}.py` ended with exit code {failed}.")
    reasons += [f"at the end: {reason}" for reason in noise(own=1.0)]
    text = "\n\n".join([preamble(reasons), *tables])
    (arguments.results / "results.md").write_text(text + "\n")
    print(text)
    if arguments.page is not None:
        page = arguments.page.read_text()
        before, rest = page.split(START)
        arguments.page.write_text(f"{before}{START}\n{text}\n{END}{rest.split(END)[1]}")


def preamble(reasons: list[str]) -> str:
    """The machine, and whether it was quiet."""
    lines = [f"Measured on {datetime.date.today().isoformat()}.", ""]
    found = {**machine(), "threads": "1, except in threads.py and sweeps.py"}
    lines += [f"- {name}: {value}" for name, value in found.items()]
    quiet = "yes" if not reasons else f"**no**: {'; '.join(reasons)}"
    return "\n".join([*lines, f"- quiet: {quiet}"])


if __name__ == "__main__":
    main()
