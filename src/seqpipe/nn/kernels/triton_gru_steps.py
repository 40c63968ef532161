"""One time step of the elementwise half of the gated recurrent units, in Triton.

Importing this imports Triton. Every argument with a shape is in one piece of memory:

    gates       (T, B, G*H), blocks u, c, and r before them in `cells.GRU`: the input's half of the
                pre-activations, over which the values of the gates are written
    h           (T + 1, B, H), c<t> behind the first state
    lengths     (B,) real steps
    by_outputs  (T, B, H), the gradient by c<t> from above, 0 at padding
    d           (T, B, G*H), the gradient by the pre-activations, 0 at padding
    dh          (B, H), the gradient by the state, as far as it is known
    step        0..T-1
    G           gates
    BLOCK       elements of a program
"""

from typing import no_type_check

import triton
import triton.language as tl

from seqpipe.nn.kernels.triton_elementwise import elements, precise, running, sigmoid, tanh


@triton.jit(do_not_specialize=["step", "B"])
@no_type_check
def reset(gates, product, h, kept, step, B, H: tl.constexpr, BLOCK: tl.constexpr):
    """Γ_r = σ(r + p_r), Γ_u = σ(u + p_u), and Γ_r * c<t-1>, which the candidate reads.

    `product` is W_ru c<t-1>, (B, 2H); `kept` (T, B, H) gets
    Γ_r * c<t-1>, in the precision of the products.
    """
    place, row, column, inside = elements(B, H, BLOCK)
    now = step.to(tl.int64) * B * H
    a, p = gates + 3 * now + row * 3 * H + column, product + row * 2 * H + column
    r = sigmoid(precise(a, inside, h) + precise(p, inside, h))
    u = sigmoid(precise(a + H, inside, h) + precise(p + H, inside, h))
    tl.store(a, r, mask=inside)
    tl.store(a + H, u, mask=inside)
    seen = r * precise(h + now + place, inside, h)
    tl.store(kept + now + place, seen.to(kept.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["step", "B"])
@no_type_check
def move(
    gates,
    product,
    h,
    read,
    lengths,
    step,
    B,
    H: tl.constexpr,
    G: tl.constexpr,
    HALF: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """c̃<t> = tanh(c + p_c);  c<t> = c<t-1> + Γ_u * (c̃<t> - c<t-1>).

    With G = 2 `product` is W_h c<t-1>, (B, 2H), and Γ_u = σ(u + p_u) is computed here. With G = 3
    it is W_c (Γ_r * c<t-1>), (B, H), and `reset` has computed Γ_u. Where HALF, `read`
    (T + 1, B, H) gets h in half precision.
    """
    place, row, column, inside = elements(B, H, BLOCK)
    runs = running(lengths, row, step, inside)
    now = step.to(tl.int64) * B * H
    after = now + B * H
    to_u = gates + G * now + row * G * H + (G - 2) * H + column
    u, c = precise(to_u, inside, h), precise(to_u + H, inside, h)
    if G == 2:
        p = product + row * 2 * H + column
        u = sigmoid(u + precise(p, inside, h))
        tl.store(to_u, u, mask=inside)
        c = tanh(c + precise(p + H, inside, h))
    else:
        c = tanh(c + precise(product + place, inside, h))
    tl.store(to_u + H, c, mask=inside)
    before = precise(h + now + place, inside, h)
    h_t = tl.where(runs, before + u * (c - before), before)
    tl.store(h + after + place, h_t, mask=inside)
    if HALF:
        tl.store(read + after + place, h_t.to(read.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["step", "B"])
@no_type_check
def move_back(
    gates,
    h,
    by_outputs,
    product,
    dh,
    d,
    lengths,
    step,
    B,
    H: tl.constexpr,
    G: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The gradient of `move`.

    ∂u = ∂c<t> (c̃<t> - c<t-1>) Γ_u (1 - Γ_u); ∂c = ∂c<t> Γ_u (1 - c̃<t>²), and directly
    ∂c<t-1> = ∂c<t> (1 - Γ_u), which is written over dh. ∂c<t> is dh + product + by_outputs;
    `product` (B, H) is W_hᵀ d of the step after this one, with G = 3 of r and u alone.
    """
    place, row, column, inside = elements(B, H, BLOCK)
    runs = running(lengths, row, step, inside)
    now = step.to(tl.int64) * B * H
    to_u = G * now + row * G * H + (G - 2) * H + column
    u, c = precise(gates + to_u, inside, dh), precise(gates + to_u + H, inside, dh)
    before = precise(h + now + place, inside, dh)
    by_h = precise(dh + place, inside, dh) + precise(product + place, inside, dh)
    by_h += precise(by_outputs + now + place, inside, dh)

    d_u, d_c = by_h * (c - before) * u * (1.0 - u), by_h * u * (1.0 - c * c)
    half = d.dtype.element_ty
    tl.store(d + to_u, tl.where(runs, d_u, 0.0).to(half), mask=inside)
    tl.store(d + to_u + H, tl.where(runs, d_c, 0.0).to(half), mask=inside)
    tl.store(dh + place, tl.where(runs, by_h * (1.0 - u), by_h), mask=inside)


@triton.jit(do_not_specialize=["step", "B"])
@no_type_check
def reset_back(gates, h, product, dh, d, step, B, H: tl.constexpr, BLOCK: tl.constexpr):
    """The gradient of `reset`: ∂r = ∂(r h) c<t-1> Γ_r (1 - Γ_r); ∂c<t-1> += ∂(r h) Γ_r.

    `product` is W_cᵀ ∂c = ∂(r h), (B, H), 0 at padding.
    """
    place, row, column, inside = elements(B, H, BLOCK)
    now = step.to(tl.int64) * B * H
    to_r = 3 * now + row * 3 * H + column
    r, by_reset = precise(gates + to_r, inside, dh), precise(product + place, inside, dh)
    d_r = by_reset * precise(h + now + place, inside, dh) * r * (1.0 - r)
    tl.store(d + to_r, d_r.to(d.dtype.element_ty), mask=inside)
    tl.store(dh + place, precise(dh + place, inside, dh) + by_reset * r, mask=inside)
