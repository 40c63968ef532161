"""What the benchmarks share: pairs of times, the machine, whether it is quiet, rows of results.

torch is imported where it is needed: a process that only starts others stays small.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
QUIET_LOAD = 0.3
"""Programs that may run beside a benchmark, on average of the last minute."""
QUIET_SPREAD = 0.05
"""Difference between the slowest and the fastest of nine tenths of the calibration's loops."""


@dataclass(frozen=True)
class Row:
    """One result.

    Args:
        what: is measured.
        value: the result, mostly a ratio of times.
        goal: None: the result is only printed.
        at_least: True: the goal is a lower bound; False: an upper one.
        unit: after the value; none for a ratio.
        note: what ran, absolute times.
    """

    what: str
    value: float
    goal: float | None = None
    at_least: bool = False
    unit: str = ""
    note: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; None: there is none."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.at_least else self.value <= self.goal

    def cells(self) -> list[str]:
        """What, goal, value, reached, note."""
        bound = ">=" if self.at_least else "<="
        goal = "" if self.goal is None else f"{bound} {self.goal:g}{self.unit}"
        reached = {True: "yes", False: "no", None: ""}[self.reached]
        return [self.what, goal, f"{self.value:.3g}{self.unit}", reached, self.note]


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark has."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="also add the results to this file, one a line")
    return parser


def add_clock(parser: argparse.ArgumentParser) -> None:
    """The option that chooses how seconds are counted."""
    text = "processor: seconds of this process, which others on the machine lengthen less"
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help=text)


def report(rows: Sequence[Row], arguments: argparse.Namespace) -> None:
    """Prints the rows as a table, and adds them to the file of `--json`."""
    print(markdown(rows))
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        with arguments.json.open("a") as file:
            file.writelines(json.dumps(asdict(row)) + "\n" for row in rows)


def read_rows(path: Path) -> list[Row]:
    """The rows that `report` wrote."""
    return [Row(**json.loads(line)) for line in path.read_text().splitlines()]


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table, its columns aligned."""
    table = [["what", "goal", "result", "reached", "note"], *(row.cells() for row in rows)]
    widths = [max(len(cells[place]) for cells in table) for place in range(5)]
    lines = [
        "| "
        + " | ".join(f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True))
        + " |"
        for cells in table
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def in_turns(
    sides: dict[str, Callable[[], object]], *, pairs: int, clock: str, warm_up: int = 3
) -> dict[str, list[float]]:
    """Seconds of each side, `pairs` times each, in turns and in alternating order."""
    now = CLOCKS[clock]
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(-warm_up, pairs):
        for name in list(sides) if turn % 2 else reversed(sides):
            begin = now()
            sides[name]()
            if turn >= 0:
                seconds[name].append(now() - begin)
    return seconds


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median of the ratios of pairs."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def machine() -> dict[str, str]:
    """The processor, its cores and what it can do; torch and its threads."""
    import torch

    names = {"avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_tile"}
    info = _cpu_info()
    build = torch.__config__.show()
    onednn = build.partition("MKL-DNN v")[2].partition(" ")[0] or "?"
    return {
        "processor": info.get("model name", "unknown"),
        "cores": str(os.cpu_count()),
        "instructions": " ".join(sorted(names & set(info.get("flags", "").split()))) or "unknown",
        "torch": f"{torch.__version__}, oneDNN {onednn}",
        "threads": str(torch.get_num_threads()),
    }


def _cpu_info() -> dict[str, str]:
    """The first processor's entries in /proc/cpuinfo; empty where there is no such file."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().split("\n\n")[0].splitlines() if path.is_file() else []
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs}


def has_bf16() -> bool:
    """Whether the processor multiplies in bfloat16."""
    return bool({"avx512_bf16", "amx_bf16"} & set(_cpu_info().get("flags", "").split()))


def noise(own: float = 0.0) -> list[str]:
    """Reasons why times measured now could be wrong; empty on a quiet machine.

    own: programs of the benchmark itself that ran during the last minute.
    """
    reasons = []
    load = max(0.0, os.getloadavg()[0] - own)
    if load > QUIET_LOAD:
        reasons.append(f"{load:.2f} other programs ran during the last minute")
    spread = calibration_spread()
    if spread > QUIET_SPREAD:
        reasons.append(f"equal loops differ by {spread:.0%}")
    return reasons


def calibration_spread(loops: int = 40) -> float:
    """How much the wall clock of one fixed loop varies, without the slowest tenth."""
    times = []
    for _ in range(loops):
        begin = time.perf_counter()
        sum(range(500_000))
        times.append(time.perf_counter() - begin)
    times.sort()
    return times[loops * 9 // 10 - 1] / times[0] - 1


def peak_memory() -> float:
    """Most megabytes that this process has held, what it was forked from not included."""
    status = Path("/proc/self/status")
    if status.is_file():  # ru_maxrss of a new process starts at what its parent held
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
