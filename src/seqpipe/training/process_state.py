"""State of one process for checkpoints: random numbers, running sums; and what processes exchange.

The only module that writes the state of a metric, which torchmetrics has no public way to do.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, distributed
from torchmetrics import Metric


def rank() -> int:
    """The number of this process; 0 if it trains alone."""
    return distributed.get_rank() if _together() else 0


def gather(value: Any) -> list[Any]:
    """The value of each process, by rank. All processes must call it."""
    if not _together():
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The state of the generators of the CPU and, if the device is one, of the GPU."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_random_state(state: Mapping[str, Tensor], device: torch.device) -> None:
    """Continues with the numbers that would have come next when the state was saved."""
    torch.set_rng_state(state["cpu"].cpu())
    if "cuda" in state and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)


Sums = dict[str, dict[str, Tensor]]
"""metric -> state -> value."""


def saved_sums(metrics: Mapping[str, Metric]) -> Sums:
    """The sums of this process, on the CPU, without those of metrics that have seen no batch."""
    return {
        name: {part: torch.as_tensor(v).cpu() for part, v in metric.metric_state.items()}
        for name, metric in metrics.items()
        if metric.update_called
    }


def restore_sums(metrics: Mapping[str, Metric], sums: Sums) -> None:
    """Continues with saved sums; metrics and states that either side lacks are passed over."""
    for name in metrics.keys() & sums.keys():
        held = metrics[name].metric_state
        for part in held.keys() & sums[name].keys():
            value, like = sums[name][part], torch.as_tensor(held[part])
            setattr(metrics[name], part, value.to(like.device, like.dtype))
        metrics[name]._update_count = 1  # else torchmetrics warns: nothing to compute
