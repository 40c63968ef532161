"""The Triton loop of the LSTM, with and without peepholes."""

from typing import Any

import torch
from torch import Tensor

from seqpipe.nn.cell import State
from seqpipe.nn.kernels.fast_lstm import Peephole
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


class TritonLSTM(TritonLoop):
    """Blocks i, f, g, o; the equations of a step are in `triton_lstm_steps`.

    Args:
        output_tanh: a<t> = Γ_o * tanh(c<t>); False: Γ_o * c<t>.
        peephole: the memory cell that Γ_o sees; Γ_u and Γ_f see c<t-1>. `none`: no gate sees one.
    """

    def __init__(self, *, output_tanh: bool, peephole: Peephole = "none") -> None:
        self.peephole = peephole
        self.extra = () if peephole == "none" else ("peephole",)
        self._options: dict[str, Any] = {"PEEPHOLE": peephole, "OUTPUT_TANH": output_tanh}

    def forward(self, gates: Tensor, recurrent: Recurrent, first: State) -> Pass:
        """See `TritonLoop`."""
        from seqpipe.nn.kernels.triton_lstm_steps import forward

        T, (B, H) = len(gates), first[0].shape
        h, c = (room_for_states(part, T) for part in first)
        read = room_to_read(h, recurrent)
        see = recurrent.extra[0].contiguous() if recurrent.extra else h
        product = read.new_empty(B, 4 * H)
        to_gates, grid = recurrent.weight.t(), blocks(first[0])
        sizes: dict[str, Any] = {"B": B, "H": H, "HALF": recurrent.half, "BLOCK": BLOCK}
        tensors = gates, product, see, h, c, read, recurrent.lengths
        for step, before in enumerate(read[:-1].unbind()):
            torch.mm(before, to_gates, out=product)
            forward[grid](*tensors, step, **sizes, **self._options)
        return Pass(gates, (h, c), (read,))

    def backward(
        self, run: Pass, recurrent: Recurrent, by_outputs: Tensor, by_final: State
    ) -> Gradients:
        """See `TritonLoop`."""
        from seqpipe.nn.kernels.triton_lstm_steps import backward

        (h, c), (read,), (dh, dc) = run.states, run.read, by_final
        T, (B, H) = len(run.gates), dh.shape
        see = recurrent.extra[0].contiguous() if recurrent.extra else h
        product, d = read.new_zeros(B, H), read.new_empty(T, B, 4 * H)
        sizes: dict[str, Any] = {"B": B, "H": H, "BLOCK": BLOCK}
        tensors = run.gates, c, see, by_outputs, product, dh, dc, d, recurrent.lengths
        grid = blocks(dh)
        for step, d_t in reversed(list(enumerate(d.unbind()))):
            backward[grid](*tensors, step, **sizes, **self._options)
            torch.mm(d_t, recurrent.weight, out=product)
        by_extra = (self._by_peephole(d, c),) if recurrent.extra else ()
        return Gradients(d, outer(d, read[:-1]), by_extra, (dh + product, dc))

    def _by_peephole(self, d: Tensor, c: Tensor) -> Tensor:
        """(3, H), rows i, f, o. d: (T, B, 4H); c: (T + 1, B, H)."""
        i, f, _, o = d.to(c.dtype).chunk(4, dim=2)
        seen_by_o = c[1:] if self.peephole == "current" else c[:-1]
        pairs = (i, c[:-1]), (f, c[:-1]), (o, seen_by_o)
        return torch.stack([(gate * seen).sum((0, 1)) for gate, seen in pairs])
