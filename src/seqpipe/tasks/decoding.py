"""Tasks that decode a sequence, and their options: greedy, or by beam search."""

from collections.abc import Iterable, Iterator
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from seqpipe.data.base import FieldSpec, SequenceBatch
from seqpipe.data.dataset import SequenceData
from seqpipe.tasks.base import Pairs, Task
from seqpipe.tasks.sacrebleu_internals import signature_of
from seqpipe.tasks.sequence_metrics import ErrorRate, ExactMatch, SameX, Written, compared
from seqpipe.tasks.text_metrics import (
    CorpusScore,
    TextErrorRate,
    Tokenizer,
    WrongShare,
    scorers,
)

Decoded = tuple[Tensor, Tensor]
"""Ids (B, T), and how many of them count (B,)."""
Decoding = Literal["greedy", "beam"]
BEAM_SIZE, LENGTH_PENALTY = 5, 0.6
Symbols = Literal["phonemes"] | None
References = Literal["single", "same_x"]
_AT_ONCE = 256  # examples whose references are gathered together


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


def translation_faults(
    decoding: Decoding,
    beam_size: int | None,
    length_penalty: float | None,
    bleu: str | None,
    bleu_lowercase: bool,
) -> Iterator[tuple[str, str]]:
    """As `beam_faults`, and options of BLEU without BLEU."""
    yield from beam_faults(decoding, beam_size, length_penalty)
    if bleu_lowercase and bleu is None:
        yield "bleu_lowercase", "there is no BLEU; allowed: false, or also task.bleu=13a"


def ranked_answers(
    ids: Tensor, lengths: Tensor, scores: Tensor
) -> list[list[tuple[Tensor, float]]]:
    """The n best answers to each x, without padding, with their scores.

    ids: (B, n, T); lengths: (B, n); scores: (B, n) log p(y | x) in nats.
    """
    rows = zip(ids.cpu(), lengths.tolist(), scores.tolist(), strict=True)
    return [[(one[:n], score) for one, n, score in zip(*row, strict=True)] for row in rows]


class DecodedTask(Task):
    """Tasks that are measured on the sequences that the model decodes.

    Args:
        y: see `Task`.
        monitor: see `Task`.
        mode: see `Task`.
        symbols: `phonemes`: a symbol of y is a phoneme, which names the error rate; None: y is
            text, which is compared by words and by characters too.
        references: `same_x`: examples of validation and test with the same x count once, and all
            of their y are right answers; `single`: each has its own y.
        bleu: the tokenizer of BLEU; None: neither BLEU nor chrF.
        bleu_lowercase: BLEU and chrF compare small letters.
    """

    writes_words: ClassVar[bool] = False
    """True where a y of phonemes is the pronunciation of one word."""

    def __init__(
        self,
        *,
        y: FieldSpec,
        monitor: str,
        mode: str,
        symbols: Symbols = None,
        references: References = "single",
        bleu: Tokenizer | None = None,
        bleu_lowercase: bool = False,
    ) -> None:
        self.symbols = symbols
        self.same_x = SameX() if references == "same_x" else None
        self.scorers = {} if bleu is None else scorers(bleu, lowercase=bleu_lowercase)
        self.details = frozenset(_details(y, symbols))
        if symbols is None:
            added = ("phoneme_error_rate", "task.symbols=phonemes")
            self.further_metrics = (*self.further_metrics, added)
        super().__init__(y=y, monitor=monitor, mode=mode)

    def metric_names(self) -> list[str]:
        """Loss, exact match, error rates; BLEU and chrF of translations."""
        return ["loss", *self._decoded_metrics()]

    @property
    def compared(self) -> tuple[str, ...]:
        """The monitored metric, and an error rate beside a loss and exact answers.

        A baseline has no loss, and of sentences neither it nor the model may have one right.
        """
        (monitored,) = super().compared
        if monitored not in ("exact_match", "loss"):
            return (monitored,)
        return (monitored, "phoneme_error_rate" if self.symbols == "phonemes" else "error_rate")

    def _decoded_metrics(self) -> dict[str, Metric | MetricCollection]:
        metrics: dict[str, Metric | MetricCollection] = {
            "exact_match": ExactMatch(),
            "error_rate": ErrorRate(),
        }
        if self.symbols == "phonemes":
            metrics["phoneme_error_rate"] = ErrorRate()
            if self.writes_words:
                metrics["word_error_rate"] = WrongShare()
        elif self.y.text is not None:
            metrics["word_error_rate"] = TextErrorRate("words")
            metrics["character_error_rate"] = TextErrorRate("characters")
        return metrics | {name: CorpusScore(name, one) for name, one in self.scorers.items()}

    @property
    def signatures(self) -> dict[str, str]:
        """See `Task`: those of sacrebleu, which make a score comparable with others."""
        count = 1 if self.same_x is None else 0
        return {name: signature_of(one, count) for name, one in self.scorers.items()}

    def check(self, data: SequenceData) -> None:
        """See `Task`; also gathers the references of validation and test."""
        super().check(data)
        for split in ("valid", "test") if self.same_x is not None else ():
            starts = range(0, data.sizes[split], _AT_ONCE)
            ends = (min(start + _AT_ONCE, data.sizes[split]) for start in starts)
            spans = map(range, starts, ends)
            self.learn_references(data.batch(split, span) for span in spans)

    def learn_references(self, batches: Iterable[SequenceBatch]) -> None:
        """See `Task`."""
        if self.same_x is not None:
            self.same_x.learn((batch, self._truths(batch)) for batch in batches)

    def _truths(self, batch: SequenceBatch) -> list[Written]:
        count = len(batch)
        nothing = torch.zeros(count, 1, dtype=torch.long), torch.zeros(count, dtype=torch.long)
        return compared(self.decoded(nothing, batch), self.y, batch.texts)[1]

    def pairs(self, predictions: Decoded, batch: SequenceBatch) -> Pairs:
        """Two lists of id lists, without blanks and <EOS>; see `compared`."""
        predicted, truths = compared(self.decoded(predictions, batch), self.y, batch.texts)
        if self.same_x is not None:
            self.same_x.add_to(batch, truths)
        return predicted, truths

    def metrics(self, stage: str) -> MetricCollection:
        """Those of `metric_names`; none while training, which does not decode."""
        return MetricCollection({} if stage == "train" else self._decoded_metrics())


def _details(y: FieldSpec, symbols: Symbols) -> set[str]:
    """Error rates that the closing lines leave out: those of another unit than that of y."""
    if symbols == "phonemes":
        return {"error_rate"}  # it is the phoneme error rate
    by_letters = y.unit in ("characters", "graphemes")
    return {"word_error_rate"} if by_letters else {"character_error_rate"}
