"""The first state of a decoder, from what an encoder has read or from a condition."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seqpipe.errors import ConfigError
from seqpipe.nn.cell import State
from seqpipe.nn.onnx_graph import Graph, Value
from seqpipe.nn.recurrent import GraphState, RecurrentStack, StackState
from seqpipe.rules import refusal


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


class CopiedState(nn.Module):
    """The final state of an encoder as it is, the directions of each layer side by side.

    Args:
        encoder: whose final state is copied.
        decoder: whose first state it is.

    Raises:
        ConfigError: the state of the encoder is of another width, or of other parts.

    Source: Sutskever et al. (2014), section 2.
    """

    def __init__(self, encoder: RecurrentStack, decoder: RecurrentStack) -> None:
        super().__init__()
        key, width = "architecture.bridge", encoder.output_size
        if encoder.cell_state_names != decoder.cell_state_names:
            wrong = "the cells of encoder and decoder have different states"
            raise ConfigError(refusal(key, "copy", wrong, "last, or the same cell in both"))
        if width != decoder.hidden_size:
            wrong = f"the encoder's state is {width} wide and the decoder's {decoder.hidden_size}"
            allowed = f"last, or architecture.decoder.hidden_size={width}"
            raise ConfigError(refusal(key, "copy", wrong, allowed))

    def forward(self, layers: Sequence[tuple[State, ...]]) -> StackState:
        """layers: final states, one layer of the encoder for each of the decoder."""
        return tuple(
            (tuple(torch.cat(parts, dim=-1) for parts in zip(*directions, strict=True)),)
            for directions in layers
        )


def make_bridge(
    kind: str, encoder: RecurrentStack, decoder: RecurrentStack
) -> Bridge | CopiedState | None:
    """The bridge of an encoder-decoder, see there; None: the decoder starts from 0."""
    if kind == "zero":
        return None
    if kind == "copy":
        return CopiedState(encoder, decoder)
    width = encoder.output_size
    if kind == "last":
        width = len(encoder.cell_state_names) * encoder.directions * encoder.hidden_size
    return Bridge([width] * decoder.depth, decoder)


def matched_layers(encoder: int, decoder: int) -> list[int]:
    """The layer of an encoder for each layer of a decoder, from 0, of stacks as deep as given.

    Of a deeper encoder these are the top ones; in a deeper decoder the top one comes several times.
    """
    lowest, top = max(0, encoder - decoder), encoder - 1
    return [min(lowest + level, top) for level in range(decoder)]


def joined(layer: tuple[State, ...]) -> Tensor:
    """All parts of the state of a layer side by side, direction after direction, (B, size)."""
    return torch.cat([part for state in layer for part in state], dim=-1)


def mean_over_steps(outputs: Tensor, lengths: Tensor) -> Tensor:
    """The mean over real steps, (B, H). outputs: (B, T, H), 0 at padding; lengths: (B,)."""
    return outputs.sum(dim=1) / lengths.unsqueeze(1).to(outputs.dtype)
