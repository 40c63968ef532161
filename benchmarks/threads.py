"""Compares training steps with one thread, with all cores, and with what `auto` chooses.

    python benchmarks/threads.py [--cases small large] [--pairs 5]

A step is a forward and backward pass of the model of a run on a batch of its data. Steps with one
thread and with one for each core take turns in one process; the ratio is the median over the
turns. `auto` has chosen before, as at the start of a training: its row compares the number that it
chose, which is never slower than one thread if the choice is right. The clock is the wall: threads
of a busy machine wait for each other, so the result says which of its programs ran beside.
"""

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from measuring import Row, in_turns, noise, parser_of, ratio, report

from seqpipe.config.compose import Launch, compose
from seqpipe.processes import THREAD_VARIABLES, usable_cores
from seqpipe.runs.checked_module import build_checked_module
from seqpipe.runs.load_data import load_data
from seqpipe.runs.threads import Threads, choose_threads

CASES = {
    "small": ["data=digits", "hidden_size=64", "bidirectional=true"],  # (B, T, H) = (32, 8, 64)
    "large": ["data=adding", "data.length=128", "data.batch_size=64", "hidden_size=512"],
}
FIXED = ["logger=none", "preflight=none", "diagnostics=none", "trainer.accelerator=cpu"]


def main() -> None:
    """Prints the rows of all cases."""
    parser = parser_of(__doc__)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--pairs", type=int, default=5)
    arguments = parser.parse_args()
    for name in THREAD_VARIABLES:
        os.environ.pop(name, None)  # or there would be nothing to choose
    for reason in noise():
        print(f"not a quiet machine: {reason}")
    rows = [row for case in arguments.cases for row in compared(case, arguments)]
    report(rows, arguments)


def compared(case: str, arguments: argparse.Namespace) -> list[Row]:
    """The ratios of one case."""
    cores = usable_cores()
    step, chosen = prepared(case)
    sides = {str(count): with_threads(count, step) for count in {1, cores, chosen.count}}
    seconds = in_turns(sides, pairs=arguments.pairs, clock="wall")
    medians = {count: 1e3 * statistics.median(each) for count, each in seconds.items()}
    ratios = {count: ratio(each, seconds["1"]) for count, each in seconds.items()}
    note = ", ".join(f"{count}: {time:.1f} ms" for count, time in medians.items())
    auto = f"auto: {chosen.line}"
    return [
        Row(f"{cores} threads / 1 thread, {case} model", ratios[str(cores)], note=note),
        Row(f"auto / 1 thread, {case} model", ratios[str(chosen.count)], 1.0, note=auto),
    ]


def prepared(case: str) -> tuple[Callable[[], None], Threads]:
    """A training step of the case, and the number of threads that a run of it would use."""
    typed = [*CASES[case], *FIXED]
    cfg, choices = compose(typed)
    with tempfile.TemporaryDirectory() as name:
        launch = Launch(Path(name) / "run", Path(name), choices, tuple(typed))
        loaded = load_data(cfg, launch)
        module, _ = build_checked_module(cfg, launch, loaded)
        chosen = choose_threads(cfg, loaded, module)
        (batch,) = loaded.data.loader("train").first(1)

    def step() -> None:
        module.zero_grad()
        module.task.loss(module(batch), batch, training=True).backward()

    return step, chosen


def with_threads(count: int, step: Callable[[], None]) -> Callable[[], None]:
    """The step with this number of threads; the first call after a change starts them."""

    def run() -> None:
        torch.set_num_threads(count)
        step()

    return run


if __name__ == "__main__":
    main()
