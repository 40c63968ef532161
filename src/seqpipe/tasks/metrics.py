"""Metrics beyond torchmetrics' own, and the sets that tasks share."""

from typing import Any

import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
)


def class_metrics(size: int, stage: str) -> MetricCollection:
    """Accuracy; macro-F1 in validation and test; per class and confusion matrix in the test.

    Accuracy is over all decisions (micro). Macro-F1 is the mean over classes that occur, as in
    scikit-learn.
    """
    metrics: dict[str, Metric | MetricCollection] = {
        "accuracy": MulticlassAccuracy(size, average="micro", validate_args=False)
    }
    if stage != "train":
        metrics["macro_f1"] = MulticlassF1Score(size, average="macro", validate_args=False)
    if stage == "test":
        metrics["f1_per_class"] = MulticlassF1Score(size, average=None, validate_args=False)
        metrics["confusion"] = MulticlassConfusionMatrix(size, validate_args=False)
    return MetricCollection(metrics)


class WeightedMean(Metric):
    """Mean of means, each weighted by what it goes over.

    A mean that is not a number makes the whole not a number. (torchmetrics' MeanMetric leaves it
    out; told not to, it leaves out the weights.)
    """

    full_state_update = False
    total: Tensor
    weight: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("weight", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, mean: Tensor, weight: Tensor) -> None:
        """Adds a mean, a scalar, and how many things it goes over."""
        self.total += mean * weight
        self.weight += weight

    def compute(self) -> Tensor:
        """Total over weight."""
        return self.total / self.weight


class ExactMatch(Metric):
    """Share of sequences that are right in every symbol. Updated with two lists of id lists."""

    full_state_update = False
    right: Tensor
    total: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("right", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, predictions: list[list[int]], truths: list[list[int]]) -> None:
        """Counts equal pairs."""
        self.right += sum(p == t for p, t in zip(predictions, truths, strict=True))
        self.total += len(truths)

    def compute(self) -> Tensor:
        """Right of all, in [0, 1]."""
        return self.right / self.total


class ErrorRate(Metric):
    """Edit distance to the truth per true symbol: the word, character or phoneme error rate.

    Summed over the whole split before the division, so that long sequences weigh more, as is
    usual; may pass 1. Updated with two lists of id lists, without <EOS>.

    Source: Levenshtein (1966); unit costs of insertion, deletion and substitution.
    """

    full_state_update = False
    edits: Tensor
    symbols: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("edits", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("symbols", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, predictions: list[list[int]], truths: list[list[int]]) -> None:
        """Adds edits and true symbols."""
        self.edits += sum(
            Levenshtein.distance(p, t) for p, t in zip(predictions, truths, strict=True)
        )
        self.symbols += sum(map(len, truths))

    def compute(self) -> Tensor:
        """Edits per true symbol."""
        return self.edits / self.symbols.clamp(min=1)
