"""Metrics beyond torchmetrics' own, and the sets that tasks share."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, Self

import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCohenKappa,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
)

from seqpipe.data.base import FieldSpec

Pairs = tuple[Any, Any]


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
    metrics["mae"] = MeanError(1)
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


class Sums(Metric):
    """Running sums in float64, whatever the precision of the model.

    In float32 a sum of a million batches is wrong by a percent: what is added is rounded to the
    digits of the sum. On a device without float64 (Apple's GPUs) the sums stay on the CPU.
    """

    full_state_update = False

    def add_sum(self, name: str) -> None:
        """A sum of that name, 0 at first, added up over processes."""
        self.add_state(name, torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def exact(self, values: Tensor) -> Tensor:
        """The values in float64, where the sums are."""
        # In two steps: a device without float64 cannot convert before it copies.
        return values.detach().to(self._sum_device).double()

    @property
    def _sum_device(self) -> torch.device:
        held: Tensor = getattr(self, next(iter(self._defaults)))
        return held.device

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Self:
        """Moves the sums with the module, but keeps them in float64."""

        @functools.wraps(fn)  # torchmetrics looks at the name
        def moved(held: Tensor) -> Tensor:
            if held.dtype != torch.float64:
                return fn(held)
            try:
                return fn(held).double()
            except TypeError:  # the device has no float64
                return held

        super()._apply(moved, exclude_state)
        return self


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
        self.total += self.exact(mean) * exact
        self.weight += exact

    def compute(self) -> Tensor:
        """Total over weight."""
        return self.total / self.weight


class MeanError(Sums):
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

    def update(self, predictions: Tensor, truths: Tensor) -> None:
        """Adds the errors of two tensors of one shape."""
        errors = self.exact(predictions) - self.exact(truths)
        added = errors.abs().sum() if self.power == 1 else errors.square().sum()
        setattr(self, self.total, getattr(self, self.total) + added)
        self.count += errors.numel()

    def compute(self) -> Tensor:
        """Total over count."""
        total: Tensor = getattr(self, self.total)
        return total / self.count


NEVER = -1
"""Stands in a truth for a symbol that is not in the vocabulary: no prediction equals it."""


def compared(decoded: Sequence[tuple[Tensor, Tensor]], y: FieldSpec) -> Pairs:
    """Predictions and truths as they are compared: by what the texts say.

    <UNK> written for a symbol that is not known is an error, since the text holds another one.
    Different symbols that spell the same text are the same: subwords may be put together in more
    than one way.

    Args:
        decoded: (prediction, truth) of each example, ids.
        y: whose symbols they are.

    Returns:
        two lists of id lists.
    """
    predictions, truths = [], []
    for prediction, truth in decoded:
        written, wanted = prediction.tolist(), truth.tolist()
        if y.unknown in wanted:
            wanted = [NEVER if id_ == y.unknown else id_ for id_ in wanted]
        elif written != wanted and y.text is not None and y.unknown not in written:
            written = wanted if y.text(written) == y.text(wanted) else written
        predictions.append(written)
        truths.append(wanted)
    return predictions, truths


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
