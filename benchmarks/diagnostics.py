"""Measures the cost of diagnostics: diagnostics=default against diagnostics=none, in pairs.

    python benchmarks/diagnostics.py [--pairs 5] [--case digits lm]

Each pair trains the same model twice, with and without diagnostics, each in its own process and in
alternating order. The ratio compares processor seconds from the first batch to the last, including
validation, pictures and MLflow's store, but not imports and the report. A second number is the
share of the training time that the diagnostics took, measured in one process: if the speed of the
machine varies between processes by more than the ratio shows, use the share. The cadence is that of
conf/. There are two cases: the default model (`experiment=digits`), and a language model with two
layers of 256 units (`experiment=python_docs depth=2 hidden_size=256`) for 600 updates, measured at
the start, after 500 updates and at the end.
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
    "digits": ["experiment=digits"],
    "lm": ["experiment=python_docs", "depth=2", "hidden_size=256", "trainer.max_steps=600"],
}
OFF = ["diagnostics=none"]


def main() -> None:
    """Prints the seconds of each run, and the median of the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--case", nargs="*", default=list(CASES), choices=list(CASES))
    arguments = parser.parse_args()
    for case in arguments.case:
        ratios, shares = [], []
        for pair in range(arguments.pairs):
            order = [False, True] if pair % 2 else [True, False]
            found = {looked: trained(case, looked) for looked in order}
            seconds = {looked: one["seconds"] for looked, one in found.items()}
            ratios.append(seconds[True] / seconds[False])
            shares.append(found[True]["looking"] / seconds[True])
            print(
                f"{case}: {seconds[True]:.2f} s with, of which {found[True]['looking']:.2f} s "
                f"looking ({shares[-1]:.1%}), {seconds[False]:.2f} s without, "
                f"ratio {ratios[-1]:.3f}",
                flush=True,
            )
        print(
            f"{case}: median share {statistics.median(shares):.1%}, median ratio "
            f"{statistics.median(ratios):.3f} (from {min(ratios):.3f} to {max(ratios):.3f})",
            flush=True,
        )


def trained(case: str, looked: bool) -> dict[str, float]:
    """Seconds of the processor in the training of a run of its own, and those of looking."""
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
        told: dict[str, float] = json.loads(result.stdout.splitlines()[-1])
        return told


def one(overrides: list[str]) -> None:
    """Trains once in this process; prints the seconds of the training as the last line.

    Of the processor, all threads together: other programs on the machine have no say in it.
    """
    import matplotlib.backends.backend_agg  # every run draws, but one that is looked into sooner

    from seqpipe.commands import train
    from seqpipe.config.compose import Launch, compose
    from seqpipe.diagnostics.free_running import FreeRunning
    from seqpipe.diagnostics.probe import Probe

    assert matplotlib
    seconds, looking = [0.0], [0.0]
    timed(train, "fit", seconds)
    for name in ("on_train_start", "on_train_batch_end", "on_train_end"):
        timed(Probe, name, looking)
    timed(FreeRunning, "on_validation_epoch_end", looking)
    typed = ["trainer.enable_progress_bar=false", *overrides]
    cfg, choices = compose(typed)
    root = Path.cwd()
    train.run(cfg, Launch(root / "outputs" / "runs" / "one", root, choices, tuple(typed)))
    print(json.dumps({"seconds": seconds[0], "looking": looking[0]}))


def timed(owner: Any, name: str, total: list[float]) -> None:
    """From now on each call adds the processor's seconds to `total`."""
    function = getattr(owner, name)

    def run(*arguments: Any) -> Any:
        begin = time.process_time()
        try:
            return function(*arguments)
        finally:
            total[0] += time.process_time() - begin

    setattr(owner, name, run)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2:])
    else:
        main()
