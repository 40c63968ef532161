"""The choice of the kernel of a cell, `cell.kernel`."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqpipe.errors import ConfigError
from seqpipe.nn.cell import Cell, Kernel, State
from seqpipe.nn.kernels.step_loop import StepLoop


def select_kernel(cell: Cell) -> Kernel:
    """The kernel that `cell.kernel` names.

    Raises:
        ConfigError: the cell has no such kernel.
    """
    own = "kernels" in vars(type(cell))
    found = {**(cell.kernels() if own else {}), "loop": StepLoop()}
    if cell.kernel == "auto":
        return FirstThatFits(found)
    if cell.kernel not in found:
        allowed = ", ".join(["auto", *found])
        wrong = f"{type(cell).__name__} has no such kernel with its present options"
        raise ConfigError(f"cell.kernel={cell.kernel}: {wrong}; allowed: {allowed}")
    return found[cell.kernel]


def kernel_on(kernel: Kernel, device: torch.device, dtype: torch.dtype) -> Kernel:
    """The kernel that runs weights of this dtype on this device."""
    return kernel.first(device, dtype) if isinstance(kernel, FirstThatFits) else kernel


class FirstThatFits:
    """The first of several kernels that can run a batch.

    Args:
        kernels: by name, the preferred one first; the last one fits everywhere.
    """

    name = "auto"

    def __init__(self, kernels: Mapping[str, Kernel]) -> None:
        self.kernels = tuple(kernels.values())

    def first(self, device: torch.device, dtype: torch.dtype) -> Kernel:
        """The kernel for weights of this dtype on this device."""
        return next(kernel for kernel in self.kernels if kernel.fits(device, dtype))

    def fits(self, device: torch.device, dtype: torch.dtype) -> bool:
        """See `Kernel`: everywhere."""
        return True

    def __call__(
        self,
        cell: Cell,
        x: Float[Tensor, "B T D"],
        lengths: Int[Tensor, " B"] | None,
        state: State,
        *,
        reverse: bool = False,
    ) -> tuple[Float[Tensor, "B T H"], State]:
        """See `Kernel`."""
        kernel = self.first(x.device, cell.weight_hidden.dtype)
        return kernel(cell, x, lengths, state, reverse=reverse)
