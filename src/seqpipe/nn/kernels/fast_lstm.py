"""The fast loop of the LSTM, with and without peepholes."""

from typing import Literal

import torch
from torch import Tensor

from seqpipe.nn.cell import State
from seqpipe.nn.kernels.fast import (
    FastKernel,
    Gradients,
    Pass,
    Recurrent,
    room_for_states,
    sigmoid_to_tanh,
)
from seqpipe.nn.kernels.packed_steps import PackedSteps
from seqpipe.nn.kernels.products import Product

Peephole = Literal["none", "previous", "current"]


class FastLSTM(FastKernel):
    """Blocks o, i, f, g.

    Backwards, with m = tanh(c<t>) or c<t>: ∂o = ∂a<t> m Γ_o (1 - Γ_o); ∂c<t> += ∂a<t> Γ_o m';
    ∂i = ∂c<t> c̃ Γ_u (1 - Γ_u); ∂f = ∂c<t> c<t-1> Γ_f (1 - Γ_f); ∂g = ∂c<t> Γ_u (1 - c̃²);
    ∂c<t-1> = ∂c<t> Γ_f; where a gate sees a memory cell, that memory cell gets p times the gate's.

    Args:
        output_tanh: a<t> = Γ_o * tanh(c<t>); False: Γ_o * c<t>.
        peephole: the memory cell that Γ_o sees; Γ_u and Γ_f see c<t-1>. `none`: no gate sees one.
    """

    order = (3, 0, 1, 2)
    tanh_blocks = (3,)

    def __init__(self, *, output_tanh: bool, peephole: Peephole = "none") -> None:
        self.output_tanh, self.peephole = output_tanh, peephole
        self.extra = () if peephole == "none" else ("peephole",)

    def forward(
        self, steps: PackedSteps, projected: Tensor, recurrent: Recurrent, first: State
    ) -> Pass:
        """See `FastKernel`. Keeps tanh(c<t>)."""
        B, N, H = steps.B, len(projected), recurrent.weight.shape[1]
        h, c = (room_for_states(part, steps) for part in first)
        seen = c.new_empty(N, H) if self.output_tanh else c[B:]
        hidden, see = recurrent.prepared(recurrent.weight), self._see(recurrent.extra)
        early = {"none": slice(0), "previous": slice(3), "current": slice(1, 3)}[self.peephole]
        late = self.peephole == "current"
        a = projected.view(N, 4, H)
        loop = zip(
            *map(steps.steps, (projected, a[:, early], a[:, 1:] if late else projected)),
            *map(steps.steps, a.unbind(1)),
            steps.before(h),
            steps.before(c),
            steps.steps(h[B:]),
            steps.steps(c[B:]),
            steps.steps(seen),
            strict=True,
        )
        for a_t, seeing, open_first, o, i, f, g, h_before, c_before, h_t, c_t, m in loop:
            hidden.add_to(a_t, h_before)
            if see is not None:
                seeing.addcmul_(c_before.unsqueeze(1), see[early])
            open_first.sigmoid_()
            sigmoid_to_tanh(g)
            torch.mul(f, c_before, out=c_t).addcmul_(i, g)
            if late and see is not None:
                o.addcmul_(c_t, see[0]).sigmoid_()
            if self.output_tanh:
                sigmoid_to_tanh(torch.add(c_t, c_t, out=m).sigmoid_())
            torch.mul(o, m, out=h_t)
        return Pass(steps, projected, (h, c), (seen,) if self.output_tanh else ())

    def backward(self, run: Pass, recurrent: Recurrent, by_states: tuple[Tensor, ...]) -> Gradients:
        """See `FastKernel`."""
        steps, see = run.steps, self._see(recurrent.extra)
        B, H = steps.B, recurrent.weight.shape[1]
        o, i, f, g = run.gates.chunk(4, dim=1)
        c_before = steps.all_before(run.states[1])
        m = run.kept[0] if self.output_tanh else run.states[1][B:]

        slopes = o.new_empty(len(o), 4, H)  # of o by a<t>, of i, f and g by c<t>
        torch.mul(m, o, out=slopes[:, 0]).addcmul_(slopes[:, 0], o, value=-1.0)
        torch.mul(g, i, out=slopes[:, 1]).addcmul_(slopes[:, 1], i, value=-1.0)
        torch.mul(c_before, f, out=slopes[:, 2]).addcmul_(slopes[:, 2], f, value=-1.0)
        torch.mul(i, g, out=slopes[:, 3]).mul_(g).sub_(i).neg_()
        to_c = torch.addcmul(o, o * m, m, value=-1.0) if self.output_tanh else o.clone()
        to_before, past = f, None
        if see is not None:
            to_before = f + (slopes[:, 1:3] * see[1:3]).sum(1)
            if self.peephole == "current":
                to_c.addcmul_(slopes[:, 0], see[0])
            else:
                past = slopes[:, 0] * see[0]
        hidden = recurrent.prepared_back(recurrent.weight.t())
        d = self._loop(run, hidden, by_states, slopes, to_c, to_before, past)

        by_extra: tuple[Tensor, ...] = ()
        if see is not None:
            seen_by_o = run.states[1][B:] if self.peephole == "current" else c_before
            pairs = (d[:, 1], c_before), (d[:, 2], c_before), (d[:, 0], seen_by_o)
            by_extra = (torch.stack([(gate * seen).sum(0) for gate, seen in pairs]),)
        d = d.flatten(1)
        return Gradients(d, recurrent.outer(d, steps.all_before(run.states[0])), by_extra)

    def _loop(
        self,
        run: Pass,
        hidden: Product,
        by_states: tuple[Tensor, ...],
        slopes: Tensor,
        to_c: Tensor,
        to_before: Tensor,
        past: Tensor | None,
    ) -> Tensor:
        """The gradients by the pre-activations, (N, 4, H).

        Args:
            run: the forward pass.
            hidden: W_hᵀ.
            by_states: see `FastKernel.backward`.
            slopes: (N, 4, H) of o by a<t>, of i, f and g by c<t>.
            to_c: (N, H) derivative of a<t> by c<t>.
            to_before: (N, H) derivative of c<t> by c<t-1>.
            past: (N, H) derivative of a<t> by c<t-1>, where a peephole gives one.
        """
        (dh, dc), steps = by_states, run.steps
        d = torch.empty_like(slopes)
        loop = zip(
            *map(steps.steps, (d[:, 0], d[:, 1:], d.flatten(1))),
            *map(steps.steps, (slopes[:, 0], slopes[:, 1:], to_c, to_before)),
            steps.steps(dh[steps.B :]),
            steps.before(dh),
            steps.steps(past) if past is not None else [None] * len(steps.counts),
            strict=True,
        )
        for step in reversed(list(loop)):
            d_o, d_ifg, d_t, by_a, by_c, to_c_t, to_before_t, dh_t, dh_before, past_t = step
            dc_t = dc[: len(dh_t)].addcmul_(dh_t, to_c_t)
            torch.mul(dh_t, by_a, out=d_o)
            torch.mul(dc_t.unsqueeze(1), by_c, out=d_ifg)
            hidden.add_to(dh_before, d_t)
            dc_t.mul_(to_before_t)
            if past_t is not None:
                dc_t.addcmul_(dh_t, past_t)
        return d

    def _see(self, extra: tuple[Tensor, ...]) -> Tensor | None:
        """The peephole weights (3, H), rows o, i, f."""
        return extra[0].roll(1, dims=0) if extra else None
