"""One y for each step of x_1..x_Tx."""

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from seqpipe.bounds import Count, Share, checked
from seqpipe.models.architecture import Architecture
from seqpipe.models.inputs import InputLayer, reader_faults
from seqpipe.nn.head import Head
from seqpipe.nn.onnx_graph import Graph, Steps, Value
from seqpipe.nn.recurrent import RecurrentStack, StackState


class ManyToMany(Architecture):
    """A recurrent encoder with the same head on every step; T_y = T_x.

    Args:
        x_kind: `symbols`, `spelled` or `values`.
        x_size: V or D.
        output_size: K.
        encoder: makes the stack from `input_size`.
        head: makes the output layers from `input_size` and `output_size`; with a `CRFHead` the
            answer is the potentials of a CRF.
        embedding_size: see `InputLayer`, as for the rest.
        embedding_dropout: of whole words.
        characters: what reads the characters of a spelled word.
        characters_size: width of the vector that it makes of a word.
        freeze_vectors: do not train the embedding.
        x_characters: how many characters there are, where words are spelled.
        x_vectors: (V, D) that the embedding starts from.
    """

    x_kinds = ("values", "symbols", "spelled")
    y_kinds = ("tags", "roll", "values", "symbols")
    answers = "each_step"
    whole_sequences = True

    @checked("architecture.", reader_faults)
    def __init__(
        self,
        *,
        x_kind: str,
        x_size: int,
        output_size: int,
        encoder: Callable[..., RecurrentStack],
        head: Callable[..., Head],
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

    def forward(
        self,
        x: Tensor,
        x_lengths: Tensor,
        y: Tensor | None = None,
        y_lengths: Tensor | None = None,
    ) -> Tensor:
        """One answer for each step; y is not read.

        x: (B, T_x) or (B, T_x, 1 + C) ids, or (B, T_x, D); x_lengths: (B,). Returns (B, T_x, K),
        or (B, T_x, K, K) potentials, see `seqpipe.nn.crf`.
        """
        logits, _ = self._run(x, x_lengths, None, final=False)
        return logits

    def start(self, rows: int) -> StackState:
        """The encoder's initial state."""
        return self.encoder.initial_state(rows)

    def carry(
        self, x: Tensor, x_lengths: Tensor, y: Tensor, y_lengths: Tensor, carried: StackState
    ) -> tuple[Tensor, StackState]:
        """Return logits that continue from the state of the batch before, and the next state."""
        return self._run(x, x_lengths, carried)

    def _run(
        self, x: Tensor, x_lengths: Tensor, state: StackState | None, *, final: bool = True
    ) -> tuple[Tensor, StackState]:
        outputs, final_state = self.encoder(self.input(x), x_lengths, state, final=final)
        if getattr(self.head, "whole_sequences", False):
            return self.head(outputs, x_lengths), final_state
        return self.head(outputs), final_state

    @property
    def causal(self) -> bool:
        """True of an encoder with one direction."""
        return self.encoder.directions == 1

    def onnx(self, graph: Graph) -> tuple[Value, Steps]:
        """Reads `x` and `lengths`. Returns (T, B, K), or (T, B, K, K) potentials."""
        vectors, steps = self.input.onnx(graph, "x")
        outputs, _ = self.encoder.onnx(graph, vectors, steps.short)
        # ONNX does not define what its operators leave at padding; it must not be NaN.
        outputs = graph.op("Where", steps.real, outputs, graph.constant(0.0))
        return self.head.onnx(graph, outputs, steps), steps
