"""Counts of classes and of labels, and the scores that follow from them."""

from typing import Any

import torch
from torch import Tensor

from seqpipe.data.base import FieldSpec
from seqpipe.data.fields.classes import class_name
from seqpipe.errors import ConfigError
from seqpipe.nn.precision import widest
from seqpipe.rules import refusal
from seqpipe.tasks.metric_sums import ByExample, added_up


class ClassCounts(ByExample):
    """Right, predicted and true decisions of each of K classes, and the scores of them.

    Summed over the whole split before any division. The mean over classes (macro) is that of the
    classes that occur or are predicted, as in scikit-learn; a score of such a class with nothing
    to divide by counts as 0 there. Updated with two tensors of ids of one shape, (N,) or (N, T).

    Computes `macro_f1`, `macro_precision`, `macro_recall`, `balanced_accuracy` (mean recall of the
    classes that occur) and `matthews`; of two classes also `sensitivity`, the recall of the
    positive class, and `specificity`, that of the other. Where asked for, of each class
    `f1_per_class`, `precision_per_class`, `recall_per_class`, (K,), and `support_per_class`, the
    true decisions, (K,). NaN stands for what is not defined: sensitivity without true positives,
    precision of a class that is never predicted, recall of one that does not occur. F1 is 0 there.

    Args:
        size: K.
        ignored: the value of truths that are not counted; None: all are counted.
        positive: the positive class, of two.
        per_class: also give the scores of each class.

    Source: `matthews` for K classes is R_K of Gorodkin (2004), "Comparing two K-category
        assignments by a K-category correlation coefficient", eq. 8.
    """

    right: Tensor
    predicted: Tensor
    true: Tensor

    def __init__(
        self,
        size: int,
        *,
        ignored: int | None = None,
        positive: int = 1,
        per_class: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.size, self.ignored = size, ignored
        self.positive, self.per_class = positive, per_class
        for name in ("right", "predicted", "true"):
            self.add_state(name, torch.zeros(size, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, predictions: Tensor, truths: Tensor) -> None:
        """Counts without taking out what counts, which would make a GPU wait."""
        truths, predictions = truths.flatten(), predictions.flatten()
        counts = counts_of(self.ignored, truths)
        truths, predictions = truths.where(counts, 0), predictions.where(counts, 0)
        self.true.index_add_(0, truths, counts.long())
        self.predicted.index_add_(0, predictions, counts.long())
        self.right.index_add_(0, truths, (counts & (predictions == truths)).long())

    def of_examples(
        self, predictions: Tensor, truths: Tensor, examples: Tensor, count: int
    ) -> dict[str, Tensor]:
        """See `ByExample`."""
        predictions, truths, examples = counted(self.ignored, predictions, truths, examples)

        def of_each_class(classes: Tensor, of: Tensor) -> Tensor:
            cells = torch.bincount(of * self.size + classes, minlength=count * self.size)
            return cells.view(count, self.size)

        right = predictions == truths
        return {
            "right": of_each_class(truths[right], examples[right]),
            "predicted": of_each_class(predictions, examples),
            "true": of_each_class(truths, examples),
        }

    def compute(self) -> dict[str, Tensor]:
        """The scores, () each, and those of each class."""
        right, predicted, true = self.right, self.predicted, self.true
        f1 = 2 * right / (predicted + true).clamp(min=1)
        precision, recall = right / predicted, right / true  # 0 / 0: NaN
        met, occurs = predicted + true > 0, true > 0
        scores = {
            "macro_f1": _mean_of(f1, met),
            "macro_precision": _mean_of(precision.nan_to_num(), met),
            "macro_recall": _mean_of(recall.nan_to_num(), met),
            "balanced_accuracy": _mean_of(recall, occurs),
            "matthews": _matthews(right, predicted, true),
        }
        if self.size == 2:
            scores["sensitivity"] = recall[self.positive]
            scores["specificity"] = recall[1 - self.positive]
        if self.per_class:
            scores |= {"f1_per_class": f1, "precision_per_class": precision}
            scores |= {"recall_per_class": recall, "support_per_class": true}
        return scores


def positive_class(positive: str | float | None, y: FieldSpec) -> int:
    """The id of the positive class, of two: the one whose recall is the sensitivity.

    Args:
        positive: its name; None: the second.
        y: with the names of the classes.

    Raises:
        ConfigError: there are not two classes, or none has that name.
    """
    names = y.names or ()
    if positive is None:
        return 1
    name = class_name(positive)
    if y.size != 2:
        wrong = f"y has {y.size} classes, each of which is measured against the others"
        raise ConfigError(refusal("task.positive", positive, wrong, "null"))
    if name not in names:
        raise ConfigError(
            refusal("task.positive", positive, "no such class", " or ".join(names), names)
        )
    return names.index(name)


def counted(
    ignored: int | None, predictions: Tensor, truths: Tensor, examples: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Predictions, truths and examples, (M,) each, of the decisions that count.

    Args:
        ignored: the value of truths that are not counted; None: all are counted.
        predictions: (N,) or (N, T) ids.
        truths: of the same shape.
        examples: (N,) whose each is.
    """
    if truths.ndim == 2:
        examples = examples.unsqueeze(1).expand_as(truths)
    counts = counts_of(ignored, truths)
    return predictions[counts], truths[counts], examples[counts]


def counts_of(ignored: int | None, truths: Tensor) -> Tensor:
    """True for the truths that count, of their shape; ignored: as of `counted`."""
    return torch.ones_like(truths, dtype=torch.bool) if ignored is None else truths != ignored


def _mean_of(scores: Tensor, chosen: Tensor) -> Tensor:
    """The mean of some of (K,) scores; 0 of none."""
    return (scores.where(chosen, 0.0) / chosen.sum().clamp(min=1)).sum()


def _matthews(right: Tensor, predicted: Tensor, true: Tensor) -> Tensor:
    """R_K from (K,) counts; 0 where truth or predictions are one class throughout."""
    wide = widest(right.device)
    total = true.sum().clamp(min=1).to(wide)
    p, t = predicted.to(wide) / total, true.to(wide) / total
    covariance = right.sum().to(wide) / total - (p * t).sum()
    spread = ((1 - p.square().sum()) * (1 - t.square().sum())).clamp(min=0).sqrt()
    some = spread > 1e-9  # one decision of a million that differs gives 1e-6
    return torch.where(some, covariance / spread.where(some, 1.0), 0.0).float()


class LabelCounts(ByExample):
    """Hits (TP), false alarms (FP) and misses (FN) of each of K labels, and the scores of them.

    Summed over the whole split before any division. A label that neither occurs nor is predicted
    is left out of the means over labels; a score of nothing at all is 0. Updated with two (N, K)
    bool tensors.

    Args:
        size: K.
        per_class: also give the scores of each label, see `ClassCounts`.

    Source: Bay, Ehmann & Downie (2009), "Evaluation of multiple-F0 estimation and tracking
        systems", eq. 1 (accuracy); exact match is the subset accuracy of multi-label learning.
    """

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

    def of_examples(
        self, predictions: Tensor, truths: Tensor, examples: Tensor, count: int
    ) -> dict[str, Tensor]:
        """See `ByExample`."""
        counted = {
            "hits": predictions & truths,
            "alarms": predictions & ~truths,
            "misses": ~predictions & truths,
            "right": (predictions == truths).all(dim=1),
            "rows": torch.ones_like(examples),
        }
        return {name: added_up(one.long(), examples, count) for name, one in counted.items()}

    def compute(self) -> dict[str, Tensor]:
        """Accuracy, micro-F1, exact match, macro scores; those of each label where asked for."""
        wrong = self.alarms + self.misses
        f1 = 2 * self.hits / (2 * self.hits + wrong).clamp(min=1)
        precision = self.hits / (self.hits + self.alarms)  # 0 / 0: NaN
        true = self.hits + self.misses
        recall, met = self.hits / true, self.hits + wrong > 0
        hits, wrongs = self.hits.sum(), wrong.sum()
        scores = {
            "accuracy": hits / (hits + wrongs).clamp(min=1),
            "micro_f1": 2 * hits / (2 * hits + wrongs).clamp(min=1),
            "macro_f1": f1.sum() / met.sum().clamp(min=1),
            "macro_precision": _mean_of(precision.nan_to_num(), met),
            "macro_recall": _mean_of(recall.nan_to_num(), met),
            "exact_match": self.right / self.rows.clamp(min=1),
        }
        if not self.per_class:
            return scores
        scores |= {"f1_per_class": f1, "precision_per_class": precision}
        return scores | {"recall_per_class": recall, "support_per_class": true}
