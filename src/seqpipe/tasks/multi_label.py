"""Any of K labels at once: for a whole sequence, or the notes of each step of a piano roll."""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection

from seqpipe.baselines.base import Baseline
from seqpipe.baselines.frequencies import LabelFrequencies
from seqpipe.baselines.linear import LinearLabels
from seqpipe.baselines.steps import LastStep
from seqpipe.bounds import Monitor, Share, checked
from seqpipe.data.base import Field, FieldSpec, SequenceBatch
from seqpipe.data.dataset import SequenceData
from seqpipe.nn.onnx_graph import FLOAT, Graph, Steps, Value
from seqpipe.nn.precision import precise, widest
from seqpipe.rules import real
from seqpipe.tasks.averages import AverageOfLabels
from seqpipe.tasks.base import Pairs, Task
from seqpipe.tasks.class_counts import LabelCounts
from seqpipe.tasks.metric_sums import sums_by_example
from seqpipe.tasks.metrics import RANKING_METRICS
from seqpipe.tasks.ranking import Ranking
from seqpipe.tasks.real_steps import mean_over_real, real_steps


class MultiLabel(AverageOfLabels, Task):
    """Binary cross entropy summed over the K labels, in nats per real step or per example.

    Accuracy is TP / (TP + FP + FN), counted over all labels and steps: the labels that are neither
    there nor predicted, which are most, do not count. Micro-F1 is counted alike, macro-F1 is the
    mean over labels, exact match the share of steps or examples with all K right.

    Args:
        y: kind `multi_label` or `roll`.
        threshold: probability from which on a label is predicted.
        label_smoothing: in the training loss a label is there with probability 1 - s/2 or s/2
            instead of 1 or 0, in [0, 1).
        monitor: see `Task`.
        mode: see `Task`.

    Source: the loss as in Boulanger-Lewandowski et al. (2012) and Bai et al. (2018), frame-level;
        the accuracy is that of Bay et al. (2009), eq. 1; smoothing as in Szegedy et al. (2016),
        section 7, of each label's two classes.
    """

    name = "multi_label"
    y_kinds = ("multi_label", "roll")
    answers = ("whole", "each_step", "next_step")
    drawing_options = ("prompt",)
    details = frozenset({"macro_precision", "macro_recall", *RANKING_METRICS})

    @checked("task.")
    def __init__(
        self,
        *,
        y: FieldSpec,
        threshold: Annotated[float, real("(0, 1)")] = 0.5,
        label_smoothing: Share = 0.0,
        monitor: Monitor = "val/loss",
        mode: Literal["min", "max"] = "min",
    ) -> None:
        super().__init__(y=y, monitor=monitor, mode=mode)
        self.threshold, self.label_smoothing = threshold, label_smoothing
        whole = ("bidirectional=true", "architecture.pooling=max", "dropout=0.5")
        self.remedies = ("data.bptt=50", "hidden_size=256") if y.is_roll else whole

    def metric_names(self) -> list[str]:
        """Loss, accuracy, micro-F1, macro-F1, exact match and more; of notes none of `Ranking`."""
        scores = ["accuracy", "micro_f1", "exact_match", "macro_f1", "macro_precision"]
        return ["loss", *scores, "macro_recall", *(() if self.y.has_time else RANKING_METRICS)]

    def loss(self, outputs: Tensor, batch: SequenceBatch, *, training: bool) -> Tensor:
        """outputs: (B, K) or (B, T_y, K) logits."""
        mask = self.mask(batch)
        logits, y = real_steps(mask, outputs, batch.y)
        smoothing = self.label_smoothing if training else 0.0
        return mean_over_real(_entropies(logits, y, smoothing), mask)

    def losses(self, outputs: Tensor, batch: SequenceBatch) -> tuple[Tensor, Tensor]:
        """See `Task`. outputs: (B, K) or (B, T_y, K) logits."""
        mask = self.mask(batch)
        each = _entropies(outputs[mask], batch.y[mask]).sum(dim=-1)
        return sums_by_example(each, batch), self.unit_counts(batch)

    def untrained_loss(self, batch: SequenceBatch) -> tuple[float, str]:
        """K ln 2: each label is there or not, as likely the one as the other."""
        return self.output_size * math.log(2), f"{self.output_size} ln 2"

    def marginal_loss(self, batch: SequenceBatch) -> tuple[float, str]:
        """The entropies of the K labels in this batch, summed, in nats."""
        shares = batch.y[self.mask(batch)].to(widest(batch.y.device)).mean(dim=0)
        entropies = torch.special.entr(shares) + torch.special.entr(1 - shares)
        return float(entropies.sum()), "entropy of the batch's labels"

    def predict(self, model: Any, outputs: Tensor, batch: SequenceBatch) -> Tensor:
        """True for labels at least as likely as the threshold, bool, of the shape of outputs."""
        return outputs.float().sigmoid() >= self.threshold

    def probabilities(self, outputs: Tensor, batch: SequenceBatch) -> Tensor:
        """outputs: (B, K) or (B, T_y, K) logits. Returns the same shape."""
        return precise(outputs).sigmoid()

    def outputs_of(self, probabilities: Tensor) -> Tensor:
        """The inverse of `probabilities`, of the same shape."""
        return probabilities.logit()

    def baselines(self, data: SequenceData) -> Sequence[Baseline]:
        """Frequencies; of a whole x logistic regression, of a generated roll the last step."""
        frequencies = LabelFrequencies(self)
        if not self.y.has_time:
            return [frequencies, LinearLabels(self)]
        follows = not self.y.is_per_step_of(data.spec.x)
        return [frequencies, LastStep(self)] if follows else [frequencies]

    def pairs(self, predictions: Tensor, batch: SequenceBatch) -> Pairs:
        """Two (N, K) bool tensors over the N real steps or examples."""
        mask = self.mask(batch)
        return predictions[mask], batch.y[mask].bool()

    def scores(self, outputs: Tensor, batch: SequenceBatch) -> Tensor:
        """See `Task`. Returns (N, K) over the N real steps or examples."""
        return self.probabilities(outputs, batch)[self.mask(batch)]

    def metrics(self, stage: str) -> MetricCollection:
        """None while training; in the test also of each label, unless they are notes."""
        if stage == "train":
            return MetricCollection({})
        if self.y.has_time:
            return MetricCollection({"labels": LabelCounts(self.output_size)})
        counts = LabelCounts(self.output_size, per_class=stage == "test")
        return MetricCollection(
            {"labels": counts, "ranking": Ranking(self.output_size, labels=True)}
        )

    def onnx(self, graph: Graph, outputs: Value, steps: Steps | None) -> None:
        """`logits`, and their sigmoid as `probabilities`."""
        logits = self.onnx_logits(graph, outputs, steps)
        graph.output("probabilities", graph.op("Sigmoid", logits), FLOAT, self.onnx_axes(steps))

    def run_sample(self, steps: int, *, in_pieces: bool) -> dict[str, Any]:
        """A roll is as long as the first test example: it has no end of its own."""
        return {"max_length": steps, "stop": False}

    def drawn(self, y: Field, sample: Tensor) -> Any:
        """(T, K) of 0 and 1."""
        return sample.to(torch.uint8).cpu().numpy()


def _entropies(logits: Tensor, y: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Binary cross entropy of each label, (N, K), over N steps or examples."""
    logits = precise(logits)
    y = y.to(logits.dtype)
    if label_smoothing > 0:
        y = y * (1 - label_smoothing) + label_smoothing / 2
    return nn.functional.binary_cross_entropy_with_logits(logits, y, reduction="none")
