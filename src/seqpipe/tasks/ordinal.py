"""One of K ordered classes for a whole x."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus
from torchmetrics import MetricCollection

from seqpipe.baselines.base import Baseline
from seqpipe.baselines.frequencies import Frequencies
from seqpipe.baselines.linear import LinearClasses
from seqpipe.bounds import Monitor, Share, checked
from seqpipe.data.base import FieldSpec, SequenceBatch
from seqpipe.data.dataset import SequenceData
from seqpipe.errors import ConfigError
from seqpipe.nn.onnx_graph import FLOAT, Graph, Steps, Value
from seqpipe.nn.precision import precise
from seqpipe.tasks.class_weights import ClassWeights, of_classes, weights_of
from seqpipe.tasks.classification import ClassTask
from seqpipe.tasks.metrics import class_metric_names, ordinal_metrics

SMALLEST_GAP = 1e-12
"""Between two cumulative logits of a given probability; smaller ones would round to 0."""


class Ordinal(ClassTask):
    """A cumulative link model: the logit of P(y > k) falls with k, class by class.

    A model writes K - 1 numbers o_1..o_{K-1} for an example: logit P(y > 1) = o_1, and each
    further logit lies softplus(o_k) > 0 below the one before. So the thresholds are in order for
    every x, and the K probabilities are positive and sum up to 1. Loss: nats per example.

    Args:
        y: kind `ordinal`.
        label_smoothing: mass spread over all classes in the training loss, in [0, 1).
        class_weights: `balanced` or `sqrt`, see `weights_of`; None: every example weighs the same.
        predict: `median`, the class with as much above it as below, which has the smallest
            expected distance to the truth; or `mode`, the most probable one.
        monitor: see `Task`.
        mode: see `Task`.

    Raises:
        ConfigError: fewer than two classes, and what `Task` refuses.

    Source: McCullagh (1980), "Regression models for ordinal data", section 2: cumulative logits,
    of which proportional odds are the case where x moves o_1 only; ordered by construction, as
    consistency of ranks asks for (Cao, Mirjalili & Raschka 2020). Smoothing: Szegedy et al. (2016),
    section 7.
    """

    name = "ordinal"
    y_kinds = ("ordinal",)
    why_no_average = ""
    remedies = ("bidirectional=true", "architecture.pooling=max", "dropout=0.5")

    @checked("task.")
    def __init__(
        self,
        *,
        y: FieldSpec,
        label_smoothing: Share = 0.0,
        class_weights: ClassWeights | None = None,
        predict: Literal["median", "mode"] = "median",
        monitor: Monitor = "val/mae",
        mode: Literal["min", "max"] = "min",
    ) -> None:
        super().__init__(y=y, monitor=monitor, mode=mode)
        if y.size < 2:
            raise ConfigError(f"task=ordinal: y has {y.size} class; allowed: two or more")
        self.rule, self.label_smoothing = predict, label_smoothing
        self.weights = weights_of(class_weights, y)

    @property
    def output_size(self) -> int:
        """K - 1, one number for each border between neighbours."""
        return self.y.size - 1

    def metric_names(self) -> list[str]:
        """Loss, MAE in classes, quadratic weighted kappa, accuracy and other scores of classes."""
        return ["loss", "mae", "kappa", *class_metric_names(self.y.size)]

    def loss(self, outputs: Tensor, batch: SequenceBatch, *, training: bool) -> Tensor:
        """outputs: (B, K - 1). Classes are smoothed and weighted in training only."""
        every = log_probabilities(outputs)
        log_p = every.gather(1, batch.y.unsqueeze(1)).squeeze(1)
        if training and self.label_smoothing > 0:
            log_p = log_p.lerp(every.mean(dim=1), self.label_smoothing)
        if training and self.weights is not None:
            log_p = log_p * of_classes(self.weights, batch.y)
        return -log_p.mean()

    def losses(self, outputs: Tensor, batch: SequenceBatch) -> tuple[Tensor, Tensor]:
        """See `Task`. outputs: (B, K - 1)."""
        log_p = log_probabilities(outputs).gather(1, batch.y.unsqueeze(1)).squeeze(1)
        return -log_p, self.unit_counts(batch)

    def untrained_loss(self, batch: SequenceBatch) -> tuple[float, str]:
        """The loss of outputs 0, by which classes are not equally likely: 1/2, 1/6, 2/15, ..."""
        zeros = torch.zeros(len(batch), self.output_size, device=batch.y.device)
        return float(self.loss(zeros, batch, training=False)), "loss of outputs 0"

    def predict(self, model: Any, outputs: Tensor, batch: SequenceBatch) -> Tensor:
        """outputs: (B, K - 1). Returns (B,) classes."""
        return self.decisions(outputs)

    def probabilities(self, outputs: Tensor, batch: SequenceBatch) -> Tensor:
        """outputs: (B, K - 1). Returns (B, K)."""
        return log_probabilities(outputs).exp()

    def outputs_of(self, probabilities: Tensor) -> Tensor:
        """The inverse of `probabilities`. probabilities: (B, K). Returns (B, K - 1)."""
        below = probabilities.cumsum(dim=-1)[:, :-1]
        above = probabilities.flip(-1).cumsum(dim=-1).flip(-1)[:, 1:]
        logits = above.log() - below.log()
        gaps = (logits[:, :-1] - logits[:, 1:]).clamp(min=SMALLEST_GAP)
        return torch.cat([logits[:, :1], gaps.expm1().log()], dim=-1)  # of softplus

    def averaged(self, outputs: Sequence[Tensor]) -> Tensor:
        """Outputs of the mean probabilities, see `tasks.averages`; outputs: (B, K - 1) each."""
        means = torch.stack([log_probabilities(one).exp() for one in outputs]).mean(dim=0)
        return self.outputs_of(means.clamp(min=SMALLEST_GAP))

    def decisions(self, outputs: Tensor) -> Tensor:
        """The classes, (B,)."""
        if self.rule == "median":
            return (cumulative_logits(outputs) > 0).sum(dim=-1)
        assert self.rule == "mode", self.rule
        return log_probabilities(outputs).argmax(dim=-1)

    def baselines(self, data: SequenceData) -> Sequence[Baseline]:
        """The median class, or with `predict=mode` the majority class; logistic regression."""
        name = {"median": "median", "mode": "majority"}[self.rule]
        return [Frequencies(self, name), LinearClasses(self)]

    def metrics(self, stage: str) -> MetricCollection:
        """Accuracy and MAE while training; all of them, and the confusion matrix, in the test."""
        return ordinal_metrics(self.y.size, stage)

    def onnx(self, graph: Graph, outputs: Value, steps: Steps | None) -> None:
        """`logits`, and `probabilities` as of `log_probabilities`."""
        logits = self.onnx_logits(graph, outputs, steps)
        one, last = graph.integers(1), graph.integers(1)
        end, start = graph.integers(np.iinfo(np.int64).max), graph.integers(0)
        first = graph.op("Slice", logits, start, one, last)
        rest = graph.op("Slice", logits, one, end, last)
        gaps = graph.op("CumSum", graph.op("Softplus", rest), graph.constant(1, np.int64))
        above = graph.op("Concat", first, graph.op("Sub", first, gaps), axis=1)
        higher = graph.op("Slice", above, start, graph.integers(-1), last)
        lower = graph.op("Slice", above, one, end, last)
        inner = graph.op("Mul", graph.op("Sigmoid", higher), graph.op("Sigmoid", rest))
        inner = graph.op("Mul", inner, graph.op("Sigmoid", graph.op("Neg", lower)))
        bottom = graph.op("Sigmoid", graph.op("Neg", first))
        top = graph.op("Sigmoid", graph.op("Slice", above, graph.integers(-1), end, last))
        chances = graph.op("Concat", bottom, inner, top, axis=1)
        graph.output("probabilities", chances, FLOAT, ("batch", self.y.size))


def cumulative_logits(outputs: Tensor) -> Tensor:
    """Logit P(y > k) for k = 1..K-1, falling; outputs: (B, K - 1). Returns (B, K - 1)."""
    outputs = precise(outputs)
    first, gaps = outputs[:, :1], softplus(outputs[:, 1:])
    return torch.cat([first, first - gaps.cumsum(dim=-1)], dim=-1)


def log_probabilities(outputs: Tensor) -> Tensor:
    """Log P(y = k) in nats; outputs: (B, K - 1). Returns (B, K).

    Of two logits a > b with a - b = softplus(o), sigmoid(a) - sigmoid(b) is
    sigmoid(a) sigmoid(-b) (1 - exp(b - a)), and its last factor sigmoid(o): no difference of
    nearly equal numbers is taken.
    """
    above = cumulative_logits(outputs)
    inner = (
        logsigmoid(above[:, :-1]) + logsigmoid(-above[:, 1:]) + logsigmoid(precise(outputs[:, 1:]))
    )
    return torch.cat([logsigmoid(-above[:, :1]), inner, logsigmoid(above[:, -1:])], dim=-1)
