"""What looking into a training costs: diagnostics=default against diagnostics=none, in pairs.

    python benchmarks/diagnostics.py [--pairs 5] [--case digits lm]

Each pair trains the same model twice, each in a process of its own, once looked into and once not,
in an order that alternates. The ratio is that of the processor's seconds in the training, from the
first batch to the last: validations, pictures and MLflow's store are in it, and what both do before
and after (imports, the report) is not. The cadence is what conf/ says. Two cases: the default model
(`python -m seqpipe`), and a language model of two layers of 256 units (`data=python_docs depth=2
hidden_size=256`), cut to a number of updates.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent
CASES = {
    "digits": [],
    "lm": ["data=python_docs", "depth=2", "hidden_size=256", "trainer.max_steps=150"],
}
OFF = ["diagnostics=none"]


def main() -> None:
    """Prints the seconds of each run, and the median of the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--case", nargs="*", default=list(CASES), choices=list(CASES))
    arguments = parser.parse_args()
    for case in arguments.case:
        ratios = []
        for pair in range(arguments.pairs):
            order = [False, True] if pair % 2 else [True, False]
            seconds = {looked: trained(case, looked) for looked in order}
            ratios.append(seconds[True] / seconds[False])
            print(
                f"{case}: {seconds[True]:.2f} s with, {seconds[False]:.2f} s without, "
                f"ratio {ratios[-1]:.3f}",
                flush=True,
            )
        print(
            f"{case}: median ratio {statistics.median(ratios):.3f} "
            f"(from {min(ratios):.3f} to {max(ratios):.3f})",
            flush=True,
        )


def trained(case: str, looked: bool) -> float:
    """Seconds of the processor in the training of a run of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--one", *CASES[case], *([] if looked else OFF)]
        result = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(HERE / "src")},
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            raise SystemExit(result.stderr)
        return float(json.loads(result.stdout.splitlines()[-1])["seconds"])


def one(overrides: list[str]) -> None:
    """Trains once in this process; prints the seconds of the training as the last line.

    Of the processor, all threads together: other programs on the machine have no say in it.
    """
    import matplotlib.backends.backend_agg  # every run draws, but one that is looked into sooner

    from seqpipe.config.compose import Launch, compose
    from seqpipe.verbs import train

    assert matplotlib

    seconds = []
    fit = train._fit

    def timed(*arguments: Any) -> float:
        begin = time.process_time()
        told = fit(*arguments)
        seconds.append(time.process_time() - begin)
        return told

    train._fit = timed
    typed = ["trainer.enable_progress_bar=false", *overrides]
    cfg, choices = compose(typed)
    root = Path.cwd()
    train.run(cfg, Launch(root / "outputs" / "runs" / "one", root, choices, tuple(typed)))
    print(json.dumps({"seconds": seconds[0]}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2:])
    else:
        main()
