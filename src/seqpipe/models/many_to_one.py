"""One y for a sequence x_1..x_Tx."""

from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor

from seqpipe.bounds import Count, Share, checked, every
from seqpipe.models.architecture import Architecture
from seqpipe.models.inputs import InputLayer, reader_faults
from seqpipe.nn.head import Head
from seqpipe.nn.masks import length_mask
from seqpipe.nn.onnx_graph import Graph, Steps, Value
from seqpipe.nn.pooling import Pooling, pooling_of
from seqpipe.nn.recurrent import RecurrentStack


def pooling_faults(pooling: str, longest_x: int | None) -> Iterator[tuple[str, str]]:
    """Yield a pooling without the option that it needs: (argument, text)."""
    if pooling == "flatten" and longest_x is None:
        text = "has weights for each step, so the greatest number of steps must be known"
        also = "also data.max_length=N, the steps of the longest x"
        yield "pooling", f"{text}; allowed: {also}; or max, mean, last"


class ManyToOne(Architecture):
    """A recurrent encoder whose steps are summed up in one vector, and a head on it.

    Padding has no influence: `last` is the state after the last real step (of each direction: the
    backward one ends at x_1), `mean` and `max` go over real steps, and `flatten` has them side by
    side, so that the head has other weights for each step.

    Args:
        x_kind: `symbols`, `spelled` or `values`.
        x_size: V or D.
        output_size: K.
        encoder: makes the stack from `input_size`.
        head: makes the output layers from `input_size` and `output_size`.
        pooling: `last`, `mean`, `max` or `flatten`, see `seqpipe.nn.pooling`.
        embedding_size: see `InputLayer`, as for the rest.
        embedding_dropout: of whole words.
        characters: what reads the characters of a spelled word.
        characters_size: width of the vector that it makes of a word.
        freeze_vectors: do not train the embedding.
        x_characters: how many characters there are, where words are spelled.
        x_vectors: (V, D) that the embedding starts from.
        longest_x: most steps of an x, which `flatten` must know; None: any number.
    """

    x_kinds = ("values", "symbols", "spelled")
    y_kinds = ("category", "ordinal", "number", "multi_label")
    answers = "whole"

    @checked("architecture.", every(reader_faults, pooling_faults))
    def __init__(
        self,
        *,
        x_kind: str,
        x_size: int,
        output_size: int,
        encoder: Callable[..., RecurrentStack],
        head: Callable[..., Head],
        pooling: Literal["last", "mean", "max", "flatten"] = "last",
        embedding_size: Count | None = None,
        embedding_dropout: Share = 0.0,
        characters: Literal["cnn", "lstm"] | None = None,
        characters_size: Count | None = None,
        freeze_vectors: bool = False,
        x_characters: int | None = None,
        x_vectors: Tensor | None = None,
        longest_x: int | None = None,
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
        width = self.encoder.output_size
        self.pooling: Pooling | None = None  # None: the last outputs
        if pooling != "last":
            self.pooling = pooling_of(pooling, width, longest_x)
            self.longest_x = longest_x if pooling == "flatten" else None
            width = self.pooling.output_size
        self.head = head(input_size=width, output_size=output_size)

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
        last = self.pooling is None
        outputs, state = self.encoder(self.input(x), x_lengths, final=last)
        if self.pooling is None:
            h_last = torch.cat([direction[0] for direction in state[-1]], dim=-1)
            summary = self.encoder.drops[-1](h_last)
        else:
            real = length_mask(x_lengths, outputs.shape[1]).unsqueeze(-1)
            summary = self.pooling(outputs, real)
        logits: Tensor = self.head(summary)
        return logits

    def onnx(self, graph: Graph) -> tuple[Value, Steps | None]:
        """Reads `x` and `lengths`. Returns (B, K)."""
        vectors, steps = self.input.onnx(graph, "x")
        outputs, state = self.encoder.onnx(graph, vectors, steps.short)
        if self.pooling is None:
            summary = graph.side_by_side([direction[0] for direction in state[-1]], axis=1)
        else:
            summary = self.pooling.onnx(graph, outputs, steps)
        return self.head.onnx(graph, summary), None
