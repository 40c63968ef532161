"""Operators of oneDNN that torch has and does not document; tried once before they are used."""

from functools import cache
from typing import Any

import torch
from torch import Tensor


@cache
def multiplies(dtype: torch.dtype) -> bool:
    """True where the operators exist and give the product in this dtype."""
    if dtype not in (torch.float32, torch.bfloat16) or not torch.backends.mkldnn.is_available():
        return False
    x = torch.arange(6.0, dtype=dtype).view(2, 3)
    weight = torch.arange(12.0, dtype=dtype).view(4, 3)
    bias = torch.ones(4, dtype=dtype)
    try:
        given = product(x, packed(weight, rows=2), bias)
    except (AttributeError, RuntimeError, TypeError):  # removed or changed in a version of torch
        return False
    return torch.equal(given, x @ weight.t() + bias)


def packed(weight: Tensor, rows: int) -> Tensor:
    """A weight (K, D) in oneDNN's own layout, for products with about that many rows."""
    layout: Tensor = _operators()._reorder_linear_weight(weight.contiguous(), rows)
    return layout


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """X W^T + b. x: (N, D); weight: (K, D), packed or not; bias: (K,). Returns (N, K)."""
    result: Tensor = _operators()._linear_pointwise(x, weight, bias, "none", [], "")
    return result


def _operators() -> Any:
    return torch.ops.mkldnn
