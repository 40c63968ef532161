"""The choice of the kernel of a cell, `cell.kernel`."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqpipe.errors import ConfigError
from seqpipe.nn.cell import Cell, Kernel, State
from seqpipe.nn.kernels.fast_gru import FastGRU, FastSimplifiedGRU
from seqpipe.nn.kernels.fast_lstm import FastLSTM, Peephole
from seqpipe.nn.kernels.step_loop import StepLoop
from seqpipe.nn.kernels.triton_gru import TritonGRU, TritonSimplifiedGRU
from seqpipe.nn.kernels.triton_lstm import TritonLSTM


def select_kernel(cell: Cell) -> Kernel:
    """The kernel that `cell.kernel` names.

    Raises:
        ConfigError: the cell has no such kernel.
    """
    found = _kernels_of(cell)
    if cell.kernel == "auto":
        return FirstThatFits("auto", *found.values())
    if cell.kernel not in found:
        allowed = ", ".join(["auto", *found])
        wrong = f"{type(cell).__name__} has no such kernel with its present options"
        raise ConfigError(f"cell.kernel={cell.kernel}: {wrong}; allowed: {allowed}")
    return found[cell.kernel]


def _kernels_of(cell: Cell) -> dict[str, Kernel]:
    """The kernels that have the step of a cell with its options, by name; the loop last."""
    own = "kernels" in vars(type(cell)) and cell.is_plain
    found = cell.kernels() if own else {}
    if cell.needs_mask:
        found = {name: kernel for name, one in found.items() if (kernel := _masking(one))}
    return {**found, "loop": StepLoop()}


def _masks(kernel: Kernel) -> bool:
    """See `Kernel`; a kernel of the user's need not say so."""
    return getattr(kernel, "masks", False)


def _masking(kernel: Kernel) -> Kernel | None:
    """The kernel, or those of several, that read h_{t-1} through a mask; None: there is none."""
    if isinstance(kernel, FirstThatFits):
        kernels = [one for one in kernel.kernels if _masks(one)]
        return FirstThatFits(kernel.name, *kernels) if kernels else None
    return kernel if _masks(kernel) else None


def kernel_on(kernel: Kernel, device: torch.device, dtype: torch.dtype) -> Kernel:
    """The kernel that runs weights of this dtype on this device."""
    return kernel.first(device, dtype) if isinstance(kernel, FirstThatFits) else kernel


class FirstThatFits:
    """The first of several kernels that can run a batch.

    Args:
        choice: the value of `cell.kernel` that chooses among them.
        kernels: the preferred one first.
    """

    def __init__(self, choice: str, *kernels: Kernel) -> None:
        self.name, self.kernels = choice, kernels
        self.masks = all(map(_masks, kernels))

    def first(self, device: torch.device, dtype: torch.dtype) -> Kernel:
        """The kernel for weights of this dtype on this device; the last one where none fits."""
        fitting = (kernel for kernel in self.kernels if kernel.fits(device, dtype))
        return kernel_on(next(fitting, self.kernels[-1]), device, dtype)

    def fits(self, device: torch.device, dtype: torch.dtype) -> bool:
        """See `Kernel`: where one of them does."""
        return any(kernel.fits(device, dtype) for kernel in self.kernels)

    def __call__(
        self,
        cell: Cell,
        x: Float[Tensor, "B T D"],
        lengths: Int[Tensor, " B"] | None,
        state: State,
        *,
        reverse: bool = False,
        final: bool = True,
    ) -> tuple[Float[Tensor, "B T H"], State]:
        """See `Kernel`.

        Raises:
            ConfigError: none of them fits.
        """
        dtype = cell.weight_hidden.dtype
        kernel = self.first(x.device, dtype)
        if not kernel.fits(x.device, dtype):
            raise ConfigError(cannot_run(cell, x.device))
        return kernel(cell, x, lengths, state, reverse=reverse, final=final)


def fast_gru() -> Kernel:
    """`fast` of the GRU that resets before the product: the loop of the CPU, or of a GPU."""
    return FirstThatFits("fast", FastGRU(), TritonGRU())


def fast_simplified_gru() -> Kernel:
    """`fast` of the GRU without a reset gate."""
    return FirstThatFits("fast", FastSimplifiedGRU(), TritonSimplifiedGRU())


def fast_lstm(*, output_tanh: bool, peephole: Peephole = "none") -> Kernel:
    """`fast` of the LSTM, with the arguments of `FastLSTM`."""
    of_cpu = FastLSTM(output_tanh=output_tanh, peephole=peephole)
    return FirstThatFits("fast", of_cpu, TritonLSTM(output_tanh=output_tanh, peephole=peephole))


def cannot_run(cell: Cell, device: torch.device) -> str:
    """The message about a kernel that cannot run a cell on a device, and what is allowed."""
    dtype = cell.weight_hidden.dtype
    found = _kernels_of(cell).items()
    allowed = ", ".join(["auto", *(name for name, one in found if one.fits(device, dtype))])
    wrong = f"it cannot run {type(cell).__name__} in {str(dtype).removeprefix('torch.')}"
    return f"cell.kernel={cell.kernel}: {wrong} on {device.type} here; allowed: {allowed}"
