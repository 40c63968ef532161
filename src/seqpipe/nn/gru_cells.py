"""The gated recurrent units.

Shapes: B sequences, D = input_size, H = hidden_size, G gates. A state is (c<t>,), (B, H).
"""

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqpipe.bounds import Share, checked
from seqpipe.nn.cell import Gates, Kernel, KernelChoice, State, Step
from seqpipe.nn.initial_weights import RecurrentInit
from seqpipe.nn.kernels.choice import fast_gru, fast_simplified_gru
from seqpipe.nn.kernels.fast_gru import FastGRUResetAfter
from seqpipe.nn.kernels.fused import FusedGRU
from seqpipe.nn.onnx_graph import Graph, Operator, Value
from seqpipe.nn.regularized_cell import (
    RegularizedCell,
    onnx_normed,
    summed,
)

OPEN = 1e4  # a pre-activation at which a sigmoid is exactly 1

Part = tuple[Tensor, Tensor | None]
"""A weight on h_{t-1}, transposed, and the gain of its product, see `summed`."""
Weights = tuple[Part, Part]
"""Those of the gates and of the candidate."""


class SimplifiedGRU(RegularizedCell):
    """A gated recurrent unit without the reset gate, as the lecture introduces it.

    c̃<t> = tanh(W_c[c<t-1>, x<t>] + b_c);  Γ_u = σ(W_u[c<t-1>, x<t>] + b_u);
    c<t> = Γ_u * c̃<t> + (1 - Γ_u) * c<t-1>;  a<t> = c<t>. Rows packed u, c.

    Layer normalisation is that of `GRU` without its reset gate: Γ_u and c̃ apart.

    Source: the lecture's GRU (simplified). Γ_u lets the new candidate in, as in Chung et al.
    (2014), equation 4; torch's z = 1 - Γ_u keeps the old state.
    """

    gate_names = ("u", "c")
    norm_groups = (1, 1)
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
        """1 - Γ_u, and more with zoneout."""
        return self.held(1.0 - gates["u"], "h")

    def _open(self, projected_t: Tensor, state: State) -> tuple[Tensor, Tensor]:
        """Γ_u and c̃<t>."""
        u, c = self.preactivations(projected_t, state[0]).chunk(2, dim=-1)
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

    def onnx_step(self, graph: Graph, projected_t: Value, state: list[Value]) -> list[Value]:
        """The equations."""
        (h,) = state
        u, c = graph.ops(
            "Split", 2, self.onnx_preactivations(graph, projected_t, h), axis=1, num_outputs=2
        )
        return [_onnx_move(graph, h, graph.op("Tanh", c), graph.op("Sigmoid", u))]


class GRU(RegularizedCell):
    """A gated recurrent unit.

    Γ_r = σ(W_r[c<t-1>, x<t>] + b_r);  Γ_u = σ(W_u[c<t-1>, x<t>] + b_u);
    c̃<t> = tanh(W_c[Γ_r * c<t-1>, x<t>] + b_c);
    c<t> = Γ_u * c̃<t> + (1 - Γ_u) * c<t-1>;  a<t> = c<t>. Rows packed r, u, c.

    Args:
        input_size: D.
        hidden_size: H.
        reset_after: False: Γ_r multiplies c<t-1>, as above. True: it multiplies the product,
            Γ_r * (W_c c<t-1> + b_hidden), as in cuDNN and torch.nn.GRU.
        kernel, recurrent_init, weight_drop, zoneout: see `Cell`.
        hidden_dropout, layer_norm: see `RegularizedCell`.
            Both gates are normalised together, the candidate apart, as in Ba et al. (2016),
            equations 23 to 26, which reset after the product; where Γ_r multiplies c<t-1>, it is
            W_c[Γ_r * c<t-1>] that is normalised.

    Attributes:
        bias_hidden: (H,), inside the reset product; only with `reset_after`.

    Source: Cho et al. (2014), equations 5 to 8; Chung et al. (2014), equations 4 to 8, whose z
    is Γ_u. torch's z = 1 - Γ_u, so torch's z rows are ours with the sign changed.
    """

    gate_names = ("r", "u", "c")
    norm_groups = (2, 1)
    gate_titles: ClassVar[Mapping[str, str]] = {"r": "r, reset gate", "u": "u, update gate"}
    candidate = "c"

    @checked("cell.")
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        reset_after: bool = False,
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
        self.reset_after = reset_after
        self.bias_hidden = nn.Parameter(torch.zeros(hidden_size)) if reset_after else None

    def recur(
        self,
        projected_t: Float[Tensor, "B GH"],
        state: State,
        weights: Weights | None = None,
    ) -> State:
        """projected_t: (B, 3H); state: (c_{t-1},); weights: from `prepare`. Returns (c_t,)."""
        _, u, candidate = self._open(projected_t, state, weights)
        return (_move(state[0], candidate, u),)

    def gates(self, projected_t: Float[Tensor, "B GH"], state: State) -> Gates:
        """Γ_r and Γ_u."""
        r, u, _ = self._open(projected_t, state)
        return {"r": r, "u": u}

    def kept(self, gates: Gates) -> Tensor:
        """1 - Γ_u, and more with zoneout."""
        return self.held(1.0 - gates["u"], "h")

    def _open(
        self, projected_t: Tensor, state: State, weights: Weights | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Γ_r, Γ_u and c̃<t>."""
        of_gates, of_candidate = weights or self._split_weights()
        h, H = self.seen(state[0]), self.hidden_size
        gates, candidate = torch.split(projected_t, [2 * H, H], dim=-1)
        r, u = summed(gates, h, *of_gates).sigmoid().chunk(2, dim=-1)
        if self.bias_hidden is None:
            c = summed(candidate, r * h, *of_candidate)
        else:
            c = candidate + r * summed(self.bias_hidden, h, *of_candidate)
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

    def onnx_step(self, graph: Graph, projected_t: Value, state: list[Value]) -> list[Value]:
        """The equations."""
        (h,), sizes = state, graph.integers(2 * self.hidden_size, self.hidden_size)
        of_gates, of_candidate = self._split_weights()
        gates, candidate = graph.ops("Split", 2, projected_t, sizes, axis=1)
        gates = graph.op("Add", gates, _onnx_product(graph, h, *of_gates))
        r, u = graph.ops("Split", 2, graph.op("Sigmoid", gates), axis=1, num_outputs=2)
        if self.bias_hidden is None:
            new = _onnx_product(graph, graph.op("Mul", r, h), *of_candidate)
        else:
            new = _onnx_product(graph, h, *of_candidate)
            new = graph.op("Mul", r, graph.op("Add", new, graph.constant(self.bias_hidden)))
        return [_onnx_move(graph, h, graph.op("Tanh", graph.op("Add", candidate, new)), u)]

    def _split_weights(self) -> Weights:
        """(H, 2H) of the gates and (H, H) of the candidate, and the gains of their products."""
        sizes = [2 * self.hidden_size, self.hidden_size]
        gates, candidate = torch.split(self.weight_hidden, sizes)
        if self.gain_hidden is None:
            return (gates.t(), None), (candidate.t(), None)
        of_gates, of_candidate = self.gain_hidden.split(sizes)
        return (gates.t(), of_gates), (candidate.t(), of_candidate)


def _move(old: Tensor, new: Tensor, update: Tensor) -> Tensor:
    """Old + update * (new - old), in the precision of the old state under autocast."""
    return torch.lerp(old, new.to(old.dtype), update.to(old.dtype))


def _onnx_move(graph: Graph, old: Value, new: Value, update: Value) -> Value:
    """Writes `_move` into a graph."""
    way = graph.op("Sub", new, old)
    return graph.op("Add", old, graph.op("Mul", update, way))


def _onnx_product(graph: Graph, h: Value, weight: Tensor, gain: Tensor | None) -> Value:
    """Writes the product of `summed` into a graph."""
    product = graph.op("MatMul", h, graph.constant(weight))
    return product if gain is None else onnx_normed(graph, product, gain)
