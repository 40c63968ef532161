"""What looking into a training costs: diagnostics=default against diagnostics=none, in pairs.

    python benchmarks/diagnostics.py [--pairs 5] [--case digits lm]

Each pair trains the same model twice in one process, once looked into and once not, in an order
that alternates; the ratio is that of the seconds of training (from the first batch to the last,
validations included, pictures and MLflow's store too). The default cadence is what conf/ says.
Two cases: the default model (`python -m seqpipe`), and a language model of two layers of 256
units (`data=python_docs depth=2 hidden_size=256`), cut to a number of updates.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
CASES = {
    "digits": [],
    "lm": ["data=python_docs", "depth=2", "hidden_size=256", "trainer.max_steps=500"],
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
    """Seconds of training in a run of its own, as the run's summary would round it."""
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
    """Trains once in this process; prints the exact seconds as the last line."""
    from seqpipe.config.compose import Launch, compose
    from seqpipe.verbs import describe, train

    seconds = []
    facts = describe.RunFacts

    def noting(*values: object, **more: object) -> describe.RunFacts:
        made = facts(*values, **more)  # type: ignore[arg-type]
        seconds.append(made.seconds)
        return made

    describe.RunFacts = noting  # type: ignore[assignment, misc]
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
