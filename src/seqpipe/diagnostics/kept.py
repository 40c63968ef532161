"""Looks as a checkpoint can hold them: plain containers and tensors, no code."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from seqpipe.diagnostics.cells import Histogram, InsideCell
from seqpipe.diagnostics.gradients import ThroughTime
from seqpipe.diagnostics.recording import LayerName


def plain_gradients(found: list[ThroughTime]) -> list[dict[str, Any]]:
    """For `torch.save`."""
    return [
        {
            "layer": tuple(one.layer),
            "loss": one.loss,
            "norms": torch.from_numpy(one.norms),
            "lengths": torch.from_numpy(one.lengths),
            "fits": one.fits,
        }
        for one in found
    ]


def gradients_of(saved: list[dict[str, Any]]) -> list[ThroughTime]:
    """What `plain_gradients` was made of."""
    return [
        ThroughTime(
            LayerName(*one["layer"]),
            one["loss"],
            one["norms"].cpu().numpy(),
            one["lengths"].cpu().numpy(),
            one["fits"],
        )
        for one in saved
    ]


def plain_cells(found: list[InsideCell]) -> list[dict[str, Any]]:
    """For `torch.save`."""
    return [
        {
            "layer": tuple(one.layer),
            "saturated": dict(one.saturated),
            "memory": one.memory,
            "radius": one.radius,
            "spread": {
                name: (torch.from_numpy(h.counts), torch.from_numpy(h.edges))
                for name, h in one.spread.items()
            },
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
            {name: Histogram(*map(_array, pair)) for name, pair in one["spread"].items()},
        )
        for one in saved
    ]


def _array(values: torch.Tensor) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = values.cpu().numpy()
    return array
