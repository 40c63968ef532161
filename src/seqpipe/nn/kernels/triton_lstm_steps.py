"""One time step of the LSTM's elementwise half, forwards and backwards, in Triton.

Importing this imports Triton. Every argument with a shape is in one piece of memory:

    gates       (T, B, 4H), blocks i, f, g, o: the input's half of the pre-activations, over which
                `forward` writes the values of the gates
    see         the peephole weights (3, H), rows i, f, o; not read where PEEPHOLE is `none`
    h, c        (T + 1, B, H), a<t> and c<t> behind the first state
    read        (T + 1, B, H), h in half precision; not written unless HALF
    lengths     (B,) real steps
    by_outputs  (T, B, H), the gradient by a<t> from above, 0 at padding
    d           (T, B, 4H), the gradient by the pre-activations, 0 at padding
    step        0..T-1
    PEEPHOLE    `none`, `previous` or `current`: the memory cell that Γ_o sees
    OUTPUT_TANH a<t> = Γ_o * tanh(c<t>); False: Γ_o * c<t>
    BLOCK       elements of a program
"""

from typing import no_type_check

import triton
import triton.language as tl

from seqpipe.nn.kernels.triton_elementwise import elements, precise, running, sigmoid, tanh


@triton.jit
@no_type_check
def store(to, H: tl.constexpr, inside, i, f, g, o):
    """Stores the four blocks of a row, H apart, in the precision of where they go."""
    kind = to.dtype.element_ty
    tl.store(to, i.to(kind), mask=inside)
    tl.store(to + H, f.to(kind), mask=inside)
    tl.store(to + 2 * H, g.to(kind), mask=inside)
    tl.store(to + 3 * H, o.to(kind), mask=inside)


@triton.jit(do_not_specialize=["step", "B"])
@no_type_check
def forward(
    gates,
    product,
    see,
    h,
    c,
    read,
    lengths,
    step,
    B,
    H: tl.constexpr,
    PEEPHOLE: tl.constexpr,
    OUTPUT_TANH: tl.constexpr,
    HALF: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The equations of `cells.LSTM` and `cells.PeepholeLSTM`; `product` is W_h a<t-1>, (B, 4H)."""
    place, row, column, inside = elements(B, H, BLOCK)
    runs = running(lengths, row, step, inside)
    now = step.to(tl.int64) * B * H
    after = now + B * H
    a, p = gates + 4 * now + row * 4 * H + column, product + row * 4 * H + column

    i = precise(a, inside, h) + precise(p, inside, h)
    f = precise(a + H, inside, h) + precise(p + H, inside, h)
    g = precise(a + 2 * H, inside, h) + precise(p + 2 * H, inside, h)
    o = precise(a + 3 * H, inside, h) + precise(p + 3 * H, inside, h)
    h_before = precise(h + now + place, inside, h)
    c_before = precise(c + now + place, inside, h)
    if PEEPHOLE != "none":
        i += precise(see + column, inside, h) * c_before
        f += precise(see + H + column, inside, h) * c_before
    i, f, g = sigmoid(i), sigmoid(f), tanh(g)
    c_t = f * c_before + i * g
    if PEEPHOLE == "previous":
        o += precise(see + 2 * H + column, inside, h) * c_before
    if PEEPHOLE == "current":
        o += precise(see + 2 * H + column, inside, h) * c_t
    o = sigmoid(o)
    h_t = o * c_t
    if OUTPUT_TANH:
        h_t = o * tanh(c_t)

    store(a, H, inside, i, f, g, o)
    h_t = tl.where(runs, h_t, h_before)
    tl.store(h + after + place, h_t, mask=inside)
    tl.store(c + after + place, tl.where(runs, c_t, c_before), mask=inside)
    if HALF:
        tl.store(read + after + place, h_t.to(read.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["step", "B"])
@no_type_check
def backward(
    gates,
    c,
    see,
    by_outputs,
    product,
    dh,
    dc,
    d,
    lengths,
    step,
    B,
    H: tl.constexpr,
    PEEPHOLE: tl.constexpr,
    OUTPUT_TANH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The gradient of `forward`.

    With m = tanh(c<t>) or c<t>: ∂o = ∂a<t> m Γ_o (1 - Γ_o); ∂c<t> += ∂a<t> Γ_o m';
    ∂i = ∂c<t> c̃ Γ_u (1 - Γ_u); ∂f = ∂c<t> c<t-1> Γ_f (1 - Γ_f); ∂g = ∂c<t> Γ_u (1 - c̃²);
    ∂c<t-1> = ∂c<t> Γ_f; where a gate sees a memory cell, that memory cell gets p times the gate's.
    ∂a<t> is dh + product + by_outputs, (B, H) each; `product` is W_hᵀ d of the step after this
    one. dh and dc are overwritten by those of the step before.
    """
    place, row, column, inside = elements(B, H, BLOCK)
    runs = running(lengths, row, step, inside)
    now = step.to(tl.int64) * B * H
    a = gates + 4 * now + row * 4 * H + column
    i, f = precise(a, inside, dh), precise(a + H, inside, dh)
    g, o = precise(a + 2 * H, inside, dh), precise(a + 3 * H, inside, dh)
    c_before = precise(c + now + place, inside, dh)
    c_t = precise(c + now + B * H + place, inside, dh)
    by_h = precise(dh + place, inside, dh) + precise(product + place, inside, dh)
    by_h += precise(by_outputs + now + place, inside, dh)
    by_c = precise(dc + place, inside, dh)
    m = c_t
    by_m = by_h * o
    if OUTPUT_TANH:
        m = tanh(c_t)
        by_m *= 1.0 - m * m
    d_o = by_h * m * o * (1.0 - o)
    by_c_t = by_c + by_m
    if PEEPHOLE == "current":
        by_c_t += d_o * precise(see + 2 * H + column, inside, dh)
    d_i = by_c_t * g * i * (1.0 - i)
    d_f = by_c_t * c_before * f * (1.0 - f)
    d_g = by_c_t * i * (1.0 - g * g)
    by_before = by_c_t * f
    if PEEPHOLE != "none":
        by_before += d_i * precise(see + column, inside, dh)
        by_before += d_f * precise(see + H + column, inside, dh)
    if PEEPHOLE == "previous":
        by_before += d_o * precise(see + 2 * H + column, inside, dh)

    d_i, d_f = tl.where(runs, d_i, 0.0), tl.where(runs, d_f, 0.0)
    d_g, d_o = tl.where(runs, d_g, 0.0), tl.where(runs, d_o, 0.0)
    store(d + 4 * now + row * 4 * H + column, H, inside, d_i, d_f, d_g, d_o)
    tl.store(dh + place, tl.where(runs, 0.0, by_h), mask=inside)
    tl.store(dc + place, tl.where(runs, by_before, by_c), mask=inside)
