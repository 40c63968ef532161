"""Metrics beyond torchmetrics' own, and the sets that tasks share."""

from typing import Any

import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor
from torchmetrics import MeanAbsoluteError, Metric, MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCohenKappa,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
)


def class_metrics(size: int, stage: str, ignored: int | None = None) -> MetricCollection:
    """Accuracy; macro-F1 in validation and test; per class and confusion matrix in the test.

    Accuracy is over all decisions (micro). Macro-F1 is the mean over classes that occur, as in
    scikit-learn.

    Args:
        size: K.
        stage: `train`, `val` or `test`.
        ignored: stands in the truth where nothing is to be counted; None: nowhere.
    """
    options: dict[str, Any] = {"validate_args": False, "ignore_index": ignored}
    metrics: dict[str, Metric | MetricCollection] = {
        "accuracy": MulticlassAccuracy(size, average="micro", **options)
    }
    if stage != "train":
        metrics["macro_f1"] = MulticlassF1Score(size, average="macro", **options)
    if stage == "test":
        metrics["f1_per_class"] = MulticlassF1Score(size, average=None, **options)
        metrics["confusion"] = MulticlassConfusionMatrix(size, **options)
    return MetricCollection(metrics)


def ordinal_metrics(size: int, stage: str) -> MetricCollection:
    """`class_metrics`, and the mean distance to the true class; kappa in validation and test."""
    metrics: dict[str, Metric | MetricCollection] = dict(class_metrics(size, stage).items())
    metrics["mae"] = MeanAbsoluteError()
    if stage != "train":
        metrics["kappa"] = QuadraticKappa(size, weights="quadratic", validate_args=False)
    return MetricCollection(metrics)


class QuadraticKappa(MulticlassCohenKappa):
    """Agreement beyond chance, squared distances between classes weighed; at most 1.

    Where truth and predictions are one and the same class throughout, there is nothing to agree
    on beyond chance: 0.

    Source: Cohen (1968), "Weighted kappa".
    """

    def compute(self) -> Tensor:
        """1 - observed over expected squared distance."""
        return torch.nan_to_num(super().compute(), nan=0.0)


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


class LabelCounts(Metric):
    """Hits (TP), false alarms (FP) and misses (FN) of each of K labels, and the scores of them.

    Summed over the whole split before any division. A label that neither occurs nor is predicted
    is left out of macro-F1; a score of nothing at all is 0. Updated with two (N, K) bool tensors.

    Args:
        size: K.
        per_class: also give the F1 of each label, `f1_per_class` (K,).

    Source: Bay, Ehmann & Downie (2009), "Evaluation of multiple-F0 estimation and tracking
        systems", eq. 1 (accuracy); exact match is the subset accuracy of multi-label learning.
    """

    full_state_update = False
    hits: Tensor
    alarms: Tensor
    misses: Tensor
    right: Tensor
    rows: Tensor

    def __init__(self, size: int, *, per_class: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.per_class = per_class
        for name in ("hits", "alarms", "misses"):
            self.add_state(name, torch.zeros(size, dtype=torch.long), dist_reduce_fx="sum")
        for name in ("right", "rows"):
            self.add_state(name, torch.tensor(0), dist_reduce_fx="sum")

    def update(self, predictions: Tensor, truths: Tensor) -> None:
        """Counts N rows."""
        self.hits += (predictions & truths).sum(dim=0)
        self.alarms += (predictions & ~truths).sum(dim=0)
        self.misses += (~predictions & truths).sum(dim=0)
        self.right += (predictions == truths).all(dim=1).sum()
        self.rows += len(truths)

    def compute(self) -> dict[str, Tensor]:
        """Accuracy, micro-F1, macro-F1, exact match; `f1_per_class` where asked for."""
        wrong = self.alarms + self.misses
        f1 = 2 * self.hits / (2 * self.hits + wrong).clamp(min=1)
        occurs = self.hits + wrong > 0
        hits, wrongs = self.hits.sum(), wrong.sum()
        scores = {
            "accuracy": hits / (hits + wrongs).clamp(min=1),
            "micro_f1": 2 * hits / (2 * hits + wrongs).clamp(min=1),
            "macro_f1": f1.sum() / occurs.sum().clamp(min=1),
            "exact_match": self.right / self.rows.clamp(min=1),
        }
        return {**scores, "f1_per_class": f1} if self.per_class else scores
