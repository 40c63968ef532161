"""Inputs of a recurrent stack: ids, spelled words or numbers to floats (B, T, D)."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from seqpipe.bounds import Share, checked
from seqpipe.errors import ConfigError, ShapeError
from seqpipe.nn.characters import CharacterCNN, CharacterEncoder, CharacterLSTM
from seqpipe.nn.dropout import RowDropout
from seqpipe.nn.onnx_graph import FLOAT, INTEGER, Graph, Steps, Value
from seqpipe.rules import refusal

WIDEST_DEFAULT = 128  # of an embedding
CHARACTERS_DEFAULT = 50  # width of the vector of a word's characters
EMBEDDED = ("symbols", "spelled")
CHARACTER_ENCODERS: dict[str, type[CharacterEncoder]] = {"cnn": CharacterCNN, "lstm": CharacterLSTM}


def embedding_faults(
    kind: str | None, embedding_size: int | None, embedding_dropout: int | float
) -> Iterator[tuple[str, str]]:
    """Yield options of an embedding of numbers, which would do nothing: (argument, text)."""
    if kind in (None, *EMBEDDED):
        return
    text = "each step is a row of numbers, without an embedding"
    if embedding_size is not None:
        yield "embedding_size", f"{text}; allowed: null"
    if embedding_dropout > 0:
        yield "embedding_dropout", f"{text}; allowed: 0, or input_dropout in its place"


def spelling_faults(
    kind: str | None, characters: str | None, characters_size: int | None
) -> Iterator[tuple[str, str]]:
    """Yield options of a reader of characters where there are none: (argument, text)."""
    given = {"characters": characters, "characters_size": characters_size}
    for name, value in given.items() if kind not in (None, "spelled") else ():
        if value is not None:
            yield name, "x does not hold the characters of words; allowed: null, or a Spelled x"


def freezing_faults(
    freeze_vectors: bool, role: str, *vectors: Tensor | str | None
) -> Iterator[tuple[str, str]]:
    """Yield the option to keep vectors as they are where there are none: (argument, text).

    Args:
        freeze_vectors: the option.
        role: `x` or `y`, for the message.
        vectors: those that embeddings start from, or their files.
    """
    if freeze_vectors and all(each is None for each in vectors):
        text = "random vectors would never be trained; allowed: false"
        yield "freeze_vectors", f"{text}, or data.{role}.vectors=FILE"


def layer_faults(
    kind: str | None,
    embedding_size: int | None,
    embedding_dropout: int | float,
    characters: str | None,
    characters_size: int | None,
    vectors: Tensor | str | None,
    freeze_vectors: bool,
) -> Iterator[tuple[str, str]]:
    """Yield the options of an `InputLayer` that have no effect: (argument, text)."""
    yield from embedding_faults(kind, embedding_size, embedding_dropout)
    yield from spelling_faults(kind, characters, characters_size)
    yield from freezing_faults(freeze_vectors, "x", vectors)


def reader_faults(
    x_kind: str | None,
    embedding_size: int | None,
    embedding_dropout: int | float,
    characters: str | None,
    characters_size: int | None,
    x_vectors: Tensor | str | None,
    freeze_vectors: bool,
) -> Iterator[tuple[str, str]]:
    """Yield the options of an architecture that reads x by an `InputLayer`, see `layer_faults`."""
    of_embeddings = (x_kind, embedding_size, embedding_dropout)
    return layer_faults(*of_embeddings, characters, characters_size, x_vectors, freeze_vectors)


class InputLayer(nn.Module):
    """Symbols become vectors, values pass as they are.

    An embedding is the lecture's one-hot x<t> times a matrix, without building the one-hot. A
    spelled word gets the vector of the word, and next to it one read from its characters.

    Args:
        kind: `symbols`, ids (B, T); `spelled`, ids (B, T, 1 + C) of a word and its characters,
            0 after the last; or `values`, floats (B, T, D).
        size: V for symbols and words, D for values.
        embedding_size: width of a symbol's or word's vector; None: the smaller of V and 128.
            Values are not embedded, so for them it must be None.
        embedding_dropout: probability that a symbol's or word's vector is 0 in training, wherever
            it occurs in a batch, see `RowDropout`; for them it must be 0.
        alphabet: how many ids of characters there are; for `spelled` only.
        characters: what reads the characters of a word, `cnn` or `lstm`; None: `cnn` where words
            are spelled. Must be None where they are not.
        characters_size: width of the vector that it makes of a word; None: 50 for spelled words.
        vectors: (V, D) the embedding starts from; rows of NaN start at random, as far from 0 as
            the others. `embedding_size` must then be None or D.
        freeze_vectors: do not train the embedding, which has vectors to start from.

    Attributes:
        output_size: width of what comes out.

    Raises:
        ConfigError: an option is given that x has no use for.
    """

    @checked("architecture.", layer_faults)
    def __init__(
        self,
        kind: str,
        size: int,
        *,
        embedding_size: int | None = None,
        embedding_dropout: Share = 0.0,
        alphabet: int | None = None,
        characters: Literal["cnn", "lstm"] | None = None,
        characters_size: int | None = None,
        vectors: Tensor | None = None,
        freeze_vectors: bool = False,
    ) -> None:
        super().__init__()
        self.kind, self.size = kind, size
        self.keeps_start = () if vectors is None else ("embedding",)
        self.embedding: nn.Embedding | None = None
        self.row_dropout = RowDropout(embedding_dropout)
        self.characters: CharacterEncoder | None = None
        if kind in EMBEDDED:
            self.embedding = _embedding(size, embedding_size, vectors)
            self.output_size = self.embedding.embedding_dim
        elif kind == "values":
            self.output_size = size
        else:
            allowed = f"{', '.join(EMBEDDED)} or values"
            wrong = f"a {kind} is no sequence to read step by step"
            raise ConfigError(f"data.x: {wrong}; allowed: {allowed}")
        if freeze_vectors and self.embedding is not None:
            self.embedding.weight.requires_grad_(False)
        if kind == "spelled":
            assert alphabet is not None, "known from the data"
            width = CHARACTERS_DEFAULT if characters_size is None else characters_size
            self.characters = CHARACTER_ENCODERS[characters or "cnn"](alphabet, width)
            self.output_size += width

    @property
    def vectors(self) -> Tensor | None:
        """(V, D) of the symbols, where a step of x is one symbol and nothing else; else None."""
        if self.embedding is None or self.characters is not None:
            return None
        kept = self.row_dropout.draw(self.embedding.weight)
        return self.embedding.weight if kept is None else self.embedding.weight * kept

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T) or (B, T, 1 + C) ids, or (B, T, D) floats. Returns (B, T, output_size)."""
        return self.reader()(x)

    def reader(self) -> Callable[[Tensor], Tensor]:
        """The `forward` for steps of one batch, which all lack the same symbols."""
        kept = None if self.embedding is None else self.row_dropout.draw(self.embedding.weight)
        return partial(self._read, kept)

    def _read(self, kept: Tensor | None, x: Tensor) -> Tensor:
        if self.embedding is None:
            if x.ndim != 3 or x.shape[-1] != self.size:
                raise ShapeError(f"x has shape {tuple(x.shape)}; expected (B, T_x, {self.size}).")
            return x
        ids = x if self.characters is None else x[..., 0]
        vectors: Tensor = self.embedding(ids)
        if kept is not None:
            vectors = vectors * kept[ids]
        if self.characters is None:
            return vectors
        return torch.cat([vectors, self.characters(x[..., 1:])], dim=-1)

    def onnx(self, graph: Graph, name: str) -> tuple[Value, Steps]:
        """Writes inputs and their vectors into a graph.

        Args:
            graph: to add it to.
            name: of the input.

        Returns:
            vectors (T, B, output_size); the real steps.
        """
        if self.embedding is None:
            return graph.sequences(name, FLOAT, self.size)
        table = graph.constant(self.embedding.weight)
        if self.characters is None:
            value, steps = graph.sequences(name, INTEGER)
            return graph.op("Gather", table, value, axis=0), steps
        value, steps = graph.sequences(name, INTEGER, "word_and_characters")
        words = graph.op("Gather", value, graph.constant(0, np.int64), axis=2)
        end = graph.integers(np.iinfo(np.int64).max)
        spelled = graph.op("Slice", value, graph.integers(1), end, graph.integers(2))
        known = graph.op("Gather", table, words, axis=0)
        return graph.side_by_side([known, self.characters.onnx(graph, spelled)], axis=2), steps


def _embedding(size: int, width: int | None, vectors: Tensor | None) -> nn.Embedding:
    if vectors is None:
        return nn.Embedding(size, min(size, WIDEST_DEFAULT) if width is None else width)
    if width not in (None, vectors.shape[1]):
        key, wrong = "architecture.embedding_size", f"the vectors are {vectors.shape[1]} wide"
        raise ConfigError(refusal(key, width, wrong, f"{key}=null or {vectors.shape[1]}"))
    embedding = nn.Embedding(size, vectors.shape[1])
    known = ~vectors.isnan()
    with torch.no_grad():
        embedding.weight.mul_(vectors[known].square().mean().sqrt())
        embedding.weight.copy_(vectors.where(known, embedding.weight))
    return embedding
