"""Layers without recurrence: the standard network, and what stands on top of a recurrent one."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqpipe.bounds import Count, Share, checked
from seqpipe.nn.onnx_graph import Graph, Steps, Value
from seqpipe.nn.packed import packed_linear
from seqpipe.nn.wide_linear import TiedLinear, WideLinear


class FeedForward(nn.Module):
    """A standard network: layers of z = tanh(W x + b), dropout on the output of each.

    Args:
        input_size: D.
        hidden_size: H, of every layer.
        depth: number of layers.
        dropout: probability that one output is set to 0 in training.

    Attributes:
        output_size: H.

    Raises:
        ConfigError: a size or depth below 1, a dropout outside [0, 1).
    """

    @checked()
    def __init__(
        self, input_size: Count, *, hidden_size: Count, depth: Count = 1, dropout: Share = 0.0
    ) -> None:
        super().__init__()
        self.output_size = hidden_size
        self.drop = nn.Dropout(dropout)
        self.layers = _linear_layers([input_size, *[hidden_size] * depth])

    def forward(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch H"]:
        """x: (..., D). Returns (..., H)."""
        for layer in self.layers:
            x = self.drop(torch.tanh(layer(x)))
        return x

    def onnx(self, graph: Graph, value: Value) -> Value:
        """Writes the layers into a graph, on the last axis of a value."""
        return _onnx_layers(graph, value, self.layers, "Tanh")


def head_faults(
    hidden: Sequence[int], dropout: int | float, activation: str
) -> Iterator[tuple[str, str]]:
    """Yield options of the layers in between where there are none: (argument, text)."""
    if not hidden:
        text = "acts between the layers of the head, which has only one"
        also = "or also architecture.head.hidden=[64]"
        if dropout > 0:
            yield "dropout", f"{text}; allowed: 0, {also}"
        if activation != "relu":
            yield "activation", f"{text}; allowed: relu, {also}"


class Head(nn.Module):
    """Output layers from the output of a recurrent layer to y, the same at every time step.

    With `hidden`, the lecture's deep outputs: more layers per step, without recurrence.

    Args:
        input_size: D, of one step.
        output_size: K, of one prediction.
        hidden: widths of the layers in between, none by default.
        dropout: probability that one output of a layer in between is set to 0 in training.
        activation: of the layers in between.

    Raises:
        ConfigError: a size below 1, a dropout outside [0, 1), an unknown activation.

    Source: Pascanu et al. (2014), section 3.3.2, deep output.
    """

    whole_sequences: ClassVar[bool] = False
    """True where it also reads lengths, and answers with potentials of whole sequences."""
    together = staticmethod(head_faults)  # of a configuration; a saved model may have them

    @checked("architecture.head.")
    def __init__(
        self,
        input_size: int,
        output_size: int,
        *,
        hidden: list[Count] | tuple[Count, ...] = (),
        dropout: Share = 0.0,
        activation: Literal["relu", "tanh"] = "relu",
    ) -> None:
        super().__init__()
        self.activation = {"relu": torch.relu, "tanh": torch.tanh}[activation]
        self.drop = nn.Dropout(dropout)
        self.layers = _linear_layers([input_size, *hidden])
        self.projection: nn.Linear | None = None
        self.output = WideLinear(hidden[-1] if hidden else input_size, output_size)

    def tie(self, embedding: nn.Embedding) -> None:
        """Take the weights of an embedding as those of the output layer: y = E P x + b.

        P, a map without bias, is there only where x and the vectors differ in width.

        Args:
            embedding: (K, D).

        Source: Press & Wolf (2017), section 3; Melis et al. (2018), section 4, for P, the
        down-projection.
        """
        if self.output.in_features != embedding.embedding_dim:
            widths = self.output.in_features, embedding.embedding_dim
            self.projection = nn.Linear(*widths, bias=False)
        self.output = TiedLinear(embedding)

    def forward(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch K"]:
        """x: (..., D). Returns (..., K): logits, or numbers."""
        for layer in self.layers:
            x = self.drop(self.activation(layer(x)))
        if self.projection is not None:
            x = self.projection(x)
        # torch adds the bias in a second pass where the steps of x are not in their order.
        y: Tensor = self.output(x.contiguous())
        return y

    def onnx(self, graph: Graph, value: Value, steps: Steps | None = None) -> Value:
        """Writes the layers into a graph, on the last axis of a value; `steps` is not read."""
        kind = {torch.relu: "Relu", torch.tanh: "Tanh"}[self.activation]
        value = _onnx_layers(graph, value, self.layers, kind)
        if self.projection is not None:
            value = graph.linear(value, self.projection)
        return graph.linear(value, self.output)


def prepared_head(head: nn.Module, rows: int, steps: int) -> Callable[[Tensor], Tensor]:
    """A head for calls without gradient, each with less work where it is a single product.

    Args:
        head: a `Head`, or what a user put in its place.
        rows: see `packed_linear`.
        steps: see `packed_linear`.
    """
    if type(head) is Head and len(head.layers) == 0 and head.projection is None:
        output = head.output
        if type(output) in (WideLinear, TiedLinear):
            return packed_linear(output.weight, output.bias, rows=rows, steps=steps)
    return head


def _linear_layers(widths: list[int]) -> nn.ModuleList:
    """One layer between each two neighbours of `widths`."""
    return nn.ModuleList(nn.Linear(below, above) for below, above in pairwise(widths))


def _onnx_layers(graph: Graph, value: Value, layers: nn.ModuleList, activation: str) -> Value:
    for layer in layers:
        assert isinstance(layer, nn.Linear)
        value = graph.op(activation, graph.linear(value, layer))
    return value
