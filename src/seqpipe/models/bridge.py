"""The first state of a decoder, from the last state of an encoder or from a condition."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seqpipe.nn.onnx_graph import Graph, Value
from seqpipe.nn.recurrent import GraphState, RecurrentStack, StackState


class Bridge(nn.Module):
    """Maps one vector a layer to the first state of a one-directional stack.

    Every part of every layer's state has a linear map of its own, followed by tanh.

    Args:
        source_sizes: width of the vector each layer starts from, one a layer of `stack`.
        stack: whose first state is made.

    Source: Cho et al. (2014), appendix A.2: the decoder's first state is tanh(V c).
    """

    def __init__(self, source_sizes: Sequence[int], stack: RecurrentStack) -> None:
        super().__init__()
        self.maps = nn.ModuleList(
            nn.ModuleDict(
                {part: nn.Linear(size, stack.hidden_size) for part in stack.cell_state_names}
            )
            for size in source_sizes
        )

    def forward(self, sources: Sequence[Tensor]) -> StackState:
        """sources: (B, size) for each layer. Returns the state of every layer."""
        layers = []
        for source, parts in zip(sources, self.maps, strict=True):
            assert isinstance(parts, nn.ModuleDict)
            layers.append((tuple(torch.tanh(part(source)) for part in parts.values()),))
        return tuple(layers)

    def onnx(self, graph: Graph, sources: Sequence[Value]) -> GraphState:
        """Writes the maps into a graph. sources: (B, size) for each layer."""
        state: GraphState = []
        for source, parts in zip(sources, self.maps, strict=True):
            assert isinstance(parts, nn.ModuleDict)
            linear = [layer for layer in parts.values() if isinstance(layer, nn.Linear)]
            state.append([[graph.op("Tanh", graph.linear(source, layer)) for layer in linear]])
        return state
