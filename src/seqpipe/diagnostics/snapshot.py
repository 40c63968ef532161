"""A snapshot of the gradient probe at one moment of a training, and its form in a checkpoint."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, is_dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqpipe.diagnostics.cell_stats import CellStats
from seqpipe.diagnostics.gradients import ThroughTime
from seqpipe.diagnostics.stepwise import LayerName
from seqpipe.report.cells import Spread
from seqpipe.report.decay import Decay, overall

_TREE = "told"  # the name in the checkpoints of all versions


@dataclass(frozen=True)
class Snapshot:
    """The measurements of the probe at one moment of a training.

    Args:
        step: optimizer updates before it.
        examples: (B,) places in the training split.
        gradients: of each layer and loss.
        cells: of each layer.
    """

    step: int
    examples: NDArray[np.int64]
    gradients: list[ThroughTime]
    cells: list[CellStats]

    def decays(self) -> dict[LayerName, Decay]:
        """The decay of each layer, by the loss that its distance is counted from."""
        return {one.layer: one.decay() for one in self.gradients if one.fits}

    def overall(self) -> Decay:
        """The decay that describes the whole model."""
        return overall([*self.decays().values()])

    def profiles(self) -> dict[str, NDArray[np.float64]]:
        """Mean norm by distance of each layer, (D,), by the same loss."""
        return {str(one.layer): one.by_distance() for one in self.gradients if one.fits}

    def scalars(self) -> dict[str, float]:
        """`gradient/...` of the model and of each layer, `cell/...` of each layer."""
        decays = self.decays()
        if not decays:
            return {}
        numbers = {f"gradient/{k}": v for k, v in self.overall().scalars().items()}
        for layer, decay in decays.items():
            numbers |= {f"gradient/{layer}/{k}": v for k, v in decay.scalars().items()}
        for cell in self.cells:
            numbers |= {f"cell/{cell.layer}/{k}": v for k, v in cell.scalars().items()}
        return numbers


def packed(snapshot: Snapshot) -> Tensor:
    """A snapshot as one tensor of bytes, (N,) uint8: plain values and arrays, no code.

    It has dozens of small arrays, and a checkpoint is written every epoch: tensor by tensor that
    would cost more than taking all snapshots. So each is packed once, when it is taken.
    """
    arrays: dict[str, np.ndarray[Any, Any]] = {}

    def plain(part: Any) -> Any:
        if isinstance(part, np.ndarray):
            name = f"array{len(arrays)}"
            arrays[name] = part
            return {"array": name}
        if is_dataclass(part):
            part = vars(part)
        if isinstance(part, dict):
            return {name: plain(value) for name, value in part.items()}
        return [plain(value) for value in part] if isinstance(part, (list, tuple)) else part

    tree = json.dumps(plain(snapshot)).encode()
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{_TREE: np.frombuffer(tree, dtype=np.uint8)}, **arrays)
    return torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)


def unpacked(bytes_of: Tensor) -> Snapshot:
    """The snapshot that `packed` was given."""
    with np.load(io.BytesIO(bytes_of.cpu().numpy().tobytes()), allow_pickle=False) as arrays:

        def with_arrays(part: Any) -> Any:
            if isinstance(part, dict) and set(part) == {"array"}:
                return arrays[part["array"]]
            if isinstance(part, dict):
                return {name: with_arrays(value) for name, value in part.items()}
            return [with_arrays(value) for value in part] if isinstance(part, list) else part

        tree = with_arrays(json.loads(arrays[_TREE].tobytes()))
    for one in (*tree["gradients"], *tree["cells"]):
        one["layer"] = LayerName(*one["layer"])
    for one in tree["cells"]:
        one["spread"] = {name: Spread(*pair) for name, pair in one["spread"].items()}
    return Snapshot(
        tree["step"],
        tree["examples"],
        [ThroughTime(**one) for one in tree["gradients"]],
        [CellStats(**one) for one in tree["cells"]],
    )
