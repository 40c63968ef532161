"""A shorter sequence in the order of x, without an alignment: speech to words."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from seqpipe.baselines.base import Baseline
from seqpipe.baselines.sequences import MostFrequent
from seqpipe.bounds import BeamSize, Monitor, checked
from seqpipe.data.base import FieldSpec, SequenceBatch
from seqpipe.data.dataset import SequenceData
from seqpipe.data.prepare import ExampleCheck
from seqpipe.data.vocabulary import BOS, EOS, PAD
from seqpipe.errors import counted
from seqpipe.nn.ctc import PrefixScorer, best_path, ctc_loss, prefix_beam, steps_needed
from seqpipe.tasks.decoding import (
    Decoded,
    DecodedTask,
    Decoding,
    Symbols,
    beam_size_of,
    ranked_answers,
    transcript_faults,
)


class Transcription(DecodedTask):
    """Connectionist temporal classification (CTC): each step of x emits a symbol, or nothing.

    <PAD> is the blank, since no y holds it; the <EOS> at the end of y is left out. The loss is
    -log p(y | x) in nats per true symbol; the metrics are of what is decoded.

    Args:
        y: kind `symbols`.
        decoding: `greedy`: the best path; `beam`: prefix beam search; with validation and test.
        beam_size: prefixes at each step of a beam; None: 5.
        symbols: see `DecodedTask`.
        monitor: see `Task`.
        mode: see `Task`.

    Raises:
        ConfigError: `beam_size` where decoding is greedy; see `Task`.

    Source: Graves et al. (2006), see `seqpipe.nn.ctc`.
    """

    name = "transcription"
    y_kinds = ("symbols",)
    answers = ("each_step",)
    remedies = ("bidirectional=true", "depth=2")
    search_options = ("beam_size", "n_best", "lm")
    scorer: PrefixScorer | None = None
    """A language model, which the beam reads; None: none."""

    @checked("task.", transcript_faults)
    def __init__(
        self,
        *,
        y: FieldSpec,
        decoding: Decoding = "greedy",
        beam_size: BeamSize | None = None,
        symbols: Symbols = None,
        monitor: Monitor = "val/error_rate",
        mode: Literal["min", "max"] = "min",
    ) -> None:
        super().__init__(y=y, monitor=monitor, mode=mode, symbols=symbols)
        self.beam_size = beam_size_of(decoding, beam_size)

    @classmethod
    def example_check(cls, *, crf: bool = False) -> ExampleCheck:
        """Refuses an x with fewer steps than its y needs: its loss would be infinite."""
        return ExampleCheck("ctc", lambda y: _too_short)

    def loss(self, outputs: Tensor, batch: SequenceBatch, *, training: bool) -> Tensor:
        """Nats per true symbol. outputs: (B, T_x, V)."""
        losses, lengths = self.losses(outputs, batch)
        return losses.sum() / lengths.sum()

    def losses(self, outputs: Tensor, batch: SequenceBatch) -> tuple[Tensor, Tensor]:
        """See `Task`. outputs: (B, T_x, V)."""
        assert batch.x_lengths is not None
        lengths = self.unit_counts(batch)
        return ctc_loss(outputs, batch.x_lengths, batch.y, lengths, blank=PAD), lengths

    def unit_counts(self, batch: SequenceBatch) -> Tensor:
        """Symbols of each y before an <EOS> at its end, (B,)."""
        assert batch.y_lengths is not None
        last = batch.y.gather(1, (batch.y_lengths - 1).unsqueeze(1)).squeeze(1)
        return batch.y_lengths - (last == EOS).long()

    def by_step(self, batch: SequenceBatch) -> bool:
        """No step of x is bound to a symbol."""
        return False

    def predict(self, model: Any, outputs: Tensor, batch: SequenceBatch) -> Decoded:
        """The decoded symbols: ids (B, T) and how many of them count (B,)."""
        assert batch.x_lengths is not None
        if self.beam_size is None:
            return best_path(outputs, batch.x_lengths, blank=PAD)
        found = prefix_beam(
            *(outputs, batch.x_lengths),
            blank=PAD,
            beam_size=self.beam_size,
            banned=(BOS, EOS),
            scorer=self.scorer,
        )
        return found.ids[:, 0], found.lengths[:, 0]

    def baselines(self, data: SequenceData) -> Sequence[Baseline]:
        """The most frequent y."""
        return [MostFrequent()]

    def decoded(self, predictions: Any, batch: SequenceBatch) -> list[tuple[Any, Any]]:
        """Symbols of each example."""
        ids, lengths = predictions
        counts = zip(lengths.tolist(), self.unit_counts(batch).tolist(), strict=True)
        return [(ids[b, :p].cpu(), batch.y[b, :t].cpu()) for b, (p, t) in enumerate(counts)]

    @property
    def special_ids(self) -> dict[str, int]:
        """See `Task`."""
        return {"blank": PAD}

    def search(
        self,
        model: Any,
        batch: SequenceBatch,
        *,
        beam_size: int,
        n_best: int,
        length_penalty: float | None,
        banned: tuple[int, ...] | None = None,
    ) -> list[list[tuple[Tensor, float]]]:
        """See `Task`; a beam of 1 is the best path."""
        assert banned is None, "no option of this task"
        logits = model(batch.x, batch.x_lengths, batch.y, batch.y_lengths)
        assert batch.x_lengths is not None
        if beam_size > 1:
            found = prefix_beam(
                *(logits, batch.x_lengths),
                blank=PAD,
                beam_size=beam_size,
                n_best=n_best,
                banned=(BOS, EOS),
                scorer=self.scorer,
            )
            return ranked_answers(*found)
        ids, lengths = best_path(logits, batch.x_lengths, blank=PAD)
        losses = ctc_loss(logits, batch.x_lengths, ids, lengths, blank=PAD)
        return ranked_answers(*(one.unsqueeze(1) for one in (ids, lengths, -losses)))


def _too_short(x: Any, y: Any) -> str | None:
    """Return why an x (T_x, ...) is too short for its y (T_y,); None: it is not."""
    symbols = y[:-1] if len(y) and y[-1] == EOS else y
    if len(symbols) == 0:
        return "y has no symbols; allowed: one or more"
    needed = steps_needed(torch.from_numpy(symbols.astype(np.int64)))
    if len(x) >= needed:
        return None
    text = f"x has {counted(len(x), 'step')}, {len(symbols)} symbols of y need {needed} by CTC"
    return f"{text}; allowed: a shorter y, or more steps of x (for sound, data.x.stack=1)"
