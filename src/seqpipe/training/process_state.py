"""The random state of one process, and the exchange of values among processes."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, distributed

from seqpipe.data.sampling import rank_and_world


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
