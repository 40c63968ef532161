"""Compiles every Triton kernel for GPUs that need not be there, and prints how many.

Run by `test_triton_without_gpu.py`, in a process without Triton's interpreter.
"""

from itertools import product

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from seqpipe.nn.kernels import triton_gru_steps as gru
from seqpipe.nn.kernels import triton_lstm_steps as lstm

OF_PRODUCTS = {"product", "read", "kept", "d"}
TARGETS = {70: ("*fp32", "*fp16"), 80: ("*fp32", "*bf16"), 90: ("*fp64", "*fp64")}
"""By compute capability: types of pointers to states, and to what products read and write."""


def variants():
    """Each kernel with its options."""
    for peephole, tanh in product(("none", "previous", "current"), (True, False)):
        options = {"PEEPHOLE": peephole, "OUTPUT_TANH": tanh}
        yield lstm.forward, options
        yield lstm.backward, options
    for gates in (2, 3):
        yield gru.move, {"G": gates}
        yield gru.move_back, {"G": gates}
    yield gru.reset, {}
    yield gru.reset_back, {}


def compile_for(capability, kernel, options, full, half):
    """Compiles one kernel. full, half: types of pointers, of states and of products."""
    constants = {"H": 37, "BLOCK": 256, **options}
    if "HALF" in kernel.arg_names:
        constants["HALF"] = full != half
    kinds = {"step": "i32", "B": "i32", "lengths": "*i64"}
    signature = {
        name: "constexpr"
        if name in constants
        else kinds.get(name, half if name in OF_PRODUCTS else full)
        for name in kernel.arg_names
    }
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
    assert "cubin" in triton.compile(source, target=GPUTarget("cuda", capability, 32)).asm


def main():
    count = 0
    for capability, (full, half) in TARGETS.items():
        for kernel, options in variants():
            compile_for(capability, kernel, options, full, half)
            count += 1
    print(count, "kernels compiled")


if __name__ == "__main__":
    main()
