"""The cells: each is one time step, written as in the lecture, and the reference for all else.

The lecture's a<t> is h_t and its memory cell c<t> is c_t; W[a, x] is written as two products,
`weight_hidden` times a plus `weight_input` times x, with one bias.

Shapes: B sequences, D = input_size, H = hidden_size, G gates. A state is a tuple of (B, H).
"""

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from seqpipe.bounds import Positive, Share, checked
from seqpipe.nn.cell import Cell, Kernel, KernelChoice, State, Step
from seqpipe.nn.gru_cells import GRU, SimplifiedGRU
from seqpipe.nn.initial_weights import RecurrentInit
from seqpipe.nn.kernels.fast_rnn import FastRNN
from seqpipe.nn.kernels.fused import FusedRNN
from seqpipe.nn.lstm_cells import LSTM, PeepholeLSTM
from seqpipe.nn.onnx_graph import Graph, Operator, Value
from seqpipe.nn.regularized_cell import (
    RegularizedCell,
    normed,
    onnx_normed,
)

__all__ = ["GRU", "LSTM", "RNN", "Cell", "PeepholeLSTM", "SimplifiedGRU", "State", "Step"]


class RNN(RegularizedCell):
    """The basic recurrent unit, a<t> = g(W_a[a<t-1>, x<t>] + b_a).

    Args:
        input_size: D.
        hidden_size: H.
        nonlinearity: g.
        recurrent_gain: factor of the orthogonal recurrent weights at initialisation. Each step
            multiplies a gradient by about this factor, with ReLU by about 0.7 of it.
        input_std: standard deviation of the normal numbers that the weights on x start from, as
            0.001 in Le et al. (2015), section 3; None: as in `Cell`.
        kernel, recurrent_init, weight_drop, zoneout: see `Cell`.
        hidden_dropout, layer_norm: see `RegularizedCell`.
            Here layer normalisation is of the sum of both products, a<t> = g(LN(W[a, x]) + b),
            with one gain, `gain_hidden`.

    Raises:
        ConfigError: an unknown nonlinearity; a kernel that lacks an option.

    Source: Elman (1990); the lecture's equation for a<t>. torch.nn.RNN with one bias for two.
        Saxe et al. (2014), section 3, for the gain of an orthogonal initialisation. Ba et al.
        (2016), equation 4, for layer normalisation.
    """

    gate_names = ("a",)

    @checked("cell.")
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        recurrent_gain: Positive = 1.0,
        input_std: Positive | None = None,
        weight_drop: Share = 0.0,
        hidden_dropout: Share = 0.0,
        zoneout: Share = 0.0,
        layer_norm: bool = False,
        recurrent_init: RecurrentInit = "orthogonal",
        kernel: KernelChoice = "auto",
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            weight_drop=weight_drop,
            hidden_dropout=hidden_dropout,
            zoneout=zoneout,
            layer_norm=layer_norm,
            recurrent_init=recurrent_init,
            kernel=kernel,
        )
        self.gain_input = None
        if input_std is not None:
            nn.init.normal_(self.weight_input, std=input_std)
        self.weight_hidden.data.mul_(recurrent_gain)
        self.nonlinearity: Literal["tanh", "relu"] = nonlinearity
        self._g = {"tanh": torch.tanh, "relu": torch.relu}[nonlinearity]

    def recur(self, projected_t: Float[Tensor, "B GH"], state: State) -> State:
        """h_t = g(projected_t + W_h h_{t-1}). projected_t: (B, H)."""
        (h,) = state
        h_t = self._g(self.preactivations(projected_t, h))
        return (h_t.to(h.dtype),)

    def project(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch GH"]:
        """See `Cell`. With `layer_norm`, W_x x alone."""
        return F.linear(x, self.weight_input) if self.layer_norm else super().project(x)

    def preactivations(
        self, projected_t: Float[Tensor, "B GH"], h: Float[Tensor, "B H"]
    ) -> Float[Tensor, "B GH"]:
        """See `RegularizedCell`. With `layer_norm`, LN(projected_t + W_h h_{t-1}) + b."""
        a = torch.addmm(projected_t, self.seen(h), self.weight_hidden.t())
        return a if self.gain_hidden is None else normed(a, self.gain_hidden, self.bias)

    def onnx_project(self, graph: Graph, x: Value) -> Value:
        """See `Cell`."""
        if not self.layer_norm:
            return super().onnx_project(graph, x)
        return graph.op("MatMul", x, graph.constant(self.weight_input.t()))

    def onnx_step(self, graph: Graph, projected_t: Value, state: list[Value]) -> list[Value]:
        """The equation."""
        product = graph.op("MatMul", state[0], graph.constant(self.weight_hidden.t()))
        a = graph.op("Add", projected_t, product)
        if self.gain_hidden is not None:
            a = onnx_normed(graph, a, self.gain_hidden, self.bias)
        return [graph.op(self.nonlinearity.capitalize(), a)]

    def kernels(self) -> Mapping[str, Kernel]:
        """The fast loop; `torch.rnn_tanh` or `torch.rnn_relu`."""
        return {"fast": FastRNN(self.nonlinearity), "fused": FusedRNN(self.nonlinearity)}

    def onnx_operator(self) -> Operator:
        """`RNN`."""
        activations: dict[str, object] = {"activations": [self.nonlinearity.capitalize()]}
        return Operator("RNN", self.weights(), activations)
