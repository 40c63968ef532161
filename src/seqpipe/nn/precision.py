"""In what precision losses are computed."""

import torch
from torch import Tensor


def precise(values: Tensor) -> Tensor:
    """The values in float32, or in float64 where they are that: sums in half precision are none."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
