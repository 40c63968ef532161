"""Functions that the Triton kernels share. Importing this imports Triton.

A kernel computes all that is elementwise in one time step, on (B, H) matrices in one piece of
memory, a block of their elements a program. `@no_type_check`: a kernel is compiled from its source,
so it is no function that a type checker could wrap.
"""

from typing import no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
@no_type_check
def elements(B, H: tl.constexpr, BLOCK: tl.constexpr):
    """The elements of this program's block: place, row and column, and True inside the matrix."""
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    return place, place // H, place % H, place < B * H


@triton.jit
@no_type_check
def running(lengths, row, step, inside):
    """True where the sequence of a row has this step; elsewhere its state stays as it is."""
    return inside & (step < tl.load(lengths + row, mask=inside, other=0))


@triton.jit
@no_type_check
def precise(pointers, inside, like):
    """The numbers at the pointers, 0 outside the matrix, in the precision of `like`."""
    return tl.load(pointers, mask=inside, other=0.0).to(like.dtype.element_ty)


@triton.jit
@no_type_check
def sigmoid(a):
    """The logistic function. e^-|a| never overflows."""
    e = tl.exp(-tl.abs(a))
    return tl.where(a >= 0, 1.0, e) / (1.0 + e)


@triton.jit
@no_type_check
def tanh(a):
    """The hyperbolic tangent. e^-2|a| never overflows; the error is that of rounding at 1."""
    e = tl.exp(-2.0 * tl.abs(a))
    size = (1.0 - e) / (1.0 + e)
    return tl.where(a >= 0, size, -size)


@triton.jit
@no_type_check
def squash(x, y, H: tl.constexpr, BLOCK: tl.constexpr):
    """Writes σ(x) to y, (H,) each: a small kernel, to see whether Triton works."""
    place, _, _, inside = elements(1, H, BLOCK)
    tl.store(y + place, sigmoid(precise(x + place, inside, y)), mask=inside)


def works_on(device: torch.device) -> bool:
    """Compiles and runs a small kernel. True where it gives its answer."""
    x = torch.linspace(-200.0, 200.0, 9, device=device)
    y: Tensor = torch.empty_like(x)
    with torch.cuda.device_of(x):
        squash[(1,)](x, y, H=9, BLOCK=16)
    return torch.allclose(y, x.sigmoid())
