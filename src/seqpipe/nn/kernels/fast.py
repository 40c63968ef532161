"""Kernels for processors: a loop over the real steps only, with its gradient written by hand.

What autograd does at every step is done once for all steps: the input's product, the derivatives of
the gates, and the gradients of the weights. Each step is left with its product with h_{t-1} and a
few operations in place.

Shapes: N real steps in all, n sequences at a step, D = input_size, H = hidden_size, G gates.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqpipe.errors import ConfigError
from seqpipe.nn.cell import Cell, State
from seqpipe.nn.kernels.packed_steps import PackedSteps, pack_steps
from seqpipe.nn.kernels.products import (
    MaskedProducts,
    MaskedReads,
    Product,
    Weight,
    linear,
    outer,
)

MINUS_ONE = torch.tensor([[-1.0]])


@dataclass(frozen=True)
class Pass:
    """Values that the forward pass keeps for the backward pass.

    Args:
        steps: the real steps of the batch.
        gates: (N, G*H) values of the gates, in the kernel's order.
        states: (B + N, H) for each part of the state, the first state included.
        kept: what else the kernel wants back, (N, H) each.
    """

    steps: PackedSteps
    gates: Tensor
    states: tuple[Tensor, ...]
    kept: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Gradients:
    """Gradients of the loss by what the steps read.

    Args:
        projected: (N, G*H) by the input's half of the pre-activations, in the kernel's order.
        weight_hidden: (G*H, H), in the kernel's order.
        extra: by the cell's other parameters, in the order of `FastKernel.extra`.
    """

    projected: Tensor
    weight_hidden: Tensor
    extra: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Recurrent:
    """Parameters that act at every step.

    Args:
        weight: on h_{t-1}, (G*H, H).
        extra: the cell's other parameters, in the order of `FastKernel.extra`.
        steps: the real steps.
        half: multiply in bfloat16.
        mask: (B, H) that multiplies h_{t-1} in the products, sorted; None: nothing does.
    """

    weight: Tensor
    extra: tuple[Tensor, ...]
    steps: PackedSteps
    half: bool
    mask: Tensor | None = None

    def prepared(self, matrix: Tensor) -> Product:
        """A matrix (K, H) for the products of all steps, which read h_{t-1}."""
        weight = Weight(matrix, self.steps.B, half=self.half)
        return weight if self.mask is None else MaskedReads(weight, self.mask)

    def prepared_back(self, matrix: Tensor) -> Product:
        """A matrix (H, K) for the gradients by h_{t-1} of all steps."""
        weight = Weight(matrix, self.steps.B, half=self.half)
        return weight if self.mask is None else MaskedProducts(weight, self.mask)

    def outer(self, rows: Tensor, read: Tensor) -> Tensor:
        """The gradient of a matrix. rows: (N, K); read: (N, H), before the mask. (K, H)."""
        if self.mask is not None:
            read = read * torch.cat([self.mask[:n] for n in self.steps.counts])
        return outer(rows, read, half=self.half)


class FastKernel(ABC):
    """The base of the kernels of single cells.

    tanh is computed as 2 σ(2a) - 1, for which the weights of those blocks are doubled beforehand:
    torch's sigmoid takes a sixth of the time of its tanh. The error is that of rounding at 1, about
    1e-7 in float32 however small the value: activations far below 1e-4 lose relative precision.

    Attributes:
        order: blocks of `Cell.gate_names` by position, in the order in which the kernel has them.
        tanh_blocks: those of the kernel's blocks whose activation is tanh.
        extra: names of the cell's parameters besides weights and bias.
    """

    name, masks = "fast loop", True
    order: ClassVar[tuple[int, ...]]
    tanh_blocks: ClassVar[tuple[int, ...]] = ()
    extra: tuple[str, ...] = ()

    def __call__(
        self,
        cell: Cell,
        x: Float[Tensor, "B T D"],
        lengths: Int[Tensor, " B"] | None,
        state: State,
        *,
        reverse: bool = False,
        final: bool = True,
    ) -> tuple[Float[Tensor, "B T H"], State]:
        """See `Kernel`."""
        half = (
            torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") is torch.bfloat16
        )
        steps = pack_steps(lengths, *x.shape[:2], reverse=reverse)
        parameters = [*cell.weights(), *(getattr(cell, name) for name in self.extra)]
        with torch.autocast("cpu", enabled=False):
            x = x.to(state[0].dtype) if half else x  # another dtype is refused by the product
            run: Any = _Run.apply
            outputs, *last = run(self, steps, half, cell.mask, x, *parameters, *state)
        return outputs, tuple(last) if final else ()

    def fits(self, device: torch.device, dtype: torch.dtype) -> bool:
        """See `Kernel`."""
        return device.type == "cpu" and dtype in (torch.float32, torch.float64)

    def ordered(self, weight: Float[Tensor, "GH *D"]) -> Float[Tensor, "GH *D"]:
        """A copy of a weight or bias in the kernel's order."""
        blocks = weight.chunk(len(self.order))
        return torch.cat([blocks[i] for i in self.order])

    def arranged(self, weight: Float[Tensor, "GH *D"]) -> Float[Tensor, "GH *D"]:
        """A copy of a weight or bias in the kernel's order, with the blocks of tanh doubled."""
        arranged = self.ordered(weight)
        blocks = arranged.chunk(len(self.order))
        for block in self.tanh_blocks:
            blocks[block].mul_(2.0)
        return arranged

    def disarranged(self, gradient: Float[Tensor, "GH *D"]) -> Float[Tensor, "GH *D"]:
        """The gradient of a weight in the kernel's order, in the order of the cell."""
        blocks = gradient.chunk(len(self.order))
        return torch.cat([blocks[self.order.index(i)] for i in range(len(blocks))])

    @abstractmethod
    def forward(
        self,
        steps: PackedSteps,
        projected: Float[Tensor, "N GH"],
        recurrent: Recurrent,
        first: State,
    ) -> Pass:
        """Runs all steps.

        Args:
            steps: the real steps.
            projected: the input's half of the pre-activations, arranged; may be overwritten.
            recurrent: its weight is arranged.
            first: the state before the first step, (B, H) each, sorted.
        """

    @abstractmethod
    def backward(self, run: Pass, recurrent: Recurrent, by_states: tuple[Tensor, ...]) -> Gradients:
        """Runs all steps backwards.

        Args:
            run: the forward pass.
            recurrent: its weight is in the kernel's order, not doubled.
            by_states: for h (B + N, H), the gradient by h_t from above; for each other part
                (B, H), by its last value. Overwritten: when done, the first B rows hold the
                gradient by the first state.
        """


def refuse_second_derivative(name: str) -> None:
    """Called in the backward pass of a kernel whose gradient is written by hand.

    Args:
        name: of the kernel.

    Raises:
        ConfigError: the gradient will be differentiated.
    """
    if torch.is_grad_enabled():  # as with create_graph
        text = "has no second derivative, which this loss asks for; allowed: cell.kernel=loop"
        raise ConfigError(f"cell.kernel=fast: the {name} {text}")


def room_for_states(first: Float[Tensor, "B H"], steps: PackedSteps) -> Tensor:
    """Room for a part of the state, (B + N, H), with the first one filled in."""
    room = first.new_empty(steps.B + sum(steps.counts), first.shape[1])
    room[: steps.B] = first
    return room


def sigmoid_to_tanh(values: Tensor) -> Tensor:
    """tanh(a) from σ(2a), in place."""
    return torch.add(MINUS_ONE, values, alpha=2.0, out=values)


class _Run(torch.autograd.Function):
    """A kernel as one operation of autograd."""

    @staticmethod
    def forward(
        ctx: Any,
        kernel: FastKernel,
        steps: PackedSteps,
        half: bool,
        mask: Tensor | None,
        x: Tensor,
        *tensors: Tensor,
    ) -> Any:
        parameters = tensors[: 3 + len(kernel.extra)]
        weight_input, weight_hidden, bias, *extra = parameters
        first = tuple(steps.sort(part) for part in tensors[len(parameters) :])
        packed = steps.pack(x)
        arranged, bias = kernel.arranged(weight_input), kernel.arranged(bias)
        projected = linear(packed, arranged, bias, half=half)
        mask = None if mask is None else steps.sort(mask)
        recurrent = Recurrent(kernel.arranged(weight_hidden), tuple(extra), steps, half, mask)
        run = kernel.forward(steps, projected, recurrent, first)
        ctx.kernel, ctx.steps, ctx.half, ctx.mask = kernel, steps, half, mask
        ctx.sizes = len(run.states), len(run.kept)
        ctx.save_for_backward(*parameters, packed, run.gates, *run.states, *run.kept)
        final = (steps.unsort(steps.last(part)) for part in run.states)
        return steps.unpack(run.states[0][steps.B :]), *final

    @staticmethod
    def backward(ctx: Any, by_outputs: Tensor, *by_final: Tensor) -> Any:
        refuse_second_derivative(ctx.kernel.name)
        kernel, steps, half = ctx.kernel, ctx.steps, ctx.half
        states, kept = ctx.sizes
        saved = list(ctx.saved_tensors)
        weight_input, weight_hidden, _, *extra = saved[: 3 + len(kernel.extra)]
        packed, gates, *rest = saved[3 + len(kernel.extra) :]
        run = Pass(steps, gates, tuple(rest[:states]), tuple(rest[states : states + kept]))
        by_h = torch.cat([torch.zeros_like(by_final[0]), steps.pack(by_outputs)])
        by_h.index_add_(0, steps.last_rows(), steps.sort(by_final[0]))
        by_states = (by_h, *(steps.sort(part).clone() for part in by_final[1:]))
        recurrent = Recurrent(kernel.ordered(weight_hidden), tuple(extra), steps, half, ctx.mask)

        with torch.autocast("cpu", enabled=False):
            found = kernel.backward(run, recurrent, by_states)
            d, back = found.projected, kernel.disarranged
            by_x = None
            if ctx.needs_input_grad[4]:
                by_x = steps.unpack(linear(d, kernel.ordered(weight_input).t(), half=half))
            by_weights = (
                back(outer(d, packed, half=half)),
                back(found.weight_hidden),
                back(d.sum(0)),
                *found.extra,
            )
        by_first = (steps.unsort(part[: steps.B]) for part in by_states)
        return None, None, None, None, by_x, *by_weights, *by_first
