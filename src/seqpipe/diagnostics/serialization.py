"""A look as a checkpoint can hold it: one tensor of bytes, plain values in it, no code.

A look has dozens of small arrays, and a checkpoint is written every epoch: tensor by tensor that
would cost more than all looks together. So each look is packed once, when it is taken.
"""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqpipe.diagnostics.cell_stats import Histogram, InsideCell
from seqpipe.diagnostics.gradients import ThroughTime
from seqpipe.diagnostics.stepwise import LayerName


def packed(tree: Any) -> Tensor:
    """Plain containers and numpy arrays as one tensor, (N,) uint8."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}

    def plain(part: Any) -> Any:
        if isinstance(part, np.ndarray):
            name = f"array{len(arrays)}"
            arrays[name] = part
            return {"array": name}
        if isinstance(part, dict):
            return {name: plain(value) for name, value in part.items()}
        return [plain(value) for value in part] if isinstance(part, (list, tuple)) else part

    told = json.dumps(plain(tree)).encode()
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, told=np.frombuffer(told, dtype=np.uint8), **arrays)
    return torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)


def unpacked(bytes_of: Tensor) -> Any:
    """What `packed` was given, tuples as lists. Nothing in it is run."""
    with np.load(io.BytesIO(bytes_of.cpu().numpy().tobytes()), allow_pickle=False) as arrays:

        def plain(part: Any) -> Any:
            if isinstance(part, dict) and set(part) == {"array"}:
                return arrays[part["array"]]
            if isinstance(part, dict):
                return {name: plain(value) for name, value in part.items()}
            return [plain(value) for value in part] if isinstance(part, list) else part

        return plain(json.loads(arrays["told"].tobytes()))


def plain_gradients(found: list[ThroughTime]) -> list[dict[str, Any]]:
    """For `packed`."""
    return [
        {
            "layer": tuple(one.layer),
            "loss": one.loss,
            "norms": one.norms,
            "lengths": one.lengths,
            "fits": one.fits,
        }
        for one in found
    ]


def gradients_of(saved: list[dict[str, Any]]) -> list[ThroughTime]:
    """What `plain_gradients` was made of."""
    return [ThroughTime(**{**one, "layer": LayerName(*one["layer"])}) for one in saved]


def plain_cells(found: list[InsideCell]) -> list[dict[str, Any]]:
    """For `packed`."""
    return [
        {
            "layer": tuple(one.layer),
            "saturated": dict(one.saturated),
            "memory": one.memory,
            "radius": one.radius,
            "spread": {name: [h.counts, h.edges] for name, h in one.spread.items()},
        }
        for one in found
    ]


def cells_of(saved: list[dict[str, Any]]) -> list[InsideCell]:
    """What `plain_cells` was made of."""
    return [
        InsideCell(
            LayerName(*one["layer"]),
            one["saturated"],
            one["memory"],
            one["radius"],
            {name: Histogram(*pair) for name, pair in one["spread"].items()},
        )
        for one in saved
    ]
