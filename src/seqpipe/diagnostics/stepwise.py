"""A model run step by step, so that every h_t can be looked at and differentiated by.

A hook on a fused layer sees the outputs, and of their gradient only what comes from above: how
later steps depend on h_t is inside the layer. Here every layer runs in the step loop, of which
each kernel has the answer, and h_t is the very tensor that the next step reads.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seqpipe.data.base import SequenceBatch
from seqpipe.nn.cells import Cell, State
from seqpipe.nn.kernels.base import StepLoop
from seqpipe.nn.recurrent import RecurrentLayer


class LayerName(NamedTuple):
    """Which layer: `encoder.0.forwards`.

    Args:
        stack: the part of the model, as `encoder`.
        layer: counted from 0, the lowest.
        direction: `forwards` or `backwards`.
    """

    stack: str
    layer: int
    direction: str

    def __str__(self) -> str:
        """As metrics name it."""
        return f"{self.stack}.{self.layer}.{self.direction}"


class RecordingLoop(StepLoop):
    """The step loop, which keeps what it went through.

    Attributes:
        before: state before the first step, (B, H) each.
        states: after each step read, T of (B, H) each.
        projected: (B, T, G*H), the input's half of the pre-activations.
        lengths: (B,) real steps; None: all T.
    """

    def __init__(self) -> None:
        self.states: list[State] = []

    def __call__(
        self, cell: Cell, x: Tensor, lengths: Tensor | None, state: State
    ) -> tuple[Tensor, State]:
        """See `Kernel`."""
        self.lengths = lengths
        return super().__call__(cell, x, lengths, state)

    def run(self, cell: Cell, x: Tensor, state: State) -> list[State]:
        """See `StepLoop`; the first state is cut from what it was made of only if it has no graph.

        A layer above nothing that is trained still has gradients by h_t: its first state asks.
        """
        self.before = tuple(
            part if part.requires_grad else part.clone().requires_grad_() for part in state
        )
        with torch.no_grad():
            self.projected = cell.project(x)
        self.states = super().run(cell, x, self.before)
        return self.states


@dataclass(frozen=True)
class Recorded:
    """One layer after a pass.

    Args:
        name: which.
        cell: its cell.
        loop: what it went through, in the order it was read.
        reverse: it read each sequence from its end.
    """

    name: LayerName
    cell: Cell
    loop: RecordingLoop
    reverse: bool

    def lengths(self) -> Tensor:
        """Real steps of each sequence, (B,)."""
        if self.loop.lengths is not None:
            return self.loop.lengths
        h = self.loop.states[0][0]
        return torch.full((len(h),), len(self.loop.states), device=h.device)


class StepwiseCopy:
    """A copy of a model in float64, whose recurrent layers are recorded.

    float64, so that a gradient that has shrunk by 1e-30 is still seen for what it is, and the
    model that is trained is not touched: not its gradients, its mode, nor its random numbers.
    (Apple's GPUs have no float64; there the copy stays in float32.)

    Args:
        model: which; it may go on being trained, see `update`.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = copy.deepcopy(model).eval()
        for parameter in self.model.parameters():  # it is by the states that is differentiated
            parameter.grad = None
            parameter.requires_grad_(False)
        if next(model.parameters()).device.type != "mps":
            self.model.double()
        self.layers: list[Recorded] = []
        for path, layer in self.model.named_modules():
            if isinstance(layer, RecurrentLayer):
                layer.kernel = loop = RecordingLoop()
                name = _name_of(path, layer)
                self.layers.append(Recorded(name, layer.cell, loop, layer.reverse))

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take over the weights that a training has come to."""
        self.model.load_state_dict(model.state_dict())

    @property
    def dtype(self) -> torch.dtype:
        """Of its weights."""
        return next(self.model.parameters()).dtype

    def forget(self) -> None:
        """Let go of the last pass, which holds every activation."""
        for layer in self.layers:
            layer.loop.states = []


def in_precision(batch: SequenceBatch, dtype: torch.dtype) -> SequenceBatch:
    """The batch with its floats in one precision."""
    parts = {
        name: value.to(dtype)
        for name in ("x", "y")
        if (value := getattr(batch, name)) is not None and value.is_floating_point()
    }
    return replace(batch, **parts)


def _name_of(path: str, layer: RecurrentLayer) -> LayerName:
    """`encoder.layers.0.forwards` is layer 0 of the encoder; a lone layer is layer 0 of itself."""
    *stack, _, level, direction = [*[""] * 3, *path.split(".")]
    if level.isdecimal():
        return LayerName(".".join(filter(None, stack)), int(level), direction)
    return LayerName(path, 0, "backwards" if layer.reverse else "forwards")
