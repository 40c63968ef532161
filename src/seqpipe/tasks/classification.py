"""One of K classes for a whole x."""

import math
from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor
from torchmetrics import MetricCollection

from seqpipe.baselines.base import Baseline
from seqpipe.baselines.frequencies import Frequencies
from seqpipe.baselines.linear import LinearClasses
from seqpipe.bounds import MonitorOrAuto, Share, checked
from seqpipe.data.base import FieldSpec, SequenceBatch
from seqpipe.data.dataset import SequenceData
from seqpipe.nn.precision import precise
from seqpipe.tasks.averages import AverageOfClasses
from seqpipe.tasks.base import Pairs, Task
from seqpipe.tasks.class_counts import positive_class
from seqpipe.tasks.class_weights import (
    UNBALANCED,
    ClassWeights,
    chosen_monitor,
    cross_entropy,
    cross_entropy_of_each,
    entropy_of,
    evenness,
    weights_of,
)
from seqpipe.tasks.metrics import DETAILS, class_metric_names, class_metrics


class ClassTask(Task):
    """Shared by the tasks with one class for a whole x. predictions: (B,) classes."""

    answers = ("whole",)
    details = DETAILS

    @property
    def compared(self) -> tuple[str, ...]:
        """The monitored metric, and accuracy beside a loss, which says less to people."""
        (monitored,) = super().compared
        return (monitored, "accuracy") if monitored == "loss" else (monitored,)

    def marginal_loss(self, batch: SequenceBatch) -> tuple[float, str] | None:
        """The entropy of the classes of the training split, in nats."""
        return entropy_of(self.y)

    def pairs(self, predictions: Tensor, batch: SequenceBatch) -> Pairs:
        """Two (B,) tensors of classes."""
        return predictions, batch.y

    def decoded(self, predictions: Tensor, batch: SequenceBatch) -> list[tuple[Any, Any]]:
        """The class of each example."""
        return list(zip(predictions.tolist(), batch.y.tolist(), strict=True))


class Classification(AverageOfClasses, ClassTask):
    """Cross entropy in nats per example; accuracy, macro-F1 and more, scores of each class.

    Class weights change the training loss only: losses of validation and test count every
    example alike.

    Args:
        y: kind `category`.
        label_smoothing: mass spread over all classes in the training loss, in [0, 1).
        class_weights: `balanced` or `sqrt`, see `weights_of`; None: every example weighs the same.
        positive: the positive class, of two; None: the second in the order of `y`.
        monitor: see `Task`; `auto`: see `chosen_monitor`.
        mode: see `Task`.
    """

    name = "classification"
    y_kinds = ("category",)
    remedies: tuple[str, ...] = ("bidirectional=true", "architecture.pooling=max", "dropout=0.5")

    @checked("task.")
    def __init__(
        self,
        *,
        y: FieldSpec,
        label_smoothing: Share = 0.0,
        class_weights: ClassWeights | None = None,
        positive: str | int | float | None = None,
        monitor: MonitorOrAuto = "auto",
        mode: Literal["min", "max"] = "max",
    ) -> None:
        monitor, self.why_monitored = chosen_monitor(monitor, y)
        super().__init__(y=y, monitor=monitor, mode=mode)
        self.label_smoothing = label_smoothing
        if (evenness(y) or 1.0) < UNBALANCED:
            self.remedies = (*self.remedies, "task.class_weights=balanced")
        self.weights = weights_of(class_weights, y)
        self.positive = positive_class(positive, y)

    def metric_names(self) -> list[str]:
        """Loss, accuracy, macro-F1 and the other scores of classes."""
        return ["loss", *class_metric_names(self.output_size)]

    def loss(self, outputs: Tensor, batch: SequenceBatch, *, training: bool) -> Tensor:
        """outputs: (B, K) logits."""
        return cross_entropy(
            outputs,
            batch.y,
            label_smoothing=self.label_smoothing if training else 0.0,
            weights=self.weights if training else None,
        )

    def losses(self, outputs: Tensor, batch: SequenceBatch) -> tuple[Tensor, Tensor]:
        """See `Task`. outputs: (B, K) logits."""
        return cross_entropy_of_each(outputs, batch.y), self.unit_counts(batch)

    def untrained_loss(self, batch: SequenceBatch) -> tuple[float, str]:
        """Ln K: every class is as likely as any other."""
        return math.log(self.output_size), f"ln {self.output_size}"

    def probabilities(self, outputs: Tensor, batch: SequenceBatch) -> Tensor:
        """outputs: (B, K) logits. Returns (B, K)."""
        return precise(outputs).softmax(dim=-1)

    def outputs_of(self, probabilities: Tensor) -> Tensor:
        """The inverse of `probabilities`: their logarithms. probabilities: (B, K)."""
        return probabilities.log()

    def baselines(self, data: SequenceData) -> Sequence[Baseline]:
        """The majority class, and logistic regression."""
        return [Frequencies(self), LinearClasses(self)]

    def metrics(self, stage: str) -> MetricCollection:
        """Accuracy while training; all of them, and the confusion matrix, in the test."""
        return class_metrics(self.output_size, stage, positive=self.positive)
