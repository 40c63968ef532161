"""Encoder of the characters of a word, known or unknown, into one vector.

Shapes: B sequences, T words, C characters a word at most, W numbers for a word. A character is
an id from 1 on; 0 fills up a word to C and is never read.
"""

from abc import ABC, abstractmethod

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seqpipe.bounds import Count, checked
from seqpipe.errors import ConfigError
from seqpipe.nn.cells import LSTM
from seqpipe.nn.masks import length_mask
from seqpipe.nn.onnx_graph import INT32, INTEGER, Graph, Value
from seqpipe.nn.recurrent import RecurrentStack
from seqpipe.rules import refusal

CHARACTER_WIDTH = 30  # of a character's own vector (Ma & Hovy 2016, table 1)


class CharacterEncoder(nn.Module, ABC):
    """Reads each word by itself: no answer depends on other words, or on what fills up a word.

    A step that is padding has no characters; it gets some finite vector, which is not read.

    Args:
        alphabet: how many ids of characters there are, 0 included.
        output_size: W, at least 1.

    Attributes:
        embedding: (alphabet, 30), a vector for each character.
    """

    @checked()
    def __init__(self, alphabet: int, output_size: Count) -> None:
        super().__init__()
        self.output_size = output_size
        self.embedding = nn.Embedding(alphabet, CHARACTER_WIDTH)

    def forward(self, characters: Int[Tensor, "B T C"]) -> Float[Tensor, "B T W"]:
        """characters: (B, T, C) ids, 0 after the last of a word. Returns (B, T, W)."""
        B, T, C = characters.shape
        words = characters.reshape(B * T, C)
        lengths = (words != 0).sum(dim=1)
        if words.device.type == "cpu" and len(words):  # a GPU would have to wait for the number
            words = words[:, : max(1, int(lengths.max()))]
        return self.read(words, lengths).view(B, T, self.output_size)

    @abstractmethod
    def read(self, words: Int[Tensor, "N C"], lengths: Int[Tensor, " N"]) -> Float[Tensor, "N W"]:
        """words: (N, C) ids; lengths: (N,) characters of each, 0..C. Returns (N, W)."""

    def onnx(self, graph: Graph, characters: Value) -> Value:
        """Writes the encoder into a graph. characters: (T, B, C) ids. Returns (T, B, W)."""
        shape = graph.op("Concat", graph.integers(-1), graph.size(characters, 2), axis=0)
        words = graph.op("Reshape", characters, shape)  # (N, C)
        inside = graph.op("Greater", words, graph.constant(0, np.int64))
        inside = graph.op("Cast", inside, to=INTEGER)
        lengths = graph.op("ReduceSum", inside, graph.integers(1), keepdims=0)
        vectors = graph.op("Gather", graph.constant(self.embedding.weight), words, axis=0)
        vectors = self.onnx_read(graph, vectors, lengths)
        sizes = [graph.size(characters, 0), graph.size(characters, 1)]
        shape = graph.op("Concat", *sizes, graph.integers(self.output_size), axis=0)
        return graph.op("Reshape", vectors, shape)

    @abstractmethod
    def onnx_read(self, graph: Graph, vectors: Value, lengths: Value) -> Value:
        """`read` in a graph. vectors: (N, C, 30); lengths: (N,), 0..C. Returns (N, W)."""


class CharacterCNN(CharacterEncoder):
    """The strongest answer of each of W filters, three characters wide, anywhere in the word.

    Source: Ma & Hovy (2016), section 2.1: one layer, windows of 3, max pooling. As in Kim et al.
    (2016), equations 3 and 4, a tanh follows the filter; they have filters of several widths.
    """

    def __init__(self, alphabet: int, output_size: int) -> None:
        super().__init__(alphabet, output_size)
        self.filters = nn.Conv1d(CHARACTER_WIDTH, output_size, kernel_size=3, padding=1)

    def read(self, words: Int[Tensor, "N C"], lengths: Int[Tensor, " N"]) -> Float[Tensor, "N W"]:
        """words: (N, C) ids; lengths: (N,) characters of each, 0..C. Returns (N, W)."""
        C = words.shape[1]
        nothing = ~length_mask(lengths, C).unsqueeze(-1)  # zeros, as beyond the edges
        vectors = self.embedding(words).masked_fill(nothing, 0.0)
        found = self.filters(vectors.transpose(1, 2))  # (N, W, C)
        outside = ~length_mask(lengths.clamp(min=1), C).unsqueeze(1)
        return torch.tanh(found.masked_fill(outside, -torch.inf).amax(dim=2))

    def onnx_read(self, graph: Graph, vectors: Value, lengths: Value) -> Value:
        """See `CharacterEncoder`."""
        place = graph.places(vectors, 1, 0)  # (1, C)
        inside = graph.op("Less", place, graph.unsqueezed(lengths, 1))
        wide = graph.unsqueezed(inside, 2)
        found = graph.op("Where", wide, vectors, graph.constant(0.0))
        found = graph.op(
            "Conv",
            graph.op("Transpose", found, perm=[0, 2, 1]),
            graph.constant(self.filters.weight),
            graph.constant(self.filters.bias),
            kernel_shape=[3],
            pads=[1, 1],
        )
        inside = graph.op("Less", place, graph.unsqueezed(_at_least_one(graph, lengths), 1))
        wide = graph.unsqueezed(inside, 1)
        found = graph.op("Where", wide, found, graph.constant(-np.inf))
        return graph.op("Tanh", graph.op("ReduceMax", found, graph.integers(2), keepdims=0))


class CharacterLSTM(CharacterEncoder):
    """The final states of an LSTM in each direction, of W / 2 numbers each.

    Source: Lample et al. (2016), section 4.1.

    Raises:
        ConfigError: W is odd.
    """

    def __init__(self, alphabet: int, output_size: int) -> None:
        super().__init__(alphabet, output_size)
        if output_size % 2:
            wrong = "the two directions of architecture.characters=lstm share it"
            key = "architecture.characters_size"
            raise ConfigError(refusal(key, output_size, wrong, "an even number"))
        self.stack = RecurrentStack(
            CHARACTER_WIDTH,
            cell=LSTM,
            hidden_size=output_size // 2,
            bidirectional=True,
        )

    def read(self, words: Int[Tensor, "N C"], lengths: Int[Tensor, " N"]) -> Float[Tensor, "N W"]:
        """words: (N, C) ids; lengths: (N,) characters of each, 0..C. Returns (N, W)."""
        _, state = self.stack(self.embedding(words), lengths.clamp(min=1))
        return torch.cat([direction[0] for direction in state[-1]], dim=-1)

    def onnx_read(self, graph: Graph, vectors: Value, lengths: Value) -> Value:
        """See `CharacterEncoder`."""
        steps = graph.op("Transpose", vectors, perm=[1, 0, 2])
        lengths = graph.op("Cast", _at_least_one(graph, lengths), to=INT32)
        _, state = self.stack.onnx(graph, steps, lengths)
        return graph.side_by_side([direction[0] for direction in state[-1]], axis=1)


def _at_least_one(graph: Graph, lengths: Value) -> Value:
    return graph.op("Max", lengths, graph.integers(1))
