"""A sequence of another length."""

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor

from seqpipe.baselines.base import Baseline
from seqpipe.baselines.sequences import Copy, MostFrequent, Nearest
from seqpipe.bounds import BeamSize, Count, LengthPenalty, Monitor, Share, checked
from seqpipe.data.base import FieldSpec, SequenceBatch
from seqpipe.data.dataset import SequenceData
from seqpipe.data.vocabulary import EOS, UNK
from seqpipe.errors import ConfigError
from seqpipe.rules import refusal
from seqpipe.tasks.decoding import (
    LENGTH_PENALTY,
    Decoded,
    DecodedTask,
    Decoding,
    References,
    Symbols,
    beam_size_of,
    ranked_answers,
    translation_faults,
)
from seqpipe.tasks.step_task import StepTask
from seqpipe.tasks.text_metrics import Tokenizer


class Transduction(DecodedTask, StepTask):
    """Cross entropy with teacher forcing; exact match and error rates on what is decoded.

    The metrics come from decoding freely, as the model would be used: the model never sees the
    true y. Only the loss does.

    Args:
        y: kind `symbols`.
        longest_y: longest y of the training split, <EOS> included.
        label_smoothing: mass spread over all symbols in the training loss, in [0, 1).
        max_length: symbols decoded at most; None: `longest_y` and ten more.
        decoding: `greedy`, or `beam`: with validation and test.
        beam_size: hypotheses at each step of a beam; None: 5.
        length_penalty: alpha of `seqpipe.models.beam.length_norm`; None: 0.6.
        unknown: `keep`, or `ban`: <UNK> is never written, with validation and test.
        symbols: see `DecodedTask`.
        references: see `DecodedTask`.
        bleu: see `DecodedTask`.
        bleu_lowercase: see `DecodedTask`.
        monitor: see `Task`.
        mode: see `Task`.

    Raises:
        ConfigError: options of a beam where decoding is greedy, a ban where no symbol is unknown;
            see `Task`.
    """

    name = "transduction"
    y_kinds = ("symbols",)
    answers = ("sequence",)
    writes_words = True
    remedies = ("architecture.attention=general", "bidirectional=true", "hidden_size=256")
    search_options = ("beam_size", "n_best", "length_penalty", "unknown")

    @checked("task.", translation_faults)
    def __init__(
        self,
        *,
        y: FieldSpec,
        longest_y: int,
        label_smoothing: Share = 0.0,
        max_length: Count | None = None,
        decoding: Decoding = "greedy",
        beam_size: BeamSize | None = None,
        length_penalty: LengthPenalty | None = None,
        unknown: Literal["keep", "ban"] = "keep",
        symbols: Symbols = None,
        references: References = "single",
        bleu: Tokenizer | None = None,
        bleu_lowercase: bool = False,
        monitor: Monitor = "val/exact_match",
        mode: Literal["min", "max"] = "max",
    ) -> None:
        if bleu is None:
            self.further_metrics = (("bleu", "task.bleu=13a"), ("chrf", "task.bleu=13a"))
        super().__init__(
            y=y,
            monitor=monitor,
            mode=mode,
            symbols=symbols,
            references=references,
            bleu=bleu,
            bleu_lowercase=bleu_lowercase,
        )
        self.label_smoothing = label_smoothing
        self.max_length = longest_y + 10 if max_length is None else max_length
        self.beam_size = beam_size_of(decoding, beam_size)
        if unknown == "ban" and not y.can_be_unknown:
            wrong = "no symbol of y is unknown"
            raise ConfigError(refusal("task.unknown", unknown, wrong, "keep"))
        self.banned = (UNK,) if unknown == "ban" else ()
        self.length_penalty = LENGTH_PENALTY if length_penalty is None else length_penalty

    def predict(self, model: Any, outputs: Tensor, batch: SequenceBatch) -> Decoded:
        """The sequences that the model decodes from x alone: ids (B, T) and lengths (B,).

        Raises:
            ConfigError: the user's own architecture cannot search with a beam.
        """
        bans: dict[str, Any] = {"banned": self.banned} if self.banned else {}
        if self.beam_size is None:
            decoded: Decoded = model.greedy(batch.x, batch.x_lengths, self.max_length, **bans)
            return decoded
        if not hasattr(model, "beam"):
            raise ConfigError(
                f"task.decoding=beam: {type(model).__name__} has no method beam;"
                " allowed: task.decoding=greedy, or an architecture with it"
            )
        options = {"beam_size": self.beam_size, "length_penalty": self.length_penalty}
        found = model.beam(batch.x, batch.x_lengths, self.max_length, **options, **bans)
        return found.ids[:, 0], found.lengths[:, 0]

    def baselines(self, data: SequenceData) -> Sequence[Baseline]:
        """The most frequent y; x again where the alphabets agree; the y of the nearest x."""
        x, baselines = data.spec.x, list[Baseline]([MostFrequent()])
        if x is None or x.form.holds != "ids" or not x.has_time:
            return baselines
        copy = Copy(x, self.y)
        return [*baselines, *([copy] if copy.is_possible else []), Nearest()]

    def decoded(self, predictions: Any, batch: SequenceBatch) -> list[tuple[Any, Any]]:
        """Symbols before <EOS> of each example."""
        ids, _ = predictions
        assert batch.y_lengths is not None
        true_lengths = (batch.y_lengths - 1).tolist()  # y ends in <EOS>
        return [
            (_before(ids[b], EOS).cpu(), batch.y[b, :n].cpu()) for b, n in enumerate(true_lengths)
        ]

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
        """See `Task`; the symbols before <EOS>."""
        never = self.banned if banned is None else banned
        found = model.beam(
            batch.x,
            batch.x_lengths,
            self.max_length,
            beam_size=beam_size,
            n_best=n_best,
            length_penalty=self.length_penalty if length_penalty is None else length_penalty,
            **({"banned": never} if never else {}),
        )
        answers = ranked_answers(found.ids, found.lengths, found.scores)
        return [[(_before(ids, EOS), score) for ids, score in row] for row in answers]


def _before(ids: Tensor, end: int) -> Tensor:
    """ids: (T,). What comes before the first `end`, all where there is none."""
    found = (ids == end).nonzero()
    return ids[: int(found[0])] if len(found) else ids
