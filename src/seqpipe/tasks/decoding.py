"""Tasks that decode a sequence, and their options: greedy, or by beam search."""

from collections.abc import Iterator
from typing import Literal

from torch import Tensor
from torchmetrics import MetricCollection

from seqpipe.data.base import SequenceBatch
from seqpipe.tasks.base import Pairs, Task
from seqpipe.tasks.sequence_metrics import ErrorRate, ExactMatch, compared

Decoded = tuple[Tensor, Tensor]
"""Ids (B, T), and how many of them count (B,)."""
Decoding = Literal["greedy", "beam"]
BEAM_SIZE, LENGTH_PENALTY = 5, 0.6


def beam_faults(
    decoding: Decoding, beam_size: int | None, length_penalty: float | None = None
) -> Iterator[tuple[str, str]]:
    """Options of a beam where decoding is greedy, which would do nothing: (argument, text)."""
    given = {"beam_size": beam_size, "length_penalty": length_penalty}
    for name, value in given.items() if decoding == "greedy" else ():
        if value is not None:
            yield name, "greedy decoding has no beam; allowed: null, or also task.decoding=beam"


def transcript_faults(decoding: Decoding, beam_size: int | None) -> Iterator[tuple[str, str]]:
    """As `beam_faults`, of a task without a length penalty."""
    return beam_faults(decoding, beam_size)


def beam_size_of(decoding: Decoding, beam_size: int | None) -> int | None:
    """Hypotheses at each step; None if decoding is greedy.

    Args:
        decoding: `greedy` or `beam`.
        beam_size: as it is given; None: `BEAM_SIZE`.
    """
    if decoding == "greedy":
        return None
    return BEAM_SIZE if beam_size is None else beam_size


def ranked_answers(
    ids: Tensor, lengths: Tensor, scores: Tensor
) -> list[list[tuple[Tensor, float]]]:
    """The n best answers to each x, without padding, with their scores.

    ids: (B, n, T); lengths: (B, n); scores: (B, n) log p(y | x) in nats.
    """
    rows = zip(ids.cpu(), lengths.tolist(), scores.tolist(), strict=True)
    return [[(one[:n], score) for one, n, score in zip(*row, strict=True)] for row in rows]


class DecodedTask(Task):
    """Tasks that are measured on the sequences that the model decodes."""

    def metric_names(self) -> list[str]:
        """Loss, exact match, error rate."""
        return ["loss", "exact_match", "error_rate"]

    def pairs(self, predictions: Decoded, batch: SequenceBatch) -> Pairs:
        """Two lists of id lists, without blanks and <EOS>; see `compared`."""
        return compared(self.decoded(predictions, batch), self.y, batch.texts)

    def metrics(self, stage: str) -> MetricCollection:
        """Exact match and error rate; none while training, which does not decode."""
        if stage == "train":
            return MetricCollection({})
        return MetricCollection({"exact_match": ExactMatch(), "error_rate": ErrorRate()})
