"""Means over the real steps of a batch, without waiting for a GPU.

A CPU takes the N real steps out. A GPU would have to wait until it knows N, so there padding stays,
with 0 in place of what it holds, and is left out of the mean.

Shapes: M things, which are the N real ones on a CPU, and all B*T steps or B examples elsewhere.
"""

from typing import Any

from jaxtyping import Bool
from torch import Tensor


def taken_out(mask: Bool[Tensor, "*axes"]) -> bool:
    """True where real steps are taken out of the padding."""
    return mask.device.type == "cpu"


def real_steps(mask: Bool[Tensor, "*axes"], *values: Tensor) -> tuple[Any, ...]:
    """Each of the values at real steps, (M, ...).

    Args:
        mask: True where a step is real, (B, T), or for each example, (B,).
        values: (B, T, ...) or (B, ...).
    """
    if taken_out(mask):
        return tuple(value[mask] for value in values)
    return tuple(
        value.masked_fill(~_as_wide_as(value, mask), 0).flatten(0, mask.ndim - 1)
        for value in values
    )


def mean_over_real(each: Tensor, mask: Bool[Tensor, "*axes"]) -> Tensor:
    """The sum of (M, ...) numbers of real steps over the number of those, a scalar."""
    if taken_out(mask):
        return each.sum() / len(each)
    real = mask.flatten()
    return each.masked_fill(~_as_wide_as(each, real), 0.0).sum() / real.sum()


def _as_wide_as(values: Tensor, mask: Tensor) -> Tensor:
    return mask.view(*mask.shape, *[1] * (values.ndim - mask.ndim))
