"""The Triton loops of the gated recurrent units that cuDNN does not have."""

from typing import Any

import torch
from torch import Tensor

from seqpipe.nn.cell import State
from seqpipe.nn.kernels.triton_loop import (
    BLOCK,
    Gradients,
    Pass,
    Recurrent,
    TritonLoop,
    blocks,
    outer,
    room_for_states,
    room_to_read,
)


class TritonSimplifiedGRU(TritonLoop):
    """Blocks u, c; the equations of a step are in `triton_gru_steps`."""

    def forward(self, gates: Tensor, recurrent: Recurrent, first: State) -> Pass:
        """See `TritonLoop`."""
        from seqpipe.nn.kernels.triton_gru_steps import move

        T, (B, H) = len(gates), first[0].shape
        h = room_for_states(first[0], T)
        read = room_to_read(h, recurrent)
        product, grid, to_gates = read.new_empty(B, 2 * H), blocks(first[0]), recurrent.weight.t()
        sizes: dict[str, Any] = {"B": B, "H": H, "G": 2, "HALF": recurrent.half, "BLOCK": BLOCK}
        for step, before in enumerate(read[:-1].unbind()):
            torch.mm(before, to_gates, out=product)
            move[grid](gates, product, h, read, recurrent.lengths, step, **sizes)
        return Pass(gates, (h,), (read,))

    def backward(
        self, run: Pass, recurrent: Recurrent, by_outputs: Tensor, by_final: State
    ) -> Gradients:
        """See `TritonLoop`."""
        from seqpipe.nn.kernels.triton_gru_steps import move_back

        (h,), (read,), (dh,) = run.states, run.read, by_final
        T, (B, H) = len(run.gates), dh.shape
        product, d, grid = read.new_zeros(B, H), read.new_empty(T, B, 2 * H), blocks(dh)
        sizes: dict[str, Any] = {"B": B, "H": H, "G": 2, "BLOCK": BLOCK}
        tensors = run.gates, h, by_outputs, product, dh, d, recurrent.lengths
        for step, d_t in reversed(list(enumerate(d.unbind()))):
            move_back[grid](*tensors, step, **sizes)
            torch.mm(d_t, recurrent.weight, out=product)
        return Gradients(d, outer(d, read[:-1]), (), (dh + product,))


class TritonGRU(TritonLoop):
    """Blocks r, u, c; the reset gate multiplies c<t-1>, so a step has two products."""

    def forward(self, gates: Tensor, recurrent: Recurrent, first: State) -> Pass:
        """See `TritonLoop`. Keeps Γ_r * c<t-1>."""
        from seqpipe.nn.kernels.triton_gru_steps import move, reset

        T, (B, H) = len(gates), first[0].shape
        h = room_for_states(first[0], T)
        read = room_to_read(h, recurrent)
        kept, of_gates, of_candidate = (read.new_empty(*n) for n in ((T, B, H), (B, 2 * H), (B, H)))
        to_gates, to_candidate = (part.t() for part in recurrent.weight.split([2 * H, H]))
        sizes: dict[str, Any] = {"B": B, "H": H, "BLOCK": BLOCK}
        options: dict[str, Any] = {"G": 3, "HALF": recurrent.half, **sizes}
        grid = blocks(first[0])
        for step, (before, kept_t) in enumerate(
            zip(read[:-1].unbind(), kept.unbind(), strict=True)
        ):
            torch.mm(before, to_gates, out=of_gates)
            reset[grid](gates, of_gates, h, kept, step, **sizes)
            torch.mm(kept_t, to_candidate, out=of_candidate)
            move[grid](gates, of_candidate, h, read, recurrent.lengths, step, **options)
        return Pass(gates, (h,), (read, kept))

    def backward(
        self, run: Pass, recurrent: Recurrent, by_outputs: Tensor, by_final: State
    ) -> Gradients:
        """See `TritonLoop`."""
        from seqpipe.nn.kernels.triton_gru_steps import move_back, reset_back

        (h,), (read, kept), (dh,) = run.states, run.read, by_final
        T, (B, H) = len(run.gates), dh.shape
        by_h, by_kept, d = read.new_zeros(B, H), read.new_empty(B, H), read.new_empty(T, B, 3 * H)
        of_gates, of_candidate = recurrent.weight.split([2 * H, H])
        d_gates, d_candidate = d.split([2 * H, H], dim=2)
        sizes: dict[str, Any] = {"B": B, "H": H, "BLOCK": BLOCK}
        tensors = run.gates, h, by_outputs, by_h, dh, d, recurrent.lengths
        grid = blocks(dh)
        loop = enumerate(zip(d_gates.unbind(), d_candidate.unbind(), strict=True))
        for step, (d_gates_t, d_candidate_t) in reversed(list(loop)):
            move_back[grid](*tensors, step, G=3, **sizes)
            torch.mm(d_candidate_t, of_candidate, out=by_kept)
            reset_back[grid](run.gates, h, by_kept, dh, d, step, **sizes)
            torch.mm(d_gates_t, of_gates, out=by_h)
        by_weight = torch.cat([outer(d_gates, read[:-1]), outer(d_candidate, kept)])
        return Gradients(d, by_weight, (), (dh + by_h,))
