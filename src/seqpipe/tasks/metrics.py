"""Metrics beyond torchmetrics' own, and the sets that tasks share."""

from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCohenKappa,
    MulticlassConfusionMatrix,
)

from seqpipe.tasks.class_counts import ClassCounts, counted, counts_of
from seqpipe.tasks.metric_sums import ByExample, Sums, added_up
from seqpipe.tasks.ranking import Ranking

CLASS_METRICS = (
    *("accuracy", "macro_f1", "macro_precision", "macro_recall"),
    *("balanced_accuracy", "matthews"),
)
"""Names of the metrics of every task with classes, and of any number of them."""
RANKING_METRICS = ("roc_auc", "average_precision")
DETAILS = frozenset(
    {
        *("macro_precision", "macro_recall", "balanced_accuracy", "matthews"),
        *RANKING_METRICS,
        *("sensitivity", "specificity"),
    }
)
"""Scores of classes that the closing lines of a run leave out."""


def class_metric_names(size: int, *, ranked: bool = True) -> list[str]:
    """Names of the scalars of `class_metrics`.

    Args:
        size: K.
        ranked: with those of `Ranking`.
    """
    two = ["sensitivity", "specificity"] if size == 2 else []
    return [*CLASS_METRICS, *(RANKING_METRICS if ranked else ()), *two]


def class_metrics(
    size: int,
    stage: str,
    ignored: int | None = None,
    *,
    positive: int = 1,
    ranked: bool = True,
) -> MetricCollection:
    """Accuracy; all scores in validation and test; per class and confusion matrix in the test.

    Accuracy is over all decisions (micro); see `ClassCounts` and `Ranking` for the other scores.

    Args:
        size: K.
        stage: `train`, `val` or `test`.
        ignored: the value of truths that are not counted; None: all are counted.
        positive: the positive class, of two.
        ranked: with `Ranking`, which needs the probabilities.
    """
    options: dict[str, Any] = {"validate_args": False, "ignore_index": ignored}
    metrics: dict[str, Metric | MetricCollection] = {
        "accuracy": Accuracy(size, average="micro", **options)
    }
    if stage != "train":
        per_class = stage == "test"
        metrics["classes"] = ClassCounts(
            size, ignored=ignored, positive=positive, per_class=per_class
        )
        if ranked:
            metrics["ranking"] = Ranking(size, ignored=ignored, positive=positive)
    if stage == "test":
        metrics["confusion"] = MulticlassConfusionMatrix(size, **options)
    return MetricCollection(metrics)


def ordinal_metrics(size: int, stage: str) -> MetricCollection:
    """`class_metrics`, and the mean distance to the true class; kappa in validation and test."""
    metrics: dict[str, Metric | MetricCollection] = dict(class_metrics(size, stage).items())
    metrics["mae"] = MeanError(1)
    if stage != "train":
        metrics["kappa"] = QuadraticKappa(size, weights="quadratic", validate_args=False)
    return MetricCollection(metrics)


class Accuracy(MulticlassAccuracy):
    """Share of right decisions, all classes together (micro)."""

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Counts by a mask: taking out what counts, as torchmetrics does, makes a GPU wait."""
        counts = counts_of(self.ignore_index, target)
        right, total = ((preds == target) & counts).sum(), counts.sum()
        for state, added in self._states(right, total).items():
            getattr(self, state).add_(added)  # in place: to set an attribute takes longer

    def of_examples(
        self, predictions: Tensor, truths: Tensor, examples: Tensor, count: int
    ) -> dict[str, Tensor]:
        """See `ByExample`."""
        predictions, truths, examples = counted(self.ignore_index, predictions, truths, examples)
        each = (predictions == truths).long(), torch.ones_like(truths)
        return self._states(*(added_up(one, examples, count) for one in each))

    def _states(self, right: Tensor, total: Tensor) -> dict[str, Tensor]:
        """The counts that torchmetrics adds up, with `right` decisions of `total`."""
        wrong, others = total - right, ((self.num_classes or 0) - 1) * total
        return {"tp": right, "fp": wrong, "fn": wrong, "tn": others - wrong}


class QuadraticKappa(MulticlassCohenKappa):
    """Agreement beyond chance, squared distances between classes weighed; at most 1.

    Where truth and predictions are one and the same class throughout, there is nothing to agree
    on beyond chance: 0.

    Source: Cohen (1968), "Weighted kappa".
    """

    def of_examples(
        self, predictions: Tensor, truths: Tensor, examples: Tensor, count: int
    ) -> dict[str, Tensor]:
        """See `ByExample`."""
        K = self.num_classes
        cells = (examples * K + truths) * K + predictions
        return {"confmat": torch.bincount(cells, minlength=count * K * K).view(count, K, K)}

    def compute(self) -> Tensor:
        """1 - observed over expected squared distance."""
        return torch.nan_to_num(super().compute(), nan=0.0)


class WeightedMean(Sums):
    """Mean of means, each weighted by what it goes over.

    A mean that is not a number makes the whole not a number. (torchmetrics' MeanMetric leaves it
    out; set not to, it leaves out the weights.)
    """

    total: Tensor
    weight: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_sum("total")
        self.add_sum("weight")

    def update(self, mean: Tensor, weight: Tensor) -> None:
        """Adds a mean, a scalar, and how many things it goes over."""
        exact = self.exact(weight)
        self.total.add_(self.exact(mean) * exact)  # in place: to set a state takes longer
        self.weight.add_(exact)

    def compute(self) -> Tensor:
        """Total over weight."""
        return self.total / self.weight


class MeanError(ByExample, Sums):
    """Mean of |prediction - truth|, or of its square, over all numbers.

    The differences, too, are taken in float64: torchmetrics' own take them in the precision of
    what they are given.

    Args:
        power: 1: mean absolute error; 2: mean squared error.
    """

    count: Tensor

    def __init__(self, power: Literal[1, 2], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.power = power
        # A name of its own: torchmetrics takes metrics with equal states for one.
        self.total = {1: "absolute", 2: "squared"}[power]
        self.add_sum(self.total)
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def of_examples(
        self, predictions: Tensor, truths: Tensor, examples: Tensor, count: int
    ) -> dict[str, Tensor]:
        """See `ByExample`; predictions and truths are of one shape, (N,) or (N, K)."""
        errors = (self.exact(predictions) - self.exact(truths)).reshape(len(truths), -1)
        powers = errors.abs() if self.power == 1 else errors.square()
        examples = examples.to(errors.device)
        numbers = torch.full_like(examples, errors.shape[1])
        return {
            self.total: added_up(powers.sum(dim=1), examples, count),
            "count": added_up(numbers, examples, count),
        }

    def compute(self) -> Tensor:
        """Total over count."""
        total: Tensor = getattr(self, self.total)
        return total / self.count
