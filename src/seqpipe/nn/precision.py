"""Precision of losses, and of sums of many of them."""

import torch
from torch import Tensor


def precise(values: Tensor) -> Tensor:
    """The values in float32 at least: sums in half precision lose digits."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def widest(device: torch.device) -> torch.dtype:
    """float64, or float32 on a device that has no float64 (Apple's GPUs)."""
    return torch.float32 if device.type == "mps" else torch.float64


def exact(values: Tensor) -> Tensor:
    """The values in float64, on the CPU where their device has none (Apple's GPUs)."""
    return (values.cpu() if values.device.type == "mps" else values).double()
