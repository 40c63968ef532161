"""Measures the cost of tracking 12 metrics in every training step of 20 ms with MLflow.

    python benchmarks/tracking.py

Prints the ratio of the time of a step with a tracker to the time without; it must be under 1.05.
Steps of both kinds alternate, so that other load on the machine affects both; on a busy machine use
the second line. A step is a fixed amount of real work that takes one core 20 ms, because sleeping
would hide the cost.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

from seqpipe.tracking.base import recording
from seqpipe.tracking.mlflow import MLflowTracker

METRICS = 12
STEP_SECONDS = 0.020
KINDS = ("without", "with")


def make_step() -> tuple[nn.Module, torch.Tensor]:
    """An LSTM and a batch of such a length that forward and backward take about 20 ms."""
    lstm, T_x = nn.LSTM(32, 64, batch_first=True), 8
    while True:
        x = torch.randn(32, T_x, 32)
        times = [timed(lstm, x) for _ in range(10)]
        if statistics.median(times[2:]) >= STEP_SECONDS:
            return lstm, x
        T_x += 4


def timed(lstm: nn.Module, x: torch.Tensor) -> float:
    """Processor seconds for one forward and backward pass."""
    begin = time.process_time()
    lstm.zero_grad()
    lstm(x)[0].square().mean().backward()
    return time.process_time() - begin


def main() -> None:
    """Runs the pairs and prints the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--flush-seconds", type=float, default=2.0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lstm, x = make_step()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        uri = "sqlite:///outputs/mlflow.db"
        tracker = MLflowTracker(root, root, uri, None, arguments.flush_seconds)
        with recording(tracker):
            tracker.start(run_name="cost", experiment="cost", params={}, tags={}, datasets={})
            wall, cpu = run_pairs(tracker, lstm, x, arguments.pairs)
    for name, seconds in (("wall clock", wall), ("processor", cpu)):
        without, with_tracking = (1000 * seconds[kind] / arguments.pairs for kind in KINDS)
        print(
            f"{name:10}  without {without:6.2f} ms  with {with_tracking:6.2f} ms  "
            f"ratio {with_tracking / without:.3f}"
        )


def run_pairs(
    tracker: MLflowTracker, lstm: nn.Module, x: torch.Tensor, pairs: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds spent in steps of each kind: by the clock, and of this process alone."""
    wall, cpu = dict.fromkeys(KINDS, 0.0), dict.fromkeys(KINDS, 0.0)
    for step in range(pairs):
        for kind in KINDS if step % 2 else reversed(KINDS):
            begin = time.perf_counter(), time.process_time()
            timed(lstm, x)
            if kind == "with":
                metrics = {f"train/metric_{k}": step / (k + 1) for k in range(METRICS)}
                tracker.logger.log_metrics(metrics, step)
                tracker.logger.save()  # as Lightning does
            wall[kind] += time.perf_counter() - begin[0]
            cpu[kind] += time.process_time() - begin[1]
    return wall, cpu


if __name__ == "__main__":
    main()
