"""Cells with dropout and layer normalisation of what a step reads from h_{t-1}.

Shapes: B sequences, D = input_size, H = hidden_size, G gates.
"""

from collections.abc import Iterator
from typing import ClassVar, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from seqpipe.bounds import Share, checked
from seqpipe.nn.cell import Cell, KernelChoice
from seqpipe.nn.initial_weights import RecurrentInit
from seqpipe.nn.onnx_graph import Graph, Value

EPSILON = 1e-5
"""Added to a variance, as in torch.nn.LayerNorm."""
R = TypeVar("R", bound="RegularizedCell")


def stepped_options(
    kernel: str, hidden_dropout: int | float, zoneout: int | float, layer_norm: bool
) -> Iterator[tuple[str, str]]:
    """Yields a kernel that lacks the options of a cell, as `checked` takes it."""
    options = {"cell.zoneout": zoneout, "cell.layer_norm": layer_norm}
    if kernel == "fused":
        options["cell.hidden_dropout"] = hidden_dropout
    given = [name for name, value in options.items() if value]
    if kernel in ("fused", "fast") and given:
        allowed = "auto, loop" if zoneout or layer_norm else "auto, fast, loop"
        yield "kernel", f"has no step with {' and '.join(given)}; allowed: {allowed}"


class RegularizedCell(Cell):
    """A cell whose `recur` reads h_{t-1} through `preactivations`, or through `seen` and `summed`.

    Args:
        input_size: D.
        hidden_size: H.
        kernel: see `Cell`.
        recurrent_init: see `Cell`.
        weight_drop: see `Cell`.
        zoneout: see `Cell`.
        hidden_dropout: probability that a unit of h_{t-1} is 0 where the products of a step read
            it, in training; the same units at all steps of a sequence. What a gate keeps of the
            old state is not dropped. Gal & Ghahramani (2016), equation 7.
        layer_norm: each product, W_x x_t and W_h h_{t-1}, is normalised over its rows to mean 0
            and variance 1, and multiplied by a gain. Ba et al. (2016). Their biases of each
            product add up to the cell's one.

    Attributes:
        gain_input: (G*H,) of W_x x_t; None without `layer_norm`.
        gain_hidden: (G*H,) of W_h h_{t-1}; None without `layer_norm`.
        mask: (B, H) that multiplies h_{t-1}; None where nothing is dropped.
    """

    keeps_start: ClassVar[tuple[str, ...]] = ("gain_input", "gain_hidden")
    """See `initial_weights.start_uniform`."""
    norm_groups: ClassVar[tuple[int, ...]]
    """How many gates, in the order of `gate_names`, are normalised together."""

    @checked("cell.", together=stepped_options)
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
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
            zoneout=zoneout,
            recurrent_init=recurrent_init,
            kernel=kernel,
        )
        self.hidden_dropout, self.layer_norm = hidden_dropout, layer_norm
        self.needs_mask = hidden_dropout > 0
        rows = len(self.gate_names) * hidden_size
        self.gain_input = nn.Parameter(torch.ones(rows)) if layer_norm else None
        self.gain_hidden = nn.Parameter(torch.ones(rows)) if layer_norm else None

    def project(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch GH"]:
        """See `Cell`. With `layer_norm`, LN(W_x x) + b."""
        if self.gain_input is None:
            return super().project(x)
        return self._normed(F.linear(x, self.weight_input), self.gain_input) + self.bias

    def preactivations(
        self, projected_t: Float[Tensor, "B GH"], h: Float[Tensor, "B H"]
    ) -> Float[Tensor, "B GH"]:
        """projected_t + W_h h_{t-1}. projected_t: (B, G*H); h: (B, H). Returns (B, G*H)."""
        h = self.seen(h)
        if self.gain_hidden is None:
            return torch.addmm(projected_t, h, self.weight_hidden.t())
        return projected_t + self._normed(h @ self.weight_hidden.t(), self.gain_hidden)

    def seen(self, h: Float[Tensor, "B H"]) -> Float[Tensor, "B H"]:
        """h_{t-1} as the products of a step read it, (B, H)."""
        return h if self.mask is None else h * self.mask[: len(h)]

    def drawn(self: R, rows: int) -> R:
        """See `Cell`."""
        cell = super().drawn(rows)
        if not (self.training and self.hidden_dropout):
            return cell
        cell = cell.twin()
        ones = self.weight_hidden.new_ones(rows, self.hidden_size)
        cell.mask = F.dropout(ones, self.hidden_dropout)
        return cell

    @property
    def is_plain(self) -> bool:
        """See `Cell`."""
        return super().is_plain and not self.layer_norm

    def onnx_project(self, graph: Graph, x: Value) -> Value:
        """See `Cell`."""
        if self.gain_input is None:
            return super().onnx_project(graph, x)
        product = graph.op("MatMul", x, graph.constant(self.weight_input.t()))
        product = self._onnx_normed(graph, product, self.gain_input)
        return graph.op("Add", product, graph.constant(self.bias))

    def onnx_preactivations(self, graph: Graph, projected_t: Value, h: Value) -> Value:
        """Writes `preactivations` into a graph."""
        product = graph.op("MatMul", h, graph.constant(self.weight_hidden.t()))
        if self.gain_hidden is not None:
            product = self._onnx_normed(graph, product, self.gain_hidden)
        return graph.op("Add", projected_t, product)

    def _onnx_normed(self, graph: Graph, product: Value, gain: Tensor) -> Value:
        widths = [gates * self.hidden_size for gates in self.norm_groups]
        parts = [product]
        if len(widths) > 1:
            sizes = graph.integers(*widths)
            parts = graph.ops("Split", len(widths), product, sizes, axis=-1)
        pairs = zip(parts, gain.split(widths), strict=True)
        return graph.side_by_side([onnx_normed(graph, *pair) for pair in pairs], axis=-1)

    def _normed(self, product: Tensor, gain: Tensor) -> Tensor:
        """Each group of gates normalised. product: (..., G*H); gain: (G*H,)."""
        widths = [gates * self.hidden_size for gates in self.norm_groups]
        parts = zip(product.split(widths, dim=-1), gain.split(widths), strict=True)
        return torch.cat([normed(part, own) for part, own in parts], dim=-1)


def normed(values: Tensor, gain: Tensor, bias: Tensor | None = None) -> Tensor:
    """Mean 0 and variance 1 over the last axis, times the gain, plus the bias.

    Source: Ba et al. (2016), equation 4.
    """
    return F.layer_norm(values, values.shape[-1:], gain, bias, EPSILON)


def onnx_normed(graph: Graph, values: Value, gain: Tensor, bias: Tensor | None = None) -> Value:
    """Writes `normed` into a graph."""
    shift = torch.zeros_like(gain) if bias is None else bias
    inputs = values, graph.constant(gain), graph.constant(shift)
    return graph.op("LayerNormalization", *inputs, axis=-1, epsilon=EPSILON)


def summed(
    projected: Tensor, h: Float[Tensor, "B H"], weight: Tensor, gain: Tensor | None
) -> Float[Tensor, "B K"]:
    """Projected + W h, or with a gain projected + LN(W h).

    Args:
        projected: (B, K), or a bias (K,).
        h: (B, H), from `RegularizedCell.seen`.
        weight: (H, K), W transposed.
        gain: (K,) of the product's normalisation; None: it is not normalised.
    """
    if gain is None:
        return torch.addmm(projected, h, weight)
    return projected + normed(h @ weight, gain)
