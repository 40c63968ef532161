"""A copy of a model that runs step by step, so that the loss can be differentiated by every h_t.

A hook on a fused layer sees only the part of the gradient that comes from above: the dependence of
later steps on h_t is inside the layer. Here every layer runs in the step loop, whose results equal
those of each kernel, and h_t is the very tensor that the next step reads.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seqpipe.data.base import SequenceBatch
from seqpipe.nn.cells import Cell, State
from seqpipe.nn.kernels.step_loop import StepLoop
from seqpipe.nn.recurrent import RecurrentLayer, recurrent_layers


class LayerName(NamedTuple):
    """The name of a layer: `encoder.0.forwards`.

    Args:
        stack: the part of the model, as `encoder`.
        layer: counted from 0, the lowest.
        direction: `forwards` or `backwards`.
    """

    stack: str
    layer: int
    direction: str

    def __str__(self) -> str:
        """The name in metrics."""
        return f"{self.stack}.{self.layer}.{self.direction}"


class RecordingLoop(StepLoop):
    """A step loop that keeps its states.

    Attributes:
        before: state before the first step, (B, H) each.
        states: after each step read, T of (B, H) each.
        projected: (B, T, G*H), the input's half of the pre-activations.
        lengths: (B,) real steps; None: all T.
        stepped: True where the model stepped the cell itself, as with input feeding.
    """

    def __init__(self) -> None:
        self.states: list[State] = []
        self.lengths: Tensor | None = None
        self.projected = torch.empty(0)
        self.stepped = False

    def watch(self, cell: Cell) -> None:
        """Also keep the states of single steps, which call the cell and no kernel."""
        cell.register_forward_pre_hook(self._start_step)
        cell.register_forward_hook(self._keep_step)

    def _start_step(self, cell: nn.Module, args: tuple[Tensor, State]) -> tuple[Tensor, State]:
        x_t, state = args
        if self.states and state[0] is self.states[-1][0]:
            return args
        self.before = _with_gradient(state)
        self.states, self.stepped, self.lengths = [], True, None
        return x_t, self.before

    @torch.no_grad()
    def _keep_step(self, cell: Any, args: tuple[Tensor, State], after: State) -> None:
        projected = cell.project(args[0]).unsqueeze(1)
        steps = [self.projected, projected] if self.states else [projected]
        self.projected = torch.cat(steps, dim=1)
        self.states.append(after)

    def run(
        self, cell: Cell, x: Tensor, lengths: Tensor | None, state: State
    ) -> tuple[Tensor, State]:
        """See `PaddedKernel`."""
        self.lengths = lengths
        return super().run(cell, x, lengths, state)

    def states_after(self, cell: Cell, x: Tensor, state: State) -> list[State]:
        """See `StepLoop`. The first state requires a gradient.

        So the gradient by h_t exists even where nothing below the layer is trained.
        """
        self.before, self.stepped = _with_gradient(state), False
        with torch.no_grad():
            self.projected = cell.project(x)
        self.states = super().states_after(cell, x, self.before)
        return self.states

    def release(self) -> None:
        """Forgets the last pass."""
        self.before, self.states, self.projected = (), [], torch.empty(0)


def _with_gradient(state: State) -> State:
    return tuple(part if part.requires_grad else part.clone().requires_grad_() for part in state)


@dataclass(frozen=True)
class Recorded:
    """One layer after a forward pass.

    Args:
        name: of the layer.
        cell: its cell.
        loop: its states, in reading order.
        reverse: True if it reads each sequence from its end.
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

    float64 still resolves a gradient that has shrunk by 1e-30. The trained model is not touched:
    neither its gradients, nor its mode, nor the random state. (Apple's GPUs have no float64; there
    the copy stays in float32.)

    Between measurements it holds no weights: in float64 they take twice the memory of the model.

    Args:
        model: the model; its training may continue, see `update`.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = copy.deepcopy(model).eval()
        for parameter in self.model.parameters():  # gradients are taken by the states
            parameter.grad = None
            parameter.requires_grad_(False)
        if next(model.parameters()).device.type != "mps":
            self.model.double()
        self.layers: list[Recorded] = []
        for path, layer in recurrent_layers(self.model).items():
            layer.kernel = loop = RecordingLoop()
            loop.watch(layer.cell)
            name = _name_of(path, layer)
            self.layers.append(Recorded(name, layer.cell, loop, layer.reverse))

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Copies the present weights of the trained model."""
        now = model.state_dict()
        for name, weight in self._weights():
            if weight.shape != now[name].shape:  # they were released
                weight.data = weight.data.new_empty(now[name].shape)
        self.model.load_state_dict(now)
        for part in self.model.modules():
            if isinstance(part, nn.RNNBase):  # cuDNN wants its weights in one piece
                part.flatten_parameters()

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of its weights."""
        return next(self.model.parameters()).dtype

    def forget(self) -> None:
        """Releases the last pass, which holds every activation, and the weights."""
        for layer in self.layers:
            layer.loop.release()
        for _, weight in self._weights():
            weight.data = weight.data.new_empty(0)

    def _weights(self) -> Iterator[tuple[str, Tensor]]:
        """Parameters and saved buffers, by name: all that `load_state_dict` fills."""
        for name, weight in self.model.state_dict(keep_vars=True).items():
            if isinstance(weight, Tensor):
                yield name, weight


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
