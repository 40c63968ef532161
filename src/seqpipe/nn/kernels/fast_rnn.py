"""The fast loop of the basic recurrent unit."""

from typing import Literal

import torch
from torch import Tensor

from seqpipe.nn.cell import State
from seqpipe.nn.kernels.fast import FastKernel, Gradients, Pass, Recurrent, sigmoid_to_tanh
from seqpipe.nn.kernels.packed_steps import PackedSteps


class FastRNN(FastKernel):
    """a<t> = g(a), a = W_x x<t> + b + W_h a<t-1>.

    Backwards: ∂a = ∂a<t> g'(a), with g' = 1 - a<t>² for tanh, for ReLU 1 where a<t> > 0, else 0;
    ∂a<t-1> = W_hᵀ ∂a. So a<t> is all that the backward pass needs, and is written over a.

    Args:
        nonlinearity: g.

    Source: the lecture's equation for a<t>; Werbos (1990) for the gradient through time.
    """

    order = (0,)

    def __init__(self, nonlinearity: Literal["tanh", "relu"]) -> None:
        self.nonlinearity = nonlinearity
        self.tanh_blocks = (0,) if nonlinearity == "tanh" else ()  # type: ignore[misc]

    def forward(
        self, steps: PackedSteps, projected: Tensor, recurrent: Recurrent, first: State
    ) -> Pass:
        """See `FastKernel`."""
        h = torch.cat([first[0], projected])
        hidden, tanh = recurrent.prepared(recurrent.weight), self.nonlinearity == "tanh"
        for a, before in zip(steps.steps(h[steps.B :]), steps.before(h), strict=True):
            hidden.add_to(a, before)
            if tanh:
                sigmoid_to_tanh(a.sigmoid_())
            else:
                a.relu_()
        return Pass(steps, h[steps.B :], (h,))

    def backward(self, run: Pass, recurrent: Recurrent, by_states: tuple[Tensor, ...]) -> Gradients:
        """See `FastKernel`."""
        (dh,), steps = by_states, run.steps
        h = run.gates  # a<t> of every step
        slope = 1.0 - h * h if self.nonlinearity == "tanh" else (h > 0).to(h.dtype)
        d = torch.empty_like(h)
        hidden = recurrent.prepared_back(recurrent.weight.t())
        loop = zip(
            *map(steps.steps, (d, dh[steps.B :], slope)),
            steps.before(dh),
            strict=True,
        )
        for d_t, dh_t, slope_t, before in reversed(list(loop)):
            torch.mul(dh_t, slope_t, out=d_t)
            hidden.add_to(before, d_t)
        return Gradients(d, recurrent.outer(d, steps.all_before(run.states[0])))
