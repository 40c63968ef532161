"""Linear baselines: logistic regression for classes and labels, ridge regression for numbers.

Their work is bounded by counts, not by a clock, so that the same seed gives the same numbers: of
many examples only some are read, and of slow fits fewer iterations are made.
"""

import warnings
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from seqpipe.baselines.base import ByOutputs, ByProbability, Judge, ProbabilityJudge, Skipped
from seqpipe.baselines.features import Block, Features, Matrix, features_of, stacked
from seqpipe.baselines.frequencies import label_shares
from seqpipe.data.base import FieldSpec, SequenceBatch
from seqpipe.data.columns import Array, Column
from seqpipe.data.dataset import SequenceData
from seqpipe.data.sampling import evenly_spread

MOST_EXAMPLES = 20_000
MOST_VALUES = 4_000_000
"""Numbers or symbols of x that are read for a fit."""
MOST_WORK = 1e9
"""Multiplications of a fit: features that are not 0, times outputs, times iterations."""
FEWEST, MOST = 20, 60
"""Iterations of a fit; where fewer than `FEWEST` are affordable, fewer examples are read."""
UNSEEN = 1e-6
"""The smallest probability: that of a class that the fit has not seen."""
BLOCK = 512
"""Examples that are padded together."""


class Inputs:
    """The x of some examples of a split, in blocks of similar length, and their y.

    Args:
        data: of the run.
        split: its name; of many examples, evenly spread ones are taken.
    """

    def __init__(self, data: SequenceData, split: str) -> None:
        examples = data.columns(split)
        assert examples.x is not None and data.spec.x is not None
        self._x, self._spec = examples.x, data.spec.x
        chosen = np.array(evenly_spread(min(MOST_EXAMPLES, _affordable(self._x)), len(examples)))
        self.places = chosen[np.argsort(self._x.lengths_of(chosen), kind="stable")]
        self.y = examples.y.padded(self.places)[0]

    @cached_property
    def blocks(self) -> list[Block]:
        """The examples, in the order of `y`."""
        starts = range(0, len(self.places), BLOCK)
        padded = (self._x.padded(self.places[start : start + BLOCK]) for start in starts)
        return [(whole_words(values, self._spec), lengths) for values, lengths in padded]


def whole_words(values: Array, spec: FieldSpec) -> Array:
    """Return ids of words alone where x also has their characters."""
    return values[..., 0] if spec.is_spelled else values


def _affordable(column: Column) -> int:
    values = column.chunks[0].values
    width = int(np.prod(values.shape[1:]))
    steps = max(1.0, column.steps / max(1, column.rows)) if column.has_time else 1.0
    return max(BLOCK, int(MOST_VALUES / (width * steps)))


class Linear(ABC):
    """A linear model of the features that validate best.

    Args:
        size: K, the number of classes, labels or numbers.

    Attributes:
        method: the name of the fit, for the report.
    """

    method: str

    def __init__(self, size: int) -> None:
        self.size = size

    def fit(self, data: SequenceData) -> None:
        """Fit models to each kind of features, and keep that with the smallest error.

        Raises:
            Skipped: y has one value only, or a fit takes too long.
        """
        column = data.columns("train").x
        assert data.spec.x is not None and column is not None
        self._spec, train, valid = data.spec.x, Inputs(data, "train"), Inputs(data, "valid")
        models, errors = [], []
        for features in features_of(self._spec, column):
            features.fit(train.blocks)
            rows, checked = _rows(features, train), _rows(features, valid)
            for strength in features.strengths:
                models.append((features, self._fitted(rows, train.y, strength)))
                answers = self.answer(models[-1][1], checked)
                errors.append(self.error(answers, valid.y))
        self.features, self._model = models[int(np.argmin(errors))]

    def __call__(self, batch: SequenceBatch) -> Tensor:
        """Return the answers to a batch, (B, K) float64."""
        assert batch.x is not None
        lengths = None if batch.x_lengths is None else batch.x_lengths.numpy()
        rows = self.features.matrix(whole_words(batch.x.numpy(), self._spec), lengths)
        return torch.from_numpy(self.answer(self._model, rows))

    def _fitted(self, rows: Matrix, y: Array, strength: float) -> Any:
        work = max(1, getattr(rows, "nnz", rows.size)) * self.size  # of one iteration
        share = min(1.0, MOST_WORK / (FEWEST * work))
        chosen = evenly_spread(int(share * len(y)), len(y))
        if len(chosen) < min(len(y), 2 * self.size):
            text = f"{rows.shape[1]:,} features and {self.size:,} outputs are too much work"
            raise Skipped(text)
        iterations = int(np.clip(MOST_WORK / (share * work), FEWEST, MOST))
        with threadpool_limits(limits=1), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the iterations need not suffice
            return self.model(rows[chosen], y[chosen], strength, iterations)

    @abstractmethod
    def model(self, rows: Matrix, y: Array, strength: float, iterations: int) -> Any:
        """Fit a model. rows: (N, F); y: (N,) or (N, K); strength: see `Features`."""

    @abstractmethod
    def answer(self, model: Any, rows: Matrix) -> Array:
        """Return the answers of a model, (N, K) float64. rows: (N, F)."""

    @abstractmethod
    def error(self, answers: Array, y: Array) -> float:
        """Return the error by which features are chosen."""


class _Classes(Linear):
    """Logistic regression: p of each class."""

    method = "logistic regression"

    def model(self, rows: Matrix, y: Array, strength: float, iterations: int) -> Any:
        if len(np.unique(y)) < 2:
            raise Skipped("training has one class only")
        return _logistic(rows, y, strength, iterations)

    def answer(self, model: Any, rows: Matrix) -> Array:
        chances = np.full((rows.shape[0], self.size), UNSEEN)
        chances[:, model.classes_] = np.maximum(model.predict_proba(rows), UNSEEN)
        shares: Array = chances / chances.sum(axis=1, keepdims=True)
        return shares

    def error(self, answers: Array, y: Array) -> float:
        """Nats per example."""
        return float(-np.log(answers[np.arange(len(y)), y]).mean())


class _Labels(Linear):
    """A logistic regression for each label: p of each.

    A label that all examples have, or none, has the probability of `LabelFrequencies`.
    """

    method = "a logistic regression for each label,"

    def model(self, rows: Matrix, y: Array, strength: float, iterations: int) -> Any:
        differing = np.flatnonzero((y != y[0]).any(axis=0)).tolist()
        if not differing:
            raise Skipped("training has one set of labels only")
        fits = {label: _logistic(rows, y[:, label], strength, iterations) for label in differing}
        return label_shares(y.sum(axis=0), len(y)).numpy(), fits

    def answer(self, model: Any, rows: Matrix) -> Array:
        frequencies, fits = model
        chances = np.tile(frequencies, (rows.shape[0], 1))
        for label, fit in fits.items():
            chances[:, label] = fit.predict_proba(rows)[:, 1]
        return chances.clip(UNSEEN, 1 - UNSEEN)

    def error(self, answers: Array, y: Array) -> float:
        """Nats per example, summed over the labels."""
        return float(-np.log(np.where(y, answers, 1 - answers)).sum(axis=1).mean())


class _Numbers(Linear):
    """Ridge regression, of numbers as the field encodes them."""

    method = "ridge regression"

    def model(self, rows: Matrix, y: Array, strength: float, iterations: int) -> Any:
        from sklearn.linear_model import Ridge

        return Ridge(1 / strength, solver="lsqr", max_iter=iterations).fit(
            rows, y.astype(np.float64)
        )

    def answer(self, model: Any, rows: Matrix) -> Array:
        answers: Array = model.predict(rows).reshape(rows.shape[0], self.size)
        return answers

    def error(self, answers: Array, y: Array) -> float:
        """Mean squared error."""
        return float(((answers - y) ** 2).mean())


class LinearClasses(ByProbability):
    """Logistic regression of features of x.

    Args:
        task: with one class for a whole x.
    """

    linear: type[Linear] = _Classes

    def __init__(self, task: ProbabilityJudge) -> None:
        super().__init__(task, "linear")
        self._linear = self.linear(task.y.size)

    def fit(self, data: SequenceData) -> None:
        """See `Linear`."""
        self._linear.fit(data)
        self.phrase = f"{self._linear.method} of {self._linear.features.phrase}"

    def probabilities(self, batch: SequenceBatch) -> Tensor:
        """Return (B, K)."""
        return self._linear(batch)


class LinearLabels(LinearClasses):
    """Logistic regression of features of x, one for each label.

    Args:
        task: with any of K labels for a whole x.
    """

    linear = _Labels


class LinearNumbers(ByOutputs):
    """Ridge regression of features of x.

    Args:
        task: with numbers for a whole x.
    """

    def __init__(self, task: Judge) -> None:
        super().__init__(task, "linear")
        self._linear = _Numbers(task.y.size)

    def fit(self, data: SequenceData) -> None:
        """See `Linear`."""
        self._linear.fit(data)
        self.phrase = f"{self._linear.method} of {self._linear.features.phrase}"

    def outputs(self, batch: SequenceBatch) -> Tensor:
        """Return (B, K)."""
        return self._linear(batch)


def _logistic(rows: Matrix, y: Array, strength: float, iterations: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, max_iter=iterations).fit(rows, y)


def _rows(features: Features, inputs: Inputs) -> Matrix:
    return stacked(features.matrix(*block) for block in inputs.blocks)
