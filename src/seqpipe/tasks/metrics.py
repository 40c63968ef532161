"""Metrics beyond torchmetrics' own, and the sets that tasks share."""

from collections.abc import Sequence
from typing import Any, Literal

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
from seqpipe.data.vocabulary import UNK
from seqpipe.tasks.metric_sums import ByExample, Sums, added_up


def class_metrics(size: int, stage: str, ignored: int | None = None) -> MetricCollection:
    """Accuracy; macro-F1 in validation and test; per class and confusion matrix in the test.

    Accuracy is over all decisions (micro). Macro-F1 is the mean over classes that occur, as in
    scikit-learn.

    Args:
        size: K.
        stage: `train`, `val` or `test`.
        ignored: the value of truths that are not counted; None: all are counted.
    """
    options: dict[str, Any] = {"validate_args": False, "ignore_index": ignored}
    metrics: dict[str, Metric | MetricCollection] = {
        "accuracy": Accuracy(size, average="micro", **options)
    }
    if stage != "train":
        metrics["macro_f1"] = F1(size, average="macro", **options)
    if stage == "test":
        metrics["f1_per_class"] = F1(size, average=None, **options)
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
        counts = _counts(self.ignore_index, target)
        right, total = ((preds == target) & counts).sum(), counts.sum()
        for state, added in self._states(right, total).items():
            getattr(self, state).add_(added)  # in place: to set an attribute takes longer

    def of_examples(
        self, predictions: Tensor, truths: Tensor, examples: Tensor, count: int
    ) -> dict[str, Tensor]:
        """See `ByExample`."""
        predictions, truths, examples = _counted(self.ignore_index, predictions, truths, examples)
        each = (predictions == truths).long(), torch.ones_like(truths)
        return self._states(*(added_up(one, examples, count) for one in each))

    def _states(self, right: Tensor, total: Tensor) -> dict[str, Tensor]:
        """The counts that torchmetrics adds up, with `right` decisions of `total`."""
        wrong, others = total - right, ((self.num_classes or 0) - 1) * total
        return {"tp": right, "fp": wrong, "fn": wrong, "tn": others - wrong}


class F1(MulticlassF1Score):
    """F1 of each class, or the mean over classes (macro)."""

    def of_examples(
        self, predictions: Tensor, truths: Tensor, examples: Tensor, count: int
    ) -> dict[str, Tensor]:
        """See `ByExample`."""
        predictions, truths, examples = _counted(self.ignore_index, predictions, truths, examples)
        K = self.num_classes or 0

        def of_each_class(classes: Tensor, of: Tensor) -> Tensor:
            return torch.bincount(of * K + classes, minlength=count * K).view(count, K)

        right = predictions == truths
        tp = of_each_class(truths[right], examples[right])
        fp = of_each_class(predictions, examples) - tp
        fn = of_each_class(truths, examples) - tp
        total = torch.bincount(examples, minlength=count).unsqueeze(1)
        return {"tp": tp, "fp": fp, "fn": fn, "tn": total - tp - fp - fn}


def _counted(ignored: int | None, *tensors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Predictions, truths and examples, (M,) each, of the decisions that count."""
    predictions, truths, examples = tensors
    if truths.ndim == 2:
        examples = examples.unsqueeze(1).expand_as(truths)
    counts = _counts(ignored, truths)
    return predictions[counts], truths[counts], examples[counts]


def _counts(ignored: int | None, truths: Tensor) -> Tensor:
    return torch.ones_like(truths, dtype=torch.bool) if ignored is None else truths != ignored


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


NEVER = -1
"""Stands in a truth for a symbol that is not in the vocabulary: no prediction equals it."""


class Written(list[int]):
    """Ids of a sequence, and the text that they are compared by.

    Args:
        ids: of its symbols.
        text: None where only the ids are compared.
    """

    def __init__(self, ids: Sequence[int], text: str | None = None) -> None:
        super().__init__(ids)
        self.text = text


def compared(
    decoded: Sequence[tuple[Tensor, Tensor]], y: FieldSpec, texts: Sequence[str] | None = None
) -> tuple[list[Written], list[Written]]:
    """Predictions and truths in the form in which they are compared: by the text that they spell.

    <UNK> written for an unknown symbol is an error, since the text has another symbol there.
    Different symbols that spell the same text are equal: subwords can be combined in several ways.

    Args:
        decoded: (prediction, truth) of each example, ids.
        y: whose symbols they are.
        texts: the raw truth of each example, see `SequenceBatch`; None: what its ids spell.

    Returns:
        two lists, of the predictions and of the truths.
    """
    predictions, truths = [], []
    for place, (prediction, truth) in enumerate(decoded):
        written, wanted = prediction.tolist(), truth.tolist()
        text = (texts[place] if texts and y.text else "") or _text_of(wanted, y)
        answer = _text_of(written, y)
        if text is not None and answer == text:
            written = wanted
        elif y.unknown in wanted:
            unknown = _never_written(wanted, text, y)
            wanted = [NEVER if one else id_ for id_, one in zip(wanted, unknown, strict=True)]
        predictions.append(Written(written, answer))
        truths.append(Written(wanted, text))
    return predictions, truths


def _text_of(ids: list[int], y: FieldSpec) -> str | None:
    """The text that ids spell; None where <UNK> is among them and the texts have no such symbol."""
    if y.text is None or (y.unknown in ids and y.cut is None):
        return None
    return y.text(ids)


def _never_written(ids: list[int], text: str | None, y: FieldSpec) -> list[bool]:
    """True for each symbol of a truth that stands for an unknown one, which no answer can write."""
    unknown = [id_ == y.unknown for id_ in ids]
    if y.cut is None or text is None or y.names is None:
        return unknown
    symbols = y.cut(text)
    if len(symbols) != len(ids):
        return unknown
    own = y.names[UNK]
    return [one and symbol != own for one, symbol in zip(unknown, symbols, strict=True)]


def is_right(prediction: list[int], truth: list[int]) -> bool:
    """True where an answer is the truth: as a text, where that of the truth is known."""
    if not isinstance(truth, Written) or truth.text is None:
        return prediction == truth
    return isinstance(prediction, Written) and prediction.text == truth.text


def is_same_text(y: FieldSpec, predicted: Tensor, truth: Tensor, text: str) -> bool:
    """True where a decoded answer is right, as `compared` compares it.

    Args:
        y: whose symbols they are.
        predicted: (T,) ids.
        truth: (T_y,) ids.
        text: the raw truth; "" where it is not known.
    """
    (written,), (wanted,) = compared([(predicted, truth)], y, [text])
    return is_right(written, wanted)


class ExactMatch(ByExample):
    """Share of sequences that are right: as texts, where these are known, else in every symbol.

    Updated with two lists, of `Written` or of plain id lists.
    """

    right: Tensor
    total: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("right", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def of_examples(
        self, predictions: list[list[int]], truths: list[list[int]], examples: Tensor, count: int
    ) -> dict[str, Tensor]:
        """See `ByExample`."""
        right = torch.tensor([*map(is_right, predictions, truths)])
        return {
            "right": added_up(right.long(), examples, count),
            "total": added_up(torch.ones_like(examples), examples, count),
        }

    def compute(self) -> Tensor:
        """Right of all, in [0, 1]."""
        return self.right / self.total


class ErrorRate(ByExample):
    """Edit distance to the truth per true symbol: the word, character or phoneme error rate.

    Summed over the whole split before the division, so that long sequences weigh more, as is
    usual; may pass 1. Updated with two lists of id lists, without <EOS>.

    Source: Levenshtein (1966); unit costs of insertion, deletion and substitution.
    """

    edits: Tensor
    symbols: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("edits", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("symbols", torch.tensor(0), dist_reduce_fx="sum")

    def of_examples(
        self, predictions: list[list[int]], truths: list[list[int]], examples: Tensor, count: int
    ) -> dict[str, Tensor]:
        """See `ByExample`."""
        edits = [Levenshtein.distance(p, t) for p, t in zip(predictions, truths, strict=True)]
        return {
            "edits": added_up(torch.tensor(edits, dtype=torch.long), examples, count),
            "symbols": added_up(torch.tensor([*map(len, truths)]).long(), examples, count),
        }

    def compute(self) -> Tensor:
        """Edits per true symbol."""
        return self.edits / self.symbols.clamp(min=1)


class LabelCounts(ByExample):
    """Hits (TP), false alarms (FP) and misses (FN) of each of K labels, and the scores of them.

    Summed over the whole split before any division. A label that neither occurs nor is predicted
    is left out of macro-F1; a score of nothing at all is 0. Updated with two (N, K) bool tensors.

    Args:
        size: K.
        per_class: also give the F1 of each label, `f1_per_class` (K,).

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
