"""Trains on every real data set with one command each, for the table in docs/data.md.

    SEQPIPE_SHARED=../shared python benchmarks/data_sets.py [--only sst2 names] [--keep-seconds]
    python benchmarks/data_sets.py --table

Measures for each set: the examples of each split, the seconds to prepare it (with an empty cache),
the steps per second that the loader yields over one epoch, and the test metric after training. A
baseline (logistic regression or counting) is shown beside the metric; a model below it has not
learned. The results are kept in docs/data_sets.json with the commit, so that single sets can be
measured again; `--table` only writes the table. Seconds depend on the load of the machine, test
metrics do not: on a busy machine `--keep-seconds` keeps the old seconds. On two cores all sets took
about an hour.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import yaml

HERE = Path(__file__).resolve().parent.parent
PAGE, RESULTS = HERE / "docs" / "data.md", HERE / "docs" / "data_sets.json"
HERE_FIRST = {
    **os.environ,
    "PYTHONPATH": str(HERE / "src"),  # this checkout, whatever is installed
    "OMP_NUM_THREADS": "1",  # the number of threads changes the last digits, and what they grow to
}
SECONDS = ("prepare", "again", "rate", "seconds")  # of what is kept, what the load changes
START, END = "<!-- table: made by benchmarks/data_sets.py -->", "<!-- end of the table -->"


class Set(NamedTuple):
    """One data set.

    Args:
        name: of data=NAME and its recipe, experiment=NAME.
        folder: under data/ of the shared folder, for data.path.
        metric: of the test split.
        baseline: what it has to beat; None where there is too little to learn from.
        better: `>` or `<`.
        why: what reaches the baseline, or why there is none.
        more: overrides beside data and data.path.
    """

    name: str
    folder: str
    metric: str
    baseline: float | None
    better: str
    why: str
    more: str = ""


SETS = [Set(**row) for row in yaml.safe_load((HERE / "benchmarks" / "data_sets.yaml").read_text())]


def main() -> None:
    """Measures what was asked for and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=None, metavar="NAME", help="of data=NAME")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    parser.add_argument(
        "--keep-seconds", action="store_true", help="a busy machine: leave the seconds as they are"
    )
    parser.add_argument("--shared", default=os.environ.get("SEQPIPE_SHARED", "../shared"))
    arguments = parser.parse_args()
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    for one in SETS:
        if arguments.table or (arguments.only is not None and one.name not in arguments.only):
            continue
        print(f"{one.name} ...", end=" ", flush=True)
        before = results.get(one.name, {}) if arguments.keep_seconds else {}
        found = measured(one, Path(arguments.shared) / "data" / one.folder)
        kept = {name: before[name] for name in SECONDS if name in before}
        results[one.name] = {**found, **kept, "commit": _commit()}
        print(json.dumps(results[one.name]), flush=True)
        RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    write_table(results)


def measured(one: Set, path: Path) -> dict[str, Any]:
    """Prepares and trains in an empty folder."""
    overrides = [f"experiment={one.name}", f"data.path={path.resolve()}", *shlex.split(one.more)]
    with tempfile.TemporaryDirectory() as folder:
        prepared = _child(["--prepare", *overrides], folder)
        report = json.loads(prepared.stdout.strip().splitlines()[-1])
        begin = time.perf_counter()
        run = [
            sys.executable,
            "-m",
            "seqpipe",
            *overrides,
            "logger=none",
            f"hydra.run.dir={folder}/run",
        ]
        done = subprocess.run(run, cwd=folder, env=HERE_FIRST, capture_output=True, text=True)
        seconds = time.perf_counter() - begin
        if done.returncode:
            raise SystemExit(f"experiment={one.name} failed:\n{done.stderr[-3000:]}")
        metrics = json.loads((Path(folder) / "run" / "metrics.json").read_text())
    tests = {k: v for k, v in metrics.items() if k.startswith("test/") and v is not None}
    return {**report, "seconds": seconds, "metrics": tests}


def _commit() -> str:
    command = ["git", "rev-parse", "--short=10", "HEAD"]
    return subprocess.run(
        command, cwd=HERE, capture_output=True, text=True, check=True
    ).stdout.strip()


def _child(arguments: list[str], folder: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, __file__, *arguments],
        cwd=folder,
        env=HERE_FIRST,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return done


def prepare(overrides: list[str]) -> None:
    """Prints what preparing took and how fast batches come, as JSON. In a process of its own."""
    from seqpipe.build import build_data
    from seqpipe.config.compose import compose

    cfg, _ = compose(overrides)
    begin = time.perf_counter()
    data = build_data(cfg)
    prepared = time.perf_counter() - begin
    begin = time.perf_counter()
    build_data(cfg)
    again = time.perf_counter() - begin
    steps, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < 1.0:
        for batch in data.loader("train"):
            lengths = batch.y_lengths if batch.x_lengths is None else batch.x_lengths
            steps += int(lengths.sum()) if lengths is not None else len(batch)
            if time.perf_counter() - begin > 3.0:
                break
    rate = steps / (time.perf_counter() - begin)
    print(json.dumps({"sizes": data.sizes, "prepare": prepared, "again": again, "rate": rate}))


def write_table(results: dict[str, Any]) -> None:
    """Replaces the table between its two marks."""
    head = ["set", "command", "train / valid / test", "prepare, s", "again, s", "steps/s"]
    head += ["run, s", "test", "baseline", "beaten"]
    rows = [head, ["---"] * len(head), *(row_of(one, results.get(one.name)) for one in SETS)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    page = PAGE.read_text()
    before, after = page.index(START) + len(START), page.index(END)
    PAGE.write_text(page[:before] + "\n" + "\n".join(lines) + "\n" + page[after:])


def row_of(one: Set, report: dict[str, Any] | None) -> list[str]:
    """One set's row."""
    words = [f"experiment={one.name}", f"data.path=../shared/data/{one.folder}", one.more]
    command = f"`{' '.join(filter(None, words))}`"
    if report is None:
        return [one.folder, command, "not measured", *[""] * 7]
    value = report["metrics"][f"test/{one.metric}"]
    sizes = " / ".join(f"{report['sizes'][split]:,}" for split in ("train", "valid", "test"))
    baseline, verdict = "", ""
    if one.baseline is not None:
        baseline = f"{one.better} {one.baseline:g}: "
        beaten = value >= one.baseline if one.better == ">" else value <= one.baseline
        verdict = "yes" if beaten else "**no**"
    times = [f"{report['prepare']:.1f}", f"{report['again']:.2f}", f"{report['rate']:,.0f}"]
    f1 = {k.rpartition("/")[2]: v for k, v in report["metrics"].items() if k.startswith("test/f1/")}
    shown = f"{one.metric} {value:.4g}"
    if one.metric == "accuracy" and 0 < len(f1) <= 3:
        shown += f" (F1 {', '.join(f'{name} {score:.3f}' for name, score in f1.items())})"
    result = [f"{report['seconds']:.0f}", shown, f"{baseline}{one.why}", verdict]
    return [one.folder, command, sizes, *times, *result]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--prepare"]:
        prepare(sys.argv[2:])
    else:
        main()
