"""The fast loops of the gated recurrent units.

All of them end with c<t> = c<t-1> + Γ_u * (c̃<t> - c<t-1>), whose derivatives are, with the
pre-activations u and c: ∂u = ∂c<t> (c̃<t> - c<t-1>) Γ_u (1 - Γ_u), ∂c = ∂c<t> Γ_u (1 - c̃<t>²), and
directly ∂c<t-1> = ∂c<t> (1 - Γ_u). h is c<t>.
"""

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


class FastSimplifiedGRU(FastKernel):
    """Blocks u, c."""

    order = (0, 1)
    tanh_blocks = (1,)

    def forward(
        self, steps: PackedSteps, projected: Tensor, recurrent: Recurrent, first: State
    ) -> Pass:
        """See `FastKernel`."""
        h, H = room_for_states(first[0], steps), recurrent.weight.shape[1]
        hidden = recurrent.prepared(recurrent.weight)
        loop = zip(
            steps.steps(projected),
            steps.steps(projected[:, :H]),
            steps.steps(projected[:, H:]),
            steps.before(h),
            steps.steps(h[steps.B :]),
            strict=True,
        )
        for a, u, c, before, after in loop:
            hidden.add_to(a, before)
            a.sigmoid_()
            sigmoid_to_tanh(c)
            torch.lerp(before, c, u, out=after)
        return Pass(steps, projected, (h,))

    def backward(self, run: Pass, recurrent: Recurrent, by_states: tuple[Tensor, ...]) -> Gradients:
        """See `FastKernel`."""
        (dh,), steps = by_states, run.steps
        u, c = run.gates.chunk(2, dim=1)
        before = steps.all_before(run.states[0])
        keeps = 1.0 - u
        slopes = _by_update_and_candidate(u, c, before, keeps)
        hidden = recurrent.prepared_back(recurrent.weight.t())
        d = _back_through(steps, dh, slopes, keeps, hidden, read=slice(None))
        return Gradients(d, recurrent.outer(d, before))


class FastGRU(FastKernel):
    """Blocks r, u, c; the reset gate multiplies c<t-1>.

    Backwards: ∂(r h) = W_cᵀ ∂c; ∂r = ∂(r h) c<t-1> Γ_r (1 - Γ_r); ∂c<t-1> += ∂(r h) Γ_r.
    """

    order = (0, 1, 2)
    tanh_blocks = (2,)

    def forward(
        self, steps: PackedSteps, projected: Tensor, recurrent: Recurrent, first: State
    ) -> Pass:
        """See `FastKernel`. Keeps Γ_r * c<t-1>."""
        H = recurrent.weight.shape[1]
        h, reset = room_for_states(first[0], steps), projected.new_empty(len(projected), H)
        gates, candidate = map(recurrent.prepared, recurrent.weight.split([2 * H, H]))
        loop = zip(
            steps.steps(projected[:, : 2 * H]),
            *map(steps.steps, projected.chunk(3, dim=1)),
            steps.before(h),
            steps.steps(h[steps.B :]),
            steps.steps(reset),
            strict=True,
        )
        for ru, r, u, c, before, after, reset_t in loop:
            gates.add_to(ru, before)
            ru.sigmoid_()
            torch.mul(r, before, out=reset_t)
            candidate.add_to(c, reset_t)
            sigmoid_to_tanh(c.sigmoid_())
            torch.lerp(before, c, u, out=after)
        return Pass(steps, projected, (h,), (reset,))

    def backward(self, run: Pass, recurrent: Recurrent, by_states: tuple[Tensor, ...]) -> Gradients:
        """See `FastKernel`."""
        (dh,), steps, H = by_states, run.steps, recurrent.weight.shape[1]
        r, u, c = run.gates.chunk(3, dim=1)
        before, (reset,) = steps.all_before(run.states[0]), run.kept
        keeps = 1.0 - u
        slopes = _by_update_and_candidate(u, c, before, keeps)
        reset_slope = torch.addcmul(reset, reset, r, value=-1.0)  # h r (1 - r)
        d = r.new_empty(len(r), 3, H)
        gates, candidate = map(
            recurrent.prepared_back, recurrent.weight.t().split([2 * H, H], dim=1)
        )
        loop = zip(
            *map(steps.steps, (d[:, 0], d[:, 2], d[:, 1:], d.flatten(1)[:, : 2 * H])),
            *map(steps.steps, (slopes, reset_slope, r, keeps)),
            steps.steps(dh[steps.B :]),
            steps.before(dh),
            strict=True,
        )
        for step in reversed(list(loop)):
            d_r, d_c, d_uc, d_ru, slopes_t, reset_slope_t, r_t, keeps_t, dh_t, dh_before = step
            torch.mul(dh_t.unsqueeze(1), slopes_t, out=d_uc)
            by_reset = candidate.times(d_c)
            torch.mul(by_reset, reset_slope_t, out=d_r)
            dh_before.addcmul_(dh_t, keeps_t).addcmul_(by_reset, r_t)
            gates.add_to(dh_before, d_ru)
        d = d.flatten(1)
        by_hidden = [recurrent.outer(d[:, : 2 * H], before), recurrent.outer(d[:, 2 * H :], reset)]
        return Gradients(d, torch.cat(by_hidden))


class FastGRUResetAfter(FastKernel):
    """Blocks r, u, c; the reset gate multiplies the product q = W_c c<t-1> + b_hidden.

    Backwards: ∂q = ∂c Γ_r; ∂r = ∂c q Γ_r (1 - Γ_r).
    """

    order = (0, 1, 2)
    tanh_blocks = (2,)
    extra = ("bias_hidden",)

    def forward(
        self, steps: PackedSteps, projected: Tensor, recurrent: Recurrent, first: State
    ) -> Pass:
        """See `FastKernel`. Keeps 2 q."""
        H = recurrent.weight.shape[1]
        h, product = room_for_states(first[0], steps), projected.new_empty(len(projected), H)
        hidden, bias = recurrent.prepared(recurrent.weight), 2.0 * recurrent.extra[0]
        loop = zip(
            steps.steps(projected[:, : 2 * H]),
            *map(steps.steps, projected.chunk(3, dim=1)),
            steps.before(h),
            steps.steps(h[steps.B :]),
            steps.steps(product),
            strict=True,
        )
        for ru, r, u, c, before, after, product_t in loop:
            of_gates, of_candidate = hidden.times(before).split([2 * H, H], dim=1)
            ru.add_(of_gates).sigmoid_()
            torch.add(of_candidate, bias, out=product_t)
            sigmoid_to_tanh(c.addcmul_(r, product_t).sigmoid_())
            torch.lerp(before, c, u, out=after)
        return Pass(steps, projected, (h,), (product,))

    def backward(self, run: Pass, recurrent: Recurrent, by_states: tuple[Tensor, ...]) -> Gradients:
        """See `FastKernel`. Blocks c, r, u, q: the input sees the first three, h the last."""
        (dh,), steps, H = by_states, run.steps, recurrent.weight.shape[1]
        r, u, c = run.gates.chunk(3, dim=1)
        before, (product,) = steps.all_before(run.states[0]), run.kept
        keeps = 1.0 - u
        slopes = u.new_empty(len(u), 4, H)
        by_c, by_r, by_u, by_q = slopes.unbind(1)
        torch.mul(_by_candidate(u, c, out=by_c), r, out=by_q)
        torch.mul(product, by_q, out=by_r).addcmul_(by_r, r, value=-1.0).mul_(0.5)
        _by_update(u, c, before, keeps, out=by_u)
        hidden = recurrent.prepared_back(recurrent.weight.t())
        d = _back_through(steps, dh, slopes, keeps, hidden, read=slice(H, None))
        by_projected = torch.cat([d[:, H : 3 * H], d[:, :H]], dim=1)
        by_hidden = recurrent.outer(d[:, H:], before)
        return Gradients(by_projected, by_hidden, (d[:, 3 * H :].sum(0),))


def _back_through(
    steps: PackedSteps, dh: Tensor, slopes: Tensor, keeps: Tensor, hidden: Product, read: slice
) -> Tensor:
    """The gradients by the pre-activations where all of them follow from that by c<t>, (N, k*H).

    Args:
        steps: the real steps.
        dh: (B + N, H), see `FastKernel.backward`.
        slopes: (N, k, H) derivatives of c<t> by the pre-activations.
        keeps: (N, H) derivative of c<t> by c<t-1> beside them.
        hidden: W_hᵀ.
        read: the columns of the result that h_{t-1} is multiplied into.
    """
    d = torch.empty_like(slopes)
    loop = zip(
        *map(steps.steps, (d, d.flatten(1)[:, read], slopes, keeps, dh[steps.B :])),
        steps.before(dh),
        strict=True,
    )
    for d_t, d_read, slopes_t, keeps_t, dh_t, dh_before in reversed(list(loop)):
        torch.mul(dh_t.unsqueeze(1), slopes_t, out=d_t)
        dh_before.addcmul_(dh_t, keeps_t)
        hidden.add_to(dh_before, d_read)
    return d.flatten(1)


def _by_update_and_candidate(u: Tensor, c: Tensor, before: Tensor, keeps: Tensor) -> Tensor:
    """The derivatives of c<t> by the pre-activations of Γ_u and c̃<t>, (N, 2, H)."""
    slopes = u.new_empty(len(u), 2, u.shape[1])
    _by_update(u, c, before, keeps, out=slopes[:, 0])
    _by_candidate(u, c, out=slopes[:, 1])
    return slopes


def _by_update(u: Tensor, c: Tensor, before: Tensor, keeps: Tensor, out: Tensor) -> Tensor:
    """The derivative of c<t> by the pre-activation of Γ_u."""
    return torch.sub(c, before, out=out).mul_(u).mul_(keeps)


def _by_candidate(u: Tensor, c: Tensor, out: Tensor) -> Tensor:
    """The derivative of c<t> by the pre-activation of c̃<t>."""
    return torch.addcmul(u, torch.mul(c, c, out=out), u, value=-1.0, out=out)
