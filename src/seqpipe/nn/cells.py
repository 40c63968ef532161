"""The cells: each is one time step, written as in the lecture, and the reference for all else.

The lecture's a<t> is h_t and its memory cell c<t> is c_t; W[a, x] is written as two products,
`weight_hidden` times a plus `weight_input` times x, with one bias.

Shapes: B sequences, D = input_size, H = hidden_size, G gates. A state is a tuple of (B, H).
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqpipe.bounds import Positive, checked
from seqpipe.nn.cell import Cell, Kernel, KernelChoice, State, Step
from seqpipe.nn.kernels.choice import fast_gru, fast_lstm, fast_simplified_gru
from seqpipe.nn.kernels.fast_gru import FastGRUResetAfter
from seqpipe.nn.kernels.fast_rnn import FastRNN
from seqpipe.nn.kernels.fused import FusedGRU, FusedLSTM, FusedRNN
from seqpipe.nn.onnx_graph import Graph, Operator, Value, rows_in_order

__all__ = ["GRU", "LSTM", "RNN", "Cell", "PeepholeLSTM", "SimplifiedGRU", "State", "Step"]

Gates = dict[str, Tensor]
OPEN = 1e4  # a pre-activation at which a sigmoid is exactly 1


class RNN(Cell):
    """The basic recurrent unit, a<t> = g(W_a[a<t-1>, x<t>] + b_a).

    Args:
        input_size: D.
        hidden_size: H.
        nonlinearity: g.
        recurrent_gain: factor of the orthogonal recurrent weights at initialisation. Each step
            multiplies a gradient by about this factor, with ReLU by about 0.7 of it.
        kernel: see `Cell`.

    Raises:
        ConfigError: an unknown nonlinearity.

    Source: Elman (1990); the lecture's equation for a<t>. torch.nn.RNN with one bias for two.
        Saxe et al. (2014), section 3, for the gain of an orthogonal initialisation.
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
        kernel: KernelChoice = "auto",
    ) -> None:
        super().__init__(input_size, hidden_size, kernel=kernel)
        self.weight_hidden.data.mul_(recurrent_gain)
        self.nonlinearity: Literal["tanh", "relu"] = nonlinearity
        self._g = {"tanh": torch.tanh, "relu": torch.relu}[nonlinearity]

    def recur(self, projected_t: Float[Tensor, "B GH"], state: State) -> State:
        """h_t = g(projected_t + W_h h_{t-1}). projected_t: (B, H)."""
        (h,) = state
        h_t = self._g(torch.addmm(projected_t, h, self.weight_hidden.t()))
        return (h_t.to(h.dtype),)

    def kernels(self) -> Mapping[str, Kernel]:
        """The fast loop; `torch.rnn_tanh` or `torch.rnn_relu`."""
        return {"fast": FastRNN(self.nonlinearity), "fused": FusedRNN(self.nonlinearity)}

    def onnx_operator(self) -> Operator:
        """`RNN`."""
        activations: dict[str, object] = {"activations": [self.nonlinearity.capitalize()]}
        return Operator("RNN", self.weights(), activations)


class SimplifiedGRU(Cell):
    """A gated recurrent unit without the reset gate, as the lecture introduces it.

    c̃<t> = tanh(W_c[c<t-1>, x<t>] + b_c);  Γ_u = σ(W_u[c<t-1>, x<t>] + b_u);
    c<t> = Γ_u * c̃<t> + (1 - Γ_u) * c<t-1>;  a<t> = c<t>. Rows packed u, c.

    Source: the lecture's GRU (simplified). Γ_u lets the new candidate in, as in Chung et al.
    (2014), equation 4; torch's z = 1 - Γ_u keeps the old state.
    """

    gate_names = ("u", "c")
    gate_titles: ClassVar[Mapping[str, str]] = {"u": "u, update gate"}
    candidate = "c"

    def recur(self, projected_t: Float[Tensor, "B GH"], state: State) -> State:
        """projected_t: (B, 2H); state: (c_{t-1},). Returns (c_t,)."""
        u, candidate = self._open(projected_t, state)
        return (_move(state[0], candidate, u),)

    def gates(self, projected_t: Float[Tensor, "B GH"], state: State) -> Gates:
        """Γ_u."""
        return {"u": self._open(projected_t, state)[0]}

    def kept(self, gates: Gates) -> Tensor:
        """1 - Γ_u."""
        return 1.0 - gates["u"]

    def _open(self, projected_t: Tensor, state: State) -> tuple[Tensor, Tensor]:
        """Γ_u and c̃<t>."""
        u, c = torch.addmm(projected_t, state[0], self.weight_hidden.t()).chunk(2, dim=-1)
        return u.sigmoid(), c.tanh()

    def kernels(self) -> Mapping[str, Kernel]:
        """The fast loop."""
        return {"fast": fast_simplified_gru()}

    def onnx_operator(self) -> Operator:
        """A `GRU` whose reset gate is always open: no weights, and a bias that opens it.

        Packed z, r, h: z keeps the old state where Γ_u lets the new one in, z = 1 - Γ_u, so the
        rows of u change sign.
        """

        def packed(weight: Tensor, r: float) -> Tensor:
            u, c = weight.detach().chunk(2)
            return torch.cat([-u, torch.full_like(u, r), c])

        w, r, b = self.weights()
        weights = packed(w, 0.0), packed(r, 0.0), packed(b, OPEN)
        return Operator("GRU", weights, {"linear_before_reset": 0})


class GRU(Cell):
    """A gated recurrent unit.

    Γ_r = σ(W_r[c<t-1>, x<t>] + b_r);  Γ_u = σ(W_u[c<t-1>, x<t>] + b_u);
    c̃<t> = tanh(W_c[Γ_r * c<t-1>, x<t>] + b_c);
    c<t> = Γ_u * c̃<t> + (1 - Γ_u) * c<t-1>;  a<t> = c<t>. Rows packed r, u, c.

    Args:
        input_size: D.
        hidden_size: H.
        reset_after: False: Γ_r multiplies c<t-1>, as above. True: it multiplies the product,
            Γ_r * (W_c c<t-1> + b_hidden), as in cuDNN and torch.nn.GRU.
        kernel: see `Cell`.

    Attributes:
        bias_hidden: (H,), inside the reset product; only with `reset_after`.

    Source: Cho et al. (2014), equations 5 to 8; Chung et al. (2014), equations 4 to 8, whose z
    is Γ_u. torch's z = 1 - Γ_u, so torch's z rows are ours with the sign changed.
    """

    gate_names = ("r", "u", "c")
    gate_titles: ClassVar[Mapping[str, str]] = {"r": "r, reset gate", "u": "u, update gate"}
    candidate = "c"

    @checked("cell.")
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        reset_after: bool = False,
        kernel: KernelChoice = "auto",
    ) -> None:
        super().__init__(input_size, hidden_size, kernel=kernel)
        self.reset_after = reset_after
        self.bias_hidden = nn.Parameter(torch.zeros(hidden_size)) if reset_after else None

    def recur(
        self,
        projected_t: Float[Tensor, "B GH"],
        state: State,
        weights: tuple[Tensor, Tensor] | None = None,
    ) -> State:
        """projected_t: (B, 3H); state: (c_{t-1},); weights: from `prepare`. Returns (c_t,)."""
        _, u, candidate = self._open(projected_t, state, weights)
        return (_move(state[0], candidate, u),)

    def gates(self, projected_t: Float[Tensor, "B GH"], state: State) -> Gates:
        """Γ_r and Γ_u."""
        r, u, _ = self._open(projected_t, state)
        return {"r": r, "u": u}

    def kept(self, gates: Gates) -> Tensor:
        """1 - Γ_u."""
        return 1.0 - gates["u"]

    def _open(
        self, projected_t: Tensor, state: State, weights: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Γ_r, Γ_u and c̃<t>."""
        (h,) = state
        gates_weight, candidate_weight = weights or self._split_weights()
        H = self.hidden_size
        gates, candidate = torch.split(projected_t, [2 * H, H], dim=-1)
        r, u = torch.addmm(gates, h, gates_weight).sigmoid().chunk(2, dim=-1)
        if self.bias_hidden is None:
            c = torch.addmm(candidate, r * h, candidate_weight)
        else:
            c = candidate + r * torch.addmm(self.bias_hidden, h, candidate_weight)
        return r, u, c.tanh()

    def prepare(self) -> Step:
        """`recur` with the weights already split: at each step it would cost as much again."""
        return partial(self.recur, weights=self._split_weights())

    def kernels(self) -> Mapping[str, Kernel]:
        """The fast loop; `torch.gru` where it resets after the product."""
        after: dict[str, Kernel] = {"fast": FastGRUResetAfter(), "fused": FusedGRU()}
        return after if self.reset_after else {"fast": fast_gru()}

    def onnx_operator(self) -> Operator:
        """`GRU`, packed z, r, h with z = 1 - Γ_u, so the rows of u change sign."""

        def packed(weight: Tensor) -> Tensor:
            r, u, c = weight.detach().chunk(3)
            return torch.cat([-u, r, c])

        w, r, b = map(packed, self.weights())
        second = None
        if self.bias_hidden is not None:
            second = torch.cat([self.bias_hidden.new_zeros(2 * self.hidden_size), self.bias_hidden])
        after: dict[str, object] = {"linear_before_reset": int(self.reset_after)}
        return Operator("GRU", (w, r, b), after, second)

    def _split_weights(self) -> tuple[Tensor, Tensor]:
        """(H, 2H) of the gates and (H, H) of the candidate."""
        H = self.hidden_size
        gates, candidate = torch.split(self.weight_hidden, [2 * H, H])
        return gates.t(), candidate.t()


class LSTM(Cell):
    """Long short-term memory with a forget gate.

    c̃<t> = tanh(W_c[a<t-1>, x<t>] + b_c);  Γ_u, Γ_f, Γ_o = σ(W_.[a<t-1>, x<t>] + b_.);
    c<t> = Γ_u * c̃<t> + Γ_f * c<t-1>;  a<t> = Γ_o * tanh(c<t>).
    Rows packed i, f, g, o as in torch.nn.LSTM: i is Γ_u, g is c̃.

    Args:
        input_size: D.
        hidden_size: H.
        forget_bias: added to the forget gate's bias at initialisation, so that a new cell
            remembers (Jozefowicz et al. 2015, section 4).
        output_tanh: False: a<t> = Γ_o * c<t>, as the slides print it.
        kernel: see `Cell`.

    Source: Hochreiter & Schmidhuber (1997); Gers et al. (2000), section 2 for the forget gate.
    """

    gate_names = ("i", "f", "g", "o")
    gate_titles: ClassVar[Mapping[str, str]] = {
        "i": "i, input gate",
        "f": "f, forget gate",
        "o": "o, output gate",
    }
    state_names = ("h", "c")
    candidate = "g"

    @checked("cell.")
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        forget_bias: float = 1.0,
        output_tanh: bool = True,
        kernel: KernelChoice = "auto",
    ) -> None:
        super().__init__(input_size, hidden_size, kernel=kernel)
        self.output_tanh = output_tanh
        with torch.no_grad():
            self.bias[hidden_size : 2 * hidden_size] += forget_bias

    def recur(self, projected_t: Float[Tensor, "B GH"], state: State) -> State:
        """projected_t: (B, 4H); state: (h_{t-1}, c_{t-1}). Returns (h_t, c_t)."""
        _, _, o, c_t = self._open(projected_t, state)
        return o * (c_t.tanh() if self.output_tanh else c_t), c_t

    def gates(self, projected_t: Float[Tensor, "B GH"], state: State) -> Gates:
        """Γ_u, Γ_f, Γ_o."""
        return dict(zip("ifo", self._open(projected_t, state), strict=False))

    def kept(self, gates: Gates) -> Tensor:
        """Γ_f."""
        return gates["f"]

    def _open(self, projected_t: Tensor, state: State) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Γ_u, Γ_f, Γ_o and c<t>."""
        h, c = state
        i, f, g, o = torch.addmm(projected_t, h, self.weight_hidden.t()).chunk(4, dim=-1)
        i, f = i.sigmoid(), f.sigmoid()
        return i, f, o.sigmoid(), f * c + i * g.tanh()

    def kernels(self) -> Mapping[str, Kernel]:
        """`torch.lstm`, which has the tanh at its output; the fast loop."""
        fused = {"fused": FusedLSTM()} if self.output_tanh else {}
        return {**fused, "fast": fast_lstm(output_tanh=self.output_tanh)}

    def onnx_operator(self) -> Operator | None:
        """`LSTM`, packed i, o, f, c."""
        w, r, b = (rows_in_order(weight, (0, 3, 1, 2)) for weight in self.weights())
        attributes: dict[str, object] = {}
        if not self.output_tanh:  # x -> 1 x + 0
            attributes = {"activations": ["Sigmoid", "Tanh", "Affine"]}
            attributes |= {"activation_alpha": [1.0], "activation_beta": [0.0]}
        return Operator("LSTM", (w, r, b), attributes)


class PeepholeLSTM(LSTM):
    """An LSTM whose three gates also see the memory cell, element by element.

    Γ_u, Γ_f, Γ_o = σ(W_.[a<t-1>, x<t>] + p_. * c<t-1> + b_.); the rest as in `LSTM`.

    Args:
        input_size: D.
        hidden_size: H.
        forget_bias: added to the forget gate's bias at initialisation.
        output_peephole: `previous`: Γ_o sees c<t-1>, as the slides have it; `current`: c<t>.
        output_tanh: False: a<t> = Γ_o * c<t>.
        kernel: see `Cell`.

    Attributes:
        peephole: (3, H), rows i, f, o.

    Raises:
        ConfigError: an unknown `output_peephole`.

    Source: Gers & Schmidhuber (2000); Graves et al. (2013), equations 3 to 7, for `current`.
    """

    undecayed = ("peephole",)  # diagonals, no matrix

    @checked("cell.")
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        forget_bias: float = 1.0,
        output_peephole: Literal["previous", "current"] = "previous",
        output_tanh: bool = True,
        kernel: KernelChoice = "auto",
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            forget_bias=forget_bias,
            output_tanh=output_tanh,
            kernel=kernel,
        )
        self.output_peephole: Literal["previous", "current"] = output_peephole
        bound = hidden_size**-0.5
        self.peephole = nn.Parameter(torch.empty(3, hidden_size).uniform_(-bound, bound))

    def kernels(self) -> Mapping[str, Kernel]:
        """The fast loop."""
        return {"fast": fast_lstm(output_tanh=self.output_tanh, peephole=self.output_peephole)}

    def _open(self, projected_t: Tensor, state: State) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Γ_u, Γ_f, Γ_o and c<t>."""
        h, c = state
        see_i, see_f, see_o = self.peephole.unbind()
        i, f, g, o = torch.addmm(projected_t, h, self.weight_hidden.t()).chunk(4, dim=-1)
        i, f = (i + see_i * c).sigmoid(), (f + see_f * c).sigmoid()
        c_t = f * c + i * g.tanh()
        o = (o + see_o * (c if self.output_peephole == "previous" else c_t)).sigmoid()
        return i, f, o, c_t

    def onnx_operator(self) -> Operator | None:
        """`LSTM`, whose Γ_o sees c<t>; None where it sees c<t-1>."""
        found = super().onnx_operator()
        if self.output_peephole == "previous" or found is None:
            return None
        return replace(found, peephole=rows_in_order(self.peephole.flatten(), (0, 2, 1)))

    def onnx_step(self, graph: Graph, projected_t: Value, state: list[Value]) -> list[Value]:
        """The equations, of `output_peephole=previous`."""
        h, c = state

        def gate(a: Value, see: Tensor) -> Value:
            seen = graph.op("Mul", graph.constant(see), c)
            return graph.op("Sigmoid", graph.op("Add", a, seen))

        a = graph.op("MatMul", h, graph.constant(self.weight_hidden.t()))
        a = graph.op("Add", projected_t, a)
        i, f, g, o = graph.ops("Split", 4, a, axis=1, num_outputs=4)
        i, f, o = (gate(a, see) for a, see in zip((i, f, o), self.peephole, strict=True))
        new = graph.op("Mul", i, graph.op("Tanh", g))
        c_t = graph.op("Add", graph.op("Mul", f, c), new)
        return [graph.op("Mul", o, graph.op("Tanh", c_t) if self.output_tanh else c_t), c_t]


def _move(old: Tensor, new: Tensor, update: Tensor) -> Tensor:
    """Old + update * (new - old), in the precision of the old state under autocast."""
    return torch.lerp(old, new.to(old.dtype), update.to(old.dtype))
