"""Outputs of each part of a model in one pass, and saved random state."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


@dataclass
class Trace:
    """The first output of each part of a model, in the order in which the parts finished.

    Args:
        outputs: the first tensor of each part's output, by the part's name.
        calls: how often each part was called.
    """

    outputs: dict[str, Tensor] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)

    def called_once(self) -> Iterator[tuple[str, Tensor]]:
        """Outputs of parts that were called once; of others the first is one of many time steps."""
        for name, output in self.outputs.items():
            if self.calls[name] == 1:
                yield name, output


@contextmanager
def traced(model: nn.Module) -> Iterator[Trace]:
    """Records the output of every part of a model while the block runs."""
    trace = Trace()
    handles = [
        part.register_forward_hook(partial(_note, trace, name))
        for name, part in model.named_modules()
        if name
    ]
    try:
        yield trace
    finally:
        for handle in handles:
            handle.remove()


def _note(trace: Trace, name: str, part: nn.Module, args: Any, output: Any) -> None:
    first = _first_tensor(output)
    if first is not None:
        trace.outputs.setdefault(name, first.detach())
        trace.calls[name] = trace.calls.get(name, 0) + 1


def _first_tensor(output: Any) -> Tensor | None:
    """The first in depth-first order: outputs come before the state."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        output = tuple(output.values())
    if isinstance(output, (tuple, list)):
        return next((found for each in output if (found := _first_tensor(each)) is not None), None)
    return None


def shapes_of(model: nn.Module, trace: Trace) -> dict[str, tuple[int, ...]]:
    """The output shape of each part, by its name; of a layer both directions, (B, T, N*H)."""
    shapes = {name: tuple(output.shape) for name, output in trace.outputs.items()}
    for name, part in model.named_modules():
        if name and isinstance(part, nn.ModuleDict) and name not in shapes:
            parts = [shapes.get(f"{name}.{key}") for key in part]
            known = [shape for shape in parts if shape]
            if known and len(known) == len(parts) and len({shape[:-1] for shape in known}) == 1:
                shapes[name] = (*known[0][:-1], sum(shape[-1] for shape in known))
    return shapes


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Restores the random states of torch, numpy and Python after the block."""
    python, numbers = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numbers)
