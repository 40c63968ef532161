"""Kernels for GPUs: a loop over time with its gradient written by hand, elementwise in Triton.

A step is a product by torch and one kernel of Triton that computes all the rest of it (a GRU that
resets before the product has two of each). What autograd does at every step is done once for all:
the input's product, and the gradients of the weights. Nothing waits for a number of the GPU.

Padding is computed, and changes nothing: a GPU counts launches, not numbers. Behind the end of a
sequence its state stays as it is, and the gradient by the pre-activations is 0.

Triton comes with torch's builds for CUDA, and is imported only where a GPU asks for it. Shapes: B
sequences, T steps, D = input_size, H = hidden_size, G gates; time comes first.
"""

import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqpipe.nn.cell import Cell, State
from seqpipe.nn.kernels.fast import refuse_second_derivative
from seqpipe.nn.kernels.padded_steps import PaddedSteps

log = logging.getLogger(__name__)

CAPABILITY = (7, 0)
"""Of the oldest GPUs that Triton compiles for."""
BLOCK = 256
"""Elements that one program of a kernel computes."""


@cache
def runs_triton(device: torch.device) -> bool:
    """True where Triton is installed and its kernels run on the device; tried once.

    It needs a compiler of C besides, and a folder to keep what it has compiled.
    """
    if device.type != "cuda" or not torch.cuda.is_available():
        return False
    if torch.cuda.get_device_capability(device) < CAPABILITY:
        return False
    try:
        from seqpipe.nn.kernels.triton_elementwise import works_on

        return works_on(device)
    except Exception as error:  # whatever it is, the step loop needs none of it
        log.info(
            "no Triton on %s, so cells without a layer of cuDNN are stepped: %s", device, error
        )
        return False


@dataclass(frozen=True)
class Pass:
    """Values that the forward pass keeps for the backward pass.

    Args:
        gates: (T, B, G*H) values of the gates, in the order of the cell.
        states: (T + 1, B, H) for each part of the state, the first state included.
        read: what the products read: (T + 1, B, H) of h, then what else the kernel keeps, in the
            precision of the products. In full precision the first one is `states[0]`.
    """

    gates: Tensor
    states: tuple[Tensor, ...]
    read: tuple[Tensor, ...]


@dataclass(frozen=True)
class Recurrent:
    """The parameters and lengths that act at every step.

    Args:
        weight: on h_{t-1}, (G*H, H), in the precision of the products.
        extra: the cell's other parameters, in the order of `TritonLoop.extra`.
        lengths: (B,) real steps.
    """

    weight: Tensor
    extra: tuple[Tensor, ...]
    lengths: Tensor

    @property
    def half(self) -> bool:
        """True where the products are in half precision."""
        return self.weight.element_size() == 2


@dataclass(frozen=True)
class Gradients:
    """Gradients of the loss by what the steps read.

    Args:
        projected: (T, B, G*H) by the pre-activations, in the precision of the products.
        weight_hidden: (G*H, H).
        extra: by the cell's other parameters, in the order of `TritonLoop.extra`.
        first: (B, H) by each part of the first state.
    """

    projected: Tensor
    weight_hidden: Tensor
    extra: tuple[Tensor, ...]
    first: tuple[Tensor, ...]


class TritonLoop(ABC):
    """The base of the kernels of single cells.

    Under autocast the products are in half precision; the states and all that is elementwise stay
    in float32.

    Attributes:
        extra: names of the cell's parameters besides weights and bias.
    """

    name, masks = "Triton loop", False
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
        device, precision = x.device.type, state[0].dtype
        if precision == torch.float32 and torch.is_autocast_enabled(device):
            precision = torch.get_autocast_dtype(device)
            x = x.to(precision)  # in full precision another one is refused by the product
        steps = PaddedSteps.of(x, lengths, reverse=reverse)
        parameters = [*cell.weights(), *(getattr(cell, name) for name in self.extra)]
        run: Any = _Run.apply
        with torch.autocast(device, enabled=False), torch.cuda.device_of(x):
            outputs, *last = run(self, steps, precision, x, *parameters, *state)
        return outputs, tuple(last) if final else ()

    def fits(self, device: torch.device, dtype: torch.dtype) -> bool:
        """See `Kernel`."""
        return dtype in (torch.float32, torch.float64) and runs_triton(device)

    @abstractmethod
    def forward(self, gates: Tensor, recurrent: Recurrent, first: State) -> Pass:
        """Runs all steps.

        Args:
            gates: (T, B, G*H), the input's half of the pre-activations; overwritten.
            recurrent: what acts at every step.
            first: the state before the first step, (B, H) each.
        """

    @abstractmethod
    def backward(
        self, run: Pass, recurrent: Recurrent, by_outputs: Tensor, by_final: State
    ) -> Gradients:
        """Runs all steps backwards.

        Args:
            run: the forward pass.
            recurrent: what acts at every step.
            by_outputs: (T, B, H), 0 at padding.
            by_final: by the state after the last step, (B, H) each; overwritten.
        """


def blocks(of: Float[Tensor, "B H"]) -> tuple[int]:
    """The programs that compute a (B, H) matrix: the grid of a launch."""
    return (-(-of.numel() // BLOCK),)


def room_for_states(first: Float[Tensor, "B H"], T: int) -> Tensor:
    """Room for a part of the state, (T + 1, B, H), with the first one filled in."""
    room = first.new_empty(T + 1, *first.shape)
    room[0] = first
    return room


def room_to_read(h: Float[Tensor, "T1 B H"], recurrent: Recurrent) -> Tensor:
    """The h that products read: itself, or room in half precision with the first state in it."""
    return room_for_states(h[0].to(recurrent.weight.dtype), len(h) - 1) if recurrent.half else h


def outer(rows: Tensor, columns: Tensor) -> Tensor:
    """The sum over steps of row times column. rows: (T, B, K); columns: (T, B, D). (K, D)."""
    return rows.flatten(0, 1).t() @ columns.flatten(0, 1)


class _Run(torch.autograd.Function):
    """A kernel as one operation of autograd."""

    @staticmethod
    def forward(
        ctx: Any,
        kernel: TritonLoop,
        steps: PaddedSteps,
        precision: torch.dtype,
        x: Tensor,
        *tensors: Tensor,
    ) -> Any:
        parameters = tensors[: 3 + len(kernel.extra)]
        weight_input, weight_hidden, bias, *extra = parameters
        first, by_time = tensors[len(parameters) :], steps.by_time(x)
        gates = torch.nn.functional.linear(by_time, weight_input.to(precision), bias.to(precision))
        recurrent = Recurrent(weight_hidden.to(precision), tuple(extra), steps.lengths)
        run = kernel.forward(gates.to(first[0].dtype), recurrent, first)
        ctx.kernel, ctx.steps, ctx.states = kernel, steps, len(run.states)
        ctx.save_for_backward(*parameters, by_time, run.gates, *run.states, *run.read)
        final = (part[-1].clone() for part in run.states)
        return steps.by_sequence(run.states[0][1:]), *final

    @staticmethod
    def backward(ctx: Any, by_outputs: Tensor, *by_final: Tensor) -> Any:
        refuse_second_derivative(ctx.kernel.name)
        kernel, steps = ctx.kernel, ctx.steps
        weight_input, weight_hidden, _, *extra = ctx.saved_tensors[: 3 + len(kernel.extra)]
        by_time, gates, *rest = ctx.saved_tensors[3 + len(kernel.extra) :]
        run = Pass(gates, tuple(rest[: ctx.states]), tuple(rest[ctx.states :]))
        precision, full = by_time.dtype, gates.dtype
        recurrent = Recurrent(weight_hidden.to(precision), tuple(extra), steps.lengths)
        by_final = tuple(part.clone(memory_format=torch.contiguous_format) for part in by_final)
        with torch.autocast(gates.device.type, enabled=False), torch.cuda.device_of(gates):
            found = kernel.backward(run, recurrent, steps.by_time(by_outputs), by_final)
            d, by_x = found.projected, None
            if ctx.needs_input_grad[3]:
                by_x = steps.by_sequence(d @ weight_input.to(precision))
            by_weights = (
                outer(d, by_time).to(full),
                found.weight_hidden.to(full),
                d.sum((0, 1), dtype=full),
                *found.extra,
            )
        return None, None, None, by_x, *by_weights, *found.first
