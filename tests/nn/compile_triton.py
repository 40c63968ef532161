"""Compiles every Triton kernel for GPUs that need not be there, and prints how many.

The layers make the calls that they make on a GPU, on tensors of the CPU; each compiles its kernel
and launches nothing. Run by `test_triton_without_gpu.py`, in a process of its own.
"""

from functools import partial

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from seqpipe.nn.cells import GRU, LSTM, PeepholeLSTM, SimplifiedGRU
from seqpipe.nn.kernels import triton_elementwise
from seqpipe.nn.kernels.triton_loop import TritonLoop

CELLS = [
    LSTM,
    partial(LSTM, output_tanh=False),
    PeepholeLSTM,
    partial(PeepholeLSTM, output_peephole="current"),
    SimplifiedGRU,
    GRU,
]
PRECISIONS = {70: torch.float16, 80: torch.bfloat16, 90: torch.float64}
"""By compute capability: the precision of the products. The oldest GPU has no bfloat16."""
kernels = {}


class Absent:
    """What Triton asks of a GPU before it compiles."""

    def __init__(self, capability):
        self.capability = capability

    def get_current_target(self):
        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self):
        return self.capability

    def get_current_stream(self, device):
        return 0


def compiling(kernel, grid):
    """In place of `kernel[grid]`, which launches it."""

    def call(*arguments, **options):
        made = kernel.run(*arguments, grid=grid, warmup=True, **options)
        assert "cubin" in made.asm
        kernels[id(made)] = made

    return call


def run(make_cell, precision):
    """Forward and backward of one layer."""
    cell = make_cell(3, 5).to(torch.float64 if precision is torch.float64 else torch.float32)
    (kernel,) = [k for k in cell.kernels()["fast"].kernels if isinstance(k, TritonLoop)]
    x = torch.randn(2, 3, 3, dtype=cell.bias.dtype)
    half = precision is not torch.float64
    with torch.autocast("cpu", dtype=precision if half else None, enabled=half):
        outputs, _ = kernel(cell, x, torch.tensor([3, 1]), cell.initial_state(2))
    outputs.sum().backward()


def main():
    JITFunction.__getitem__ = compiling
    for capability, precision in PRECISIONS.items():
        driver.set_active(Absent(capability))
        for make_cell in CELLS:
            run(make_cell, precision)
        x = torch.zeros(9)
        triton_elementwise.squash[(1,)](x, torch.empty_like(x), H=9, BLOCK=16)
    print(len(kernels), "kernels compiled")


if __name__ == "__main__":
    main()
