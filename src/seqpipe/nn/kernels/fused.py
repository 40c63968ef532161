"""Kernels that hand a whole sequence to torch's fused layers (oneDNN, cuDNN), our weights in it.

torch adds two biases; ours is the first, the second is zero (or the GRU's `bias_hidden`).
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqpipe.nn.cell import Cell, State
from seqpipe.nn.kernels.padded import PaddedKernel
from seqpipe.nn.masks import (
    clear_padding,
    exchange_rows,
    last_real_step,
    length_mask,
    reversed_rows,
    rows_of,
)

# Pre-activations at which a sigmoid is exactly 0 or 1 in every precision, finite in half.
SHUT, OPEN = -1e4, 1e4
# Outweighs any hidden state worth having, and is still finite in half precision.
FAR_BELOW_ZERO = -6e4


class FusedLSTM(PaddedKernel):
    """`torch.lstm`, for an LSTM with `output_tanh`.

    torch.lstm returns c only after the last step, padding included. Where somebody reads the final
    state, padding is marked in a column of its own, whose weights shut i and o and open f: there c
    passes through unchanged, and h is 0.
    """

    name = "fused torch.lstm"

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
        """See `Kernel`."""
        if lengths is None:
            return super().__call__(cell, x, lengths, state, reverse=reverse, final=final)
        rows = reversed_rows(lengths, x.shape[1]) if reverse else None
        clear: Any = _Clear.apply
        padding = ~length_mask(lengths, x.shape[1])
        if not final:
            outputs, _ = self.run(cell, clear(x, padding, rows, False), None, state)
            return clear(outputs, padding, rows, False), ()
        outputs, last = self.run(cell, clear(x, padding, rows, True), lengths, state)
        return outputs if rows is None else exchange_rows(outputs, rows), last

    def fits(self, device: torch.device, dtype: torch.dtype) -> bool:
        """See `Kernel`. Under autocast a CPU keeps c in bfloat16 too, which trains worse."""
        return device.type != "cpu" or not torch.is_autocast_enabled("cpu")

    def run(
        self,
        cell: Cell,
        x: Float[Tensor, "B T D"],
        lengths: Int[Tensor, " B"] | None,
        state: State,
    ) -> tuple[Float[Tensor, "B T H"], State]:
        """See `PaddedKernel`. With lengths, x has one more column, 1 at padding."""
        weight_input: Tensor = cell.weight_input
        if lengths is not None:
            gate = (cell.hidden_size, 1)
            shut, opened = weight_input.new_full(gate, SHUT), weight_input.new_full(gate, OPEN)
            column = torch.cat([shut, opened, weight_input.new_zeros(gate), shut])
            weight_input = torch.cat([weight_input, column], dim=1)
        weights = [weight_input, cell.weight_hidden, cell.bias, torch.zeros_like(cell.bias)]
        with _weights_in_pieces(x):
            outputs, h, c = torch.lstm(x, _one_layer_of(state), weights, *_one_layer())
        return outputs, _as_precise_as(state, (_last_h(outputs, h, lengths), c[0]))


class _Clear(torch.autograd.Function):
    """x with 0 at padding; with rows, they are exchanged; with mark, one more column, 1 there."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, padding: Tensor, rows: Tensor | None, mark: bool) -> Tensor:
        B, T, D = x.shape
        ctx.rows, ctx.padding, ctx.D = rows, padding, D
        if not mark:
            return _cleared(x, padding, rows)
        marked = x.new_empty(B * T, D + 1)
        marked[:, :D] = x.reshape(B * T, D) if rows is None else rows_of(x, rows)
        marked = clear_padding(marked.view(B, T, D + 1), padding)
        marked[..., D] = padding
        return marked

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return _cleared(gradient[..., : ctx.D], ctx.padding, ctx.rows), None, None, None


def _cleared(x: Tensor, padding: Tensor, rows: Tensor | None) -> Tensor:
    """A copy of x (B, T, D), its rows exchanged if they are given, with 0 at padding."""
    if rows is None:
        copy = x.clone(memory_format=torch.contiguous_format)
    else:
        copy = rows_of(x, rows).view(x.shape)
    return clear_padding(copy, padding)


class FusedGRU(PaddedKernel):
    """`torch.gru`, for a GRU with `reset_after`.

    torch's z keeps the old state where our u lets the new one in: σ(-a) = 1 - σ(a), so the rows
    of u change sign.
    """

    name = "fused torch.gru"

    def run(
        self,
        cell: Cell,
        x: Float[Tensor, "B T D"],
        lengths: Int[Tensor, " B"] | None,
        state: State,
    ) -> tuple[Float[Tensor, "B T H"], State]:
        """See `PaddedKernel`."""
        bias_hidden = cell.get_parameter("bias_hidden")
        sign = torch.ones_like(cell.bias)
        sign[cell.hidden_size : 2 * cell.hidden_size] = -1.0
        rows = sign.unsqueeze(1)
        no_bias = cell.bias.new_zeros(2 * cell.hidden_size)
        weights = [
            cell.weight_input * rows,
            cell.weight_hidden * rows,
            cell.bias * sign,
            torch.cat([no_bias, bias_hidden]),
        ]
        with _weights_in_pieces(x):
            outputs, h = torch.gru(x, _one_layer_of(state)[0], weights, *_one_layer())
        return outputs, _as_precise_as(state, (_last_h(outputs, h, lengths),))


class FusedRNN(PaddedKernel):
    """`torch.rnn_tanh` or `torch.rnn_relu`."""

    def __init__(self, nonlinearity: str) -> None:
        self.name, self.nonlinearity = f"fused torch.rnn_{nonlinearity}", nonlinearity
        self._layer = {"tanh": torch.rnn_tanh, "relu": torch.rnn_relu}[nonlinearity]

    def run(
        self,
        cell: Cell,
        x: Float[Tensor, "B T D"],
        lengths: Int[Tensor, " B"] | None,
        state: State,
    ) -> tuple[Float[Tensor, "B T H"], State]:
        """See `PaddedKernel`.

        A relu that grows a little at each step would overflow in long padding, and infinity
        there turns gradients of real steps into NaN; the padding column holds it at 0.
        """
        weight_input: Tensor = cell.weight_input
        if lengths is not None and self.nonlinearity == "relu":
            column = weight_input.new_full((cell.hidden_size, 1), FAR_BELOW_ZERO)
            x, weight_input = _mark_padding(x, lengths, weight_input, column)
        weights = [weight_input, cell.weight_hidden, cell.bias, torch.zeros_like(cell.bias)]
        with _weights_in_pieces(x):
            outputs, h = self._layer(x, _one_layer_of(state)[0], weights, *_one_layer())
        return outputs, _as_precise_as(state, (_last_h(outputs, h, lengths),))


def _one_layer_of(state: State) -> list[Tensor]:
    """The state as torch's layers take it, (1, B, H) for each part.

    cuDNN refuses a state that is not contiguous, such as an expanded or a transposed one.
    """
    return [part.contiguous().unsqueeze(0) for part in state]


def _one_layer() -> tuple[bool, int, float, bool, bool, bool]:
    """Torch's has_biases, num_layers, dropout, train, bidirectional, batch_first.

    Without dropout `train` only decides whether what the backward pass needs is kept; cuDNN
    refuses a backward pass without it, so gradients of a model in eval mode need it too.
    """
    return True, 1, 0.0, torch.is_grad_enabled(), False, True


def _mark_padding(
    x: Tensor, lengths: Tensor, weight_input: Tensor, column: Tensor
) -> tuple[Tensor, Tensor]:
    """One more input, 1 at padding and 0 elsewhere, with `column` for its weights."""
    padding = ~length_mask(lengths, x.shape[1])
    marked = torch.cat([x, padding.unsqueeze(-1).to(x.dtype)], dim=-1)  # (B, T, D+1)
    return marked, torch.cat([weight_input, column], dim=1)


def _last_h(outputs: Tensor, h: Tensor, lengths: Tensor | None) -> Tensor:
    """outputs: (B, T, H); h: (1, B, H) after step T. Returns (B, H) after the last real step."""
    return h[0] if lengths is None else last_real_step(outputs, lengths)


def _as_precise_as(before: State, after: State) -> State:
    """Under autocast torch hands the state back in half precision; it came in full."""
    return tuple(new.to(old.dtype) for old, new in zip(before, after, strict=True))


@contextmanager
def _weights_in_pieces(x: Tensor) -> Iterator[None]:
    """Silences cuDNN's one warning about weights that are not one piece of memory.

    Ours are the cell's parameters, and cuDNN copies them into one piece at each call; that costs
    far less than the sequence, and keeps one set of parameters for every kernel.
    """
    if not x.is_cuda:
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="RNN module weights are not part of single")
        yield
