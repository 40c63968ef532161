"""State of one process in a checkpoint: random state, running sums; exchange among processes."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, distributed
from torchmetrics import Metric

from seqpipe.data.sampling import rank_and_world
from seqpipe.tasks.torchmetrics_internals import set_state


def gather(value: Any) -> list[Any]:
    """Return the value of each process, by rank. All processes must call it."""
    _, world = rank_and_world()
    if world == 1:
        return [value]
    values: list[Any] = [None] * world
    distributed.all_gather_object(values, value)
    return values


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Return the state of the generators of the CPU and, for a CUDA device, of the GPU."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_random_state(state: Mapping[str, Tensor], device: torch.device) -> None:
    """Restore the generators: the next numbers are those that followed when it was saved."""
    torch.set_rng_state(state["cpu"].cpu())
    if "cuda" in state and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)


Sums = dict[str, dict[str, Tensor]]
"""metric -> state -> value."""


def saved_sums(metrics: Mapping[str, Metric]) -> Sums:
    """Return the sums of this process on the CPU, for metrics that have seen a batch."""
    return {
        name: {part: torch.as_tensor(v).cpu() for part, v in metric.metric_state.items()}
        for name, metric in metrics.items()
        if metric.update_called
    }


def restore_sums(metrics: Mapping[str, Metric], sums: Sums) -> None:
    """Restore saved sums; metrics and states that only one side has are skipped."""
    for name in metrics.keys() & sums.keys():
        set_state(metrics[name], sums[name])
