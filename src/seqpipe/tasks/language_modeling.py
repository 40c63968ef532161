"""The next symbol of a sequence."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics import MetricCollection

from seqpipe.baselines.base import Baseline
from seqpipe.baselines.language import Bigram, Unigram
from seqpipe.bounds import Monitor, Share, Temperature, WholeNumber, checked
from seqpipe.data.base import FieldSpec, SequenceBatch
from seqpipe.data.dataset import SequenceData
from seqpipe.data.vocabulary import BOS, EOS, PAD, SPECIALS, UNK
from seqpipe.tasks.averages import AverageOfClasses
from seqpipe.tasks.base import Pairs
from seqpipe.tasks.metrics import Accuracy
from seqpipe.tasks.step_task import StepTask

BITS = {"characters": "bits_per_character", "bytes": "bits_per_byte"}
"""What the loss in bits is called, by the unit of y."""


class LanguageModeling(AverageOfClasses, StepTask):
    """Cross entropy in nats per real step, <EOS> included; perplexity, bits per character or byte.

    Args:
        y: kind `symbols`.
        label_smoothing: mass spread over all symbols in the training loss, in [0, 1).
        sample_length: symbols of the sample drawn at the end of a run; 0: none.
        sample_temperature: of that sample; 1 is the model's own distribution.
        monitor: see `Task`.
        mode: see `Task`.
    """

    name = "language_modeling"
    y_kinds = ("symbols",)
    answers = ("next_step",)
    remedies = ("hidden_size=256", "dropout=0.5", "data.bptt=35")
    drawing_options = ("prompt", "top_k", "top_p", "allow_unknown")

    @checked("task.")
    def __init__(
        self,
        *,
        y: FieldSpec,
        label_smoothing: Share = 0.0,
        sample_length: WholeNumber = 400,
        sample_temperature: Temperature = 0.8,
        monitor: Monitor = "val/loss",
        mode: Literal["min", "max"] = "min",
    ) -> None:
        self.bits = BITS.get(y.unit or "")
        super().__init__(y=y, monitor=monitor, mode=mode)
        self.label_smoothing = label_smoothing
        self.sample_length, self.sample_temperature = sample_length, sample_temperature

    def metric_names(self) -> list[str]:
        """Loss, accuracy, perplexity, and bits where a symbol is a character or a byte."""
        names = ["loss", "accuracy", "perplexity"]
        return names if self.bits is None else [*names, self.bits]

    def pairs(self, predictions: Any, batch: SequenceBatch) -> Pairs:
        """See `StepTask`; <UNK> is never right, unless the texts themselves hold such a symbol."""
        predicted, truth = super().pairs(predictions, batch)
        names = self.y.names or ()
        own = self.y.cut is not None or (names and names[UNK] != SPECIALS[UNK])
        if self.y.unknown is not None and not own:
            predicted = predicted.masked_fill(truth == UNK, PAD)  # which is no symbol of a text
        return predicted, truth

    def baselines(self, data: SequenceData) -> Sequence[Baseline]:
        """Symbols alone, and given the symbol before."""
        return [Unigram(self.y.size), Bigram(self.y.size)]

    def metrics(self, stage: str) -> MetricCollection:
        """Share of steps whose most likely symbol is right; none while training."""
        if stage == "train":
            return MetricCollection({})
        accuracy = Accuracy(self.output_size, average="micro", validate_args=False)
        return MetricCollection({"accuracy": accuracy})

    def derived(self, loss: Tensor) -> dict[str, Tensor]:
        """Perplexity = exp(loss); bits per character or byte = loss / ln 2."""
        derived = {"perplexity": torch.exp(loss.double())}  # infinite rather than an error
        if self.bits is not None:
            derived[self.bits] = loss / math.log(2)
        return derived

    @property
    def special_ids(self) -> dict[str, int]:
        """See `Task`."""
        return {"bos": BOS, "eos": EOS, "pad": PAD}

    def run_sample(self, steps: int, *, in_pieces: bool) -> dict[str, Any] | None:
        """`sample_length` symbols; None where that is 0."""
        if self.sample_length == 0:
            return None
        options = {"max_length": self.sample_length, "temperature": self.sample_temperature}
        return {**options, **self.ending(in_pieces=in_pieces)}

    def ending(self, *, in_pieces: bool) -> dict[str, Any]:
        """A sample ends at <EOS>, unless training read a text in pieces, which seldom end.

        By words an <EOS> is in the midst of a text, too, at the end of each paragraph.
        """
        may_end = not in_pieces or self.y.unit == "words"
        return {"stop": not in_pieces, "banned": (PAD, UNK, BOS, *(() if may_end else (EOS,)))}
