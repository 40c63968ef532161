"""Long short-term memory, without and with peepholes.

Shapes: B sequences, D = input_size, H = hidden_size, G gates. A state is (h_t, c_t), (B, H) each.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqpipe.bounds import Share, checked
from seqpipe.nn.cell import Gates, Kernel, KernelChoice, State
from seqpipe.nn.initial_weights import RecurrentInit
from seqpipe.nn.kernels.choice import fast_lstm
from seqpipe.nn.kernels.fused import FusedLSTM
from seqpipe.nn.onnx_graph import Graph, Operator, Value, rows_in_order
from seqpipe.nn.regularized_cell import (
    RegularizedCell,
    normed,
    onnx_normed,
    stepped_options,
)


def stepped_lstm(
    kernel: str,
    hidden_dropout: int | float,
    zoneout: int | float,
    zoneout_memory: int | float | None,
    layer_norm: bool,
) -> Iterator[tuple[str, str]]:
    """`stepped_options` of a cell with two parts of the state."""
    yield from stepped_options(kernel, hidden_dropout, zoneout or zoneout_memory or 0.0, layer_norm)


class LSTM(RegularizedCell):
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
        kernel, recurrent_init, weight_drop: see `Cell`.
        hidden_dropout, layer_norm: see `RegularizedCell`.
            The four gates are normalised together, and so is c<t> for a<t>, with a gain and a
            bias of its own: Ba et al. (2016), equations 20 to 22.
        zoneout: see `Cell`, of a<t>.
        zoneout_memory: the same of c<t>; None: as `zoneout`.

    Attributes:
        gain_memory: (H,) of c<t>; None without `layer_norm`.
        bias_memory: (H,) of c<t>; None without `layer_norm`.

    Source: Hochreiter & Schmidhuber (1997); Gers et al. (2000), section 2 for the forget gate.
    """

    gate_names = ("i", "f", "g", "o")
    norm_groups = (4,)
    keeps_start = (*RegularizedCell.keeps_start, "gain_memory", "bias_memory")
    gate_titles: ClassVar[Mapping[str, str]] = {
        "i": "i, input gate",
        "f": "f, forget gate",
        "o": "o, output gate",
    }
    state_names = ("h", "c")
    candidate = "g"

    @checked("cell.", together=stepped_lstm)
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        forget_bias: float = 1.0,
        output_tanh: bool = True,
        weight_drop: Share = 0.0,
        hidden_dropout: Share = 0.0,
        zoneout: Share = 0.0,
        zoneout_memory: Share | None = None,
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
        if zoneout_memory is not None:
            self.zoneouts = float(zoneout), float(zoneout_memory)
        self.gain_memory = nn.Parameter(torch.ones(hidden_size)) if layer_norm else None
        self.bias_memory = nn.Parameter(torch.zeros(hidden_size)) if layer_norm else None
        self.output_tanh, self.forget_bias = output_tanh, forget_bias
        self.add_constants()

    @torch.no_grad()
    def add_constants(self) -> None:
        """See `Cell`: the forget gate's bias."""
        self.bias[self.hidden_size : 2 * self.hidden_size] += self.forget_bias

    def recur(self, projected_t: Float[Tensor, "B GH"], state: State) -> State:
        """projected_t: (B, 4H); state: (h_{t-1}, c_{t-1}). Returns (h_t, c_t)."""
        _, _, o, c_t = self._open(projected_t, state)
        return o * self._shown(c_t), c_t

    def gates(self, projected_t: Float[Tensor, "B GH"], state: State) -> Gates:
        """Γ_u, Γ_f, Γ_o."""
        return dict(zip("ifo", self._open(projected_t, state), strict=False))

    def kept(self, gates: Gates) -> Tensor:
        """Γ_f, and more with zoneout."""
        return self.held(gates["f"], "c")

    def _open(self, projected_t: Tensor, state: State) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Γ_u, Γ_f, Γ_o and c<t>."""
        h, c = state
        i, f, g, o = self.preactivations(projected_t, h).chunk(4, dim=-1)
        i, f = i.sigmoid(), f.sigmoid()
        return i, f, o.sigmoid(), f * c + i * g.tanh()

    def _shown(self, c_t: Tensor) -> Tensor:
        """The content that Γ_o lets out: tanh(c<t>) or c<t>; with `layer_norm`, normalised."""
        if self.gain_memory is not None:
            c_t = normed(c_t, self.gain_memory, self.bias_memory)
        return c_t.tanh() if self.output_tanh else c_t

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

    def onnx_step(self, graph: Graph, projected_t: Value, state: list[Value]) -> list[Value]:
        """The equations."""
        o, c_t = self._onnx_open(graph, projected_t, state)
        shown = c_t
        if self.gain_memory is not None:
            shown = onnx_normed(graph, shown, self.gain_memory, self.bias_memory)
        return [graph.op("Mul", o, graph.op("Tanh", shown) if self.output_tanh else shown), c_t]

    def _onnx_open(
        self, graph: Graph, projected_t: Value, state: list[Value]
    ) -> tuple[Value, Value]:
        """Writes Γ_o and c<t> into a graph."""
        h, c = state
        a = self.onnx_preactivations(graph, projected_t, h)
        i, f, g, o = graph.ops("Split", 4, a, axis=1, num_outputs=4)
        i, f, o = (graph.op("Sigmoid", part) for part in (i, f, o))
        new = graph.op("Mul", i, graph.op("Tanh", g))
        return o, graph.op("Add", graph.op("Mul", f, c), new)


class PeepholeLSTM(LSTM):
    """An LSTM whose three gates also see the memory cell, element by element.

    Γ_u, Γ_f, Γ_o = σ(W_.[a<t-1>, x<t>] + p_. * c<t-1> + b_.); the rest as in `LSTM`.

    Args:
        input_size: D.
        hidden_size: H.
        forget_bias: added to the forget gate's bias at initialisation.
        output_peephole: `previous`: Γ_o sees c<t-1>, as the slides have it; `current`: c<t>.
        output_tanh: False: a<t> = Γ_o * c<t>.
        zoneout, zoneout_memory: see `LSTM`.
        kernel, recurrent_init, weight_drop: see `Cell`.
        hidden_dropout, layer_norm: see `RegularizedCell`.
            What a gate sees of the memory cell is added after normalisation.

    Attributes:
        peephole: (3, H), rows i, f, o.

    Raises:
        ConfigError: an unknown `output_peephole`.

    Source: Gers & Schmidhuber (2000); Graves et al. (2013), equations 3 to 7, for `current`.
    """

    undecayed = ("peephole",)  # diagonals, no matrix

    @checked("cell.", together=stepped_lstm)
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        forget_bias: float = 1.0,
        output_peephole: Literal["previous", "current"] = "previous",
        output_tanh: bool = True,
        weight_drop: Share = 0.0,
        hidden_dropout: Share = 0.0,
        zoneout: Share = 0.0,
        zoneout_memory: Share | None = None,
        layer_norm: bool = False,
        recurrent_init: RecurrentInit = "orthogonal",
        kernel: KernelChoice = "auto",
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            forget_bias=forget_bias,
            output_tanh=output_tanh,
            weight_drop=weight_drop,
            hidden_dropout=hidden_dropout,
            zoneout=zoneout,
            zoneout_memory=zoneout_memory,
            layer_norm=layer_norm,
            recurrent_init=recurrent_init,
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
        i, f, g, o = self.preactivations(projected_t, h).chunk(4, dim=-1)
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

    def _onnx_open(
        self, graph: Graph, projected_t: Value, state: list[Value]
    ) -> tuple[Value, Value]:
        """Writes Γ_o and c<t> into a graph."""
        h, c = state

        def gate(a: Value, see: Tensor, memory: Value) -> Value:
            seen = graph.op("Mul", graph.constant(see), memory)
            return graph.op("Sigmoid", graph.op("Add", a, seen))

        a = self.onnx_preactivations(graph, projected_t, h)
        i, f, g, o = graph.ops("Split", 4, a, axis=1, num_outputs=4)
        see_i, see_f, see_o = self.peephole.unbind()
        i, f = gate(i, see_i, c), gate(f, see_f, c)
        new = graph.op("Mul", i, graph.op("Tanh", g))
        c_t = graph.op("Add", graph.op("Mul", f, c), new)
        return gate(o, see_o, c if self.output_peephole == "previous" else c_t), c_t
