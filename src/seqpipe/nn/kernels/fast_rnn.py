"""The fast loop of the basic recurrent unit."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from seqpipe.nn.cell import State
from seqpipe.nn.kernels.fast import FastKernel, Gradients, Pass, sigmoid_to_tanh
from seqpipe.nn.kernels.packed_steps import PackedSteps
from seqpipe.nn.kernels.products import Weight


class FastRNN(FastKernel):
    """a<t> = g(a), a = W_x x<t> + b + W_h a<t-1>.

    Backwards: ∂a = ∂a<t> g'(a), with g' = 1 - a<t>² for tanh; ∂a<t-1> = W_hᵀ ∂a.

    Args:
        nonlinearity: g.
    """

    order = (0,)

    def __init__(self, nonlinearity: Literal["tanh", "relu"]) -> None:
        self.nonlinearity = nonlinearity
        self.tanh_blocks = (0,) if nonlinearity == "tanh" else ()  # type: ignore[misc]

    def forward(
        self,
        steps: PackedSteps,
        projected: Tensor,
        weight_hidden: Tensor,
        extra: tuple[Tensor, ...],
        first: State,
        weight: Callable[[Tensor], Weight],
    ) -> Pass:
        """See `FastKernel`."""
        h = torch.cat([first[0], projected])
        hidden, tanh = weight(weight_hidden), self.nonlinearity == "tanh"
        for a, before in zip(steps.steps(h[steps.B :]), steps.before(h), strict=True):
            hidden.add_to(a, before)
            if tanh:
                sigmoid_to_tanh(a.sigmoid_())
            else:
                a.relu_()
        return Pass(steps, h[steps.B :], (h,))

    def backward(
        self,
        run: Pass,
        weight_hidden: Tensor,
        extra: tuple[Tensor, ...],
        by_states: tuple[Tensor, ...],
        weight: Callable[[Tensor], Weight],
        outer: Callable[[Tensor, Tensor], Tensor],
    ) -> Gradients:
        """See `FastKernel`."""
        (dh,), steps, h = by_states, run.steps, run.gates
        slope = 1.0 - h * h if self.nonlinearity == "tanh" else (h > 0).to(h.dtype)
        d = torch.empty_like(h)
        hidden = weight(weight_hidden.t())
        loop = zip(
            *map(steps.steps, (d, dh[steps.B :], slope)),
            steps.before(dh),
            strict=True,
        )
        for d_t, dh_t, slope_t, before in reversed(list(loop)):
            torch.mul(dh_t, slope_t, out=d_t)
            hidden.add_to(before, d_t)
        return Gradients(d, outer(d, steps.all_before(run.states[0])))
