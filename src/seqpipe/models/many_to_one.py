"""One y for a sequence x_1..x_Tx."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from seqpipe.bounds import Count, Share, checked
from seqpipe.models.architecture import Architecture
from seqpipe.models.inputs import InputLayer, reader_faults
from seqpipe.nn.head import Head
from seqpipe.nn.masks import length_mask
from seqpipe.nn.onnx_graph import FLOAT, Graph, Steps, Value
from seqpipe.nn.recurrent import RecurrentStack


class ManyToOne(Architecture):
    """A recurrent encoder whose steps are summed up in one vector, and a head on it.

    Padding has no influence: `last` is the state after the last real step (of each direction: the
    backward one ends at x_1), `mean` and `max` go over real steps.

    Args:
        x_kind: `symbols`, `spelled` or `values`.
        x_size: V or D.
        output_size: K.
        encoder: makes the stack from `input_size`.
        head: makes the output layers from `input_size` and `output_size`.
        pooling: `last`, `mean` or `max`.
        embedding_size: see `InputLayer`, as for the rest.
        embedding_dropout: of whole words.
        characters: what reads the characters of a spelled word.
        characters_size: width of the vector that it makes of a word.
        freeze_vectors: do not train the embedding.
        x_characters: how many characters there are, where words are spelled.
        x_vectors: (V, D) that the embedding starts from.
    """

    x_kinds = ("values", "symbols", "spelled")
    y_kinds = ("category", "ordinal", "number", "multi_label")
    answers = "whole"

    @checked("architecture.", reader_faults)
    def __init__(
        self,
        *,
        x_kind: str,
        x_size: int,
        output_size: int,
        encoder: Callable[..., RecurrentStack],
        head: Callable[..., Head],
        pooling: Literal["last", "mean", "max"] = "last",
        embedding_size: Count | None = None,
        embedding_dropout: Share = 0.0,
        characters: Literal["cnn", "lstm"] | None = None,
        characters_size: Count | None = None,
        freeze_vectors: bool = False,
        x_characters: int | None = None,
        x_vectors: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.input = InputLayer(
            x_kind,
            x_size,
            embedding_size=embedding_size,
            embedding_dropout=embedding_dropout,
            alphabet=x_characters,
            characters=characters,
            characters_size=characters_size,
            vectors=x_vectors,
            freeze_vectors=freeze_vectors,
        )
        self.encoder = encoder(input_size=self.input.output_size)
        self.head = head(input_size=self.encoder.output_size, output_size=output_size)
        self.pooling = pooling

    def forward(
        self,
        x: Tensor,
        x_lengths: Tensor,
        y: Tensor | None = None,
        y_lengths: Tensor | None = None,
    ) -> Tensor:
        """One answer for each sequence; y is not read.

        x: (B, T_x) or (B, T_x, 1 + C) ids, or (B, T_x, D); x_lengths: (B,). Returns (B, K).
        """
        last = self.pooling == "last"
        outputs, state = self.encoder(self.input(x), x_lengths, final=last)
        if last:
            h_last = torch.cat([direction[0] for direction in state[-1]], dim=-1)
            summary = self.encoder.drops[-1](h_last)
        else:
            mask = length_mask(x_lengths, outputs.shape[1]).unsqueeze(-1)
            summary = self._pool(outputs, mask)
        logits: Tensor = self.head(summary)
        return logits

    def _pool(self, outputs: Tensor, mask: Tensor) -> Tensor:
        """outputs: (B, T_x, N*H); mask: (B, T_x, 1). Returns (B, N*H), over real steps."""
        if self.pooling == "mean":
            return outputs.masked_fill(~mask, 0.0).sum(dim=1) / mask.sum(dim=1)
        assert self.pooling == "max", self.pooling
        return outputs.masked_fill(~mask, -torch.inf).amax(dim=1)

    def onnx(self, graph: Graph) -> tuple[Value, Steps | None]:
        """Reads `x` and `lengths`. Returns (B, K)."""
        vectors, steps = self.input.onnx(graph, "x")
        outputs, state = self.encoder.onnx(graph, vectors, steps.short)
        first = graph.integers(0)
        if self.pooling == "last":
            summary = graph.side_by_side([direction[0] for direction in state[-1]], axis=1)
        elif self.pooling == "mean":
            real = graph.op("Where", steps.real, outputs, graph.constant(0.0))
            count = graph.unsqueezed(graph.op("Cast", steps.lengths, to=FLOAT), 1)
            summary = graph.op("Div", graph.op("ReduceSum", real, first, keepdims=0), count)
        else:
            assert self.pooling == "max", self.pooling
            real = graph.op("Where", steps.real, outputs, graph.constant(-np.inf))
            summary = graph.op("ReduceMax", real, first, keepdims=0)
        return self.head.onnx(graph, summary), None
