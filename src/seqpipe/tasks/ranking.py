"""Metrics of the order that probabilities give: area under the ROC curve, average precision."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from seqpipe.nn.precision import exact
from seqpipe.tasks.class_counts import counts_of


class Ranking(Metric):
    """`roc_auc` and `average_precision` over a whole split, exact: all scores are kept.

    Of two classes, those of the positive one. Of more, and of labels, one against the rest: the
    mean over the classes that have both positive and negative examples. NaN where none has.
    Updated with predictions, which are not read, truths and `scores`.

    Args:
        size: K.
        ignored: the value of truths that are not counted; None: all are counted.
        positive: the positive class, of two.
        labels: truths are (N, K) bool, each label a question of its own.
        kwargs: of torchmetrics' Metric.

    Source: Hanley & McNeil (1982), "The meaning and use of the area under a ROC curve", ties count
        as one half; average precision is the sum over thresholds of the precision times the gain
        in recall, without interpolation, as in scikit-learn.
    """

    full_state_update = False
    scores: list[Tensor]
    truths: list[Tensor]

    def __init__(
        self,
        size: int,
        *,
        ignored: int | None = None,
        positive: int = 1,
        labels: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.size, self.ignored, self.labels = size, ignored, labels
        self.chosen = positive if size == 2 and not labels else None
        self.add_state("scores", [], dist_reduce_fx="cat")
        self.add_state("truths", [], dist_reduce_fx="cat")

    def update(self, predictions: Tensor, truths: Tensor, scores: Tensor | None = None) -> None:
        """Keeps what is needed later; nothing is computed, so that no GPU is waited for.

        Args:
            predictions: not read.
            truths: ids, (N,) or (N, T); or (N, K) bool.
            scores: probability of each class or label, of the shape of ids, and K; None: there
                are none, and nothing is kept.
        """
        if scores is None:
            return
        # All states are float32 and flat: a process without examples then has a state that fits.
        scores = scores if self.chosen is None else scores[..., self.chosen]
        self.scores.append(scores.detach().float().flatten())
        self.truths.append(truths.float().flatten())

    def compute(self) -> dict[str, Tensor]:
        """`roc_auc` and `average_precision`, () each."""
        return SortedScores(*self.columns()).compute()

    def has_steps(self, truths: Tensor) -> bool:
        """True where truths are ids of each step, (N, T)."""
        return truths.ndim == 2 and not self.labels

    def counted(self, truths: Tensor) -> Tensor:
        """True for truths that count: of the shape of ids; (N,) of labels."""
        return counts_of(self.ignored, truths[:, 0] if self.labels else truths)

    def columns(self) -> tuple[Tensor, Tensor]:
        """Scores and positives of the decisions that count, (M, C) each: C binary questions."""
        width = 1 if self.chosen is not None else self.size
        joined, wanted = _joined(self.scores).view(-1, width), _joined(self.truths)
        if self.labels:
            return joined, wanted.view(-1, width).bool()
        counts = self.counted(wanted)
        joined, wanted = joined[counts], wanted[counts]
        asked = [self.chosen] if self.chosen is not None else list(range(width))
        return joined, wanted.unsqueeze(1) == wanted.new_tensor(asked)


def _joined(kept: Sequence[Tensor] | Tensor) -> Tensor:
    """One tensor: after several processes were joined, it is one already."""
    if isinstance(kept, Tensor):
        return kept
    return torch.cat([*kept]) if len(kept) else torch.empty(0)


def takes_scores(metric: Metric) -> bool:
    """True if a metric is updated with probabilities, an argument `scores`, too."""
    return "scores" in inspect.signature(metric.update).parameters


class SortedScores:
    """Scores in descending order, for C binary questions; sorted once, for any weights.

    Args:
        scores: (M, C); higher means more likely positive.
        positives: (M, C) bool.
    """

    def __init__(self, scores: Tensor, positives: Tensor) -> None:
        self.count = len(scores)
        self.device = scores.device
        columns = zip(scores.unbind(1), positives.unbind(1), strict=True)
        self.columns = [_sorted(*column) for column in columns]

    def compute(self, weights: Tensor | None = None) -> dict[str, Tensor]:
        """`roc_auc` and `average_precision`, () each, the mean over questions that define them.

        weights: (M,), how often each of M counts; None: once.
        """
        if weights is None:
            weights = torch.ones(self.count, device=self.device)
        found = [_of_column(*column, weights) for column in self.columns]
        means = torch.stack(found).nanmean(dim=0)
        return {"roc_auc": means[0], "average_precision": means[1]}


def _sorted(scores: Tensor, positives: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The order of (M,) scores, the positives in it, and True for the last of equal scores."""
    order = scores.argsort(descending=True)
    scores = scores[order]
    last = torch.ones_like(scores, dtype=torch.bool)
    last[:-1] = scores[1:] != scores[:-1]
    return order, exact(positives[order]), last


def _of_column(order: Tensor, positives: Tensor, last: Tensor, weights: Tensor) -> Tensor:
    """(area under the ROC curve, average precision) of one binary question; NaN, not defined.

    order, positives, last: as of `_sorted`; weights: (M,).
    """
    weighed = exact(weights[order])
    # Equal scores pass a threshold together: only the last of them is a point of the curves.
    last = last.to(weighed.device)
    tp, passed = (positives * weighed).cumsum(0)[last], weighed.cumsum(0)[last]
    fp = passed - tp
    if not len(tp) or tp[-1] <= 0 or fp[-1] <= 0:
        return torch.full((2,), torch.nan, device=order.device)
    found, false = _steps(tp), _steps(fp)
    area = (false * (tp - found / 2)).sum() / (tp[-1] * fp[-1])
    precision = tp / passed.clamp(min=1)  # nothing has passed where weights are 0
    return torch.stack([area, (precision * found).sum() / tp[-1]]).float().to(order.device)


def _steps(sums: Tensor) -> Tensor:
    """The differences of running sums, from 0. sums: (P,)."""
    return sums.diff(prepend=sums.new_zeros(1))
