"""The random state of one process, and the exchange of values among processes."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import distributed

from seqpipe.data.sampling import rank_and_world


def gather(value: Any) -> list[Any]:
    """Return the value of each process, by rank. All processes must call it."""
    _, world = rank_and_world()
    if world == 1:
        return [value]
    values: list[Any] = [None] * world
    distributed.all_gather_object(values, value)
    return values


def random_state(device: torch.device) -> dict[str, Any]:
    """Return the state of the generators of torch, Python and numpy, and of a CUDA device."""
    version, words, gauss = random.getstate()
    numpy = np.random.get_state(legacy=False)
    assert isinstance(numpy, dict)
    key = torch.from_numpy(numpy["state"]["key"].astype(np.int64))
    state = {
        "cpu": torch.get_rng_state(),
        "python": [version, torch.tensor(words), gauss],
        "numpy": [key, numpy["state"]["pos"], numpy["has_gauss"], numpy["gauss"]],
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Restore the generators: the next numbers are those that followed when it was saved."""
    torch.set_rng_state(state["cpu"].cpu())
    if "python" in state:  # older checkpoints have only that of torch
        version, words, gauss = state["python"]
        random.setstate((version, tuple(words.tolist()), gauss))
        key, *more = state["numpy"]
        np.random.set_state(("MT19937", key.cpu().numpy().astype(np.uint32), *more))
    if "cuda" in state and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)
