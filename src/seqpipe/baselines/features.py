"""Features of a whole x, as a linear model reads them: one row of numbers an example."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from seqpipe.data.base import FieldSpec
from seqpipe.data.columns import Array, Column, Integers

Matrix = Any
"""(N, F), an array or a sparse matrix in rows of scipy."""
Block = tuple[Array, Integers | None]
"""Some examples: padded values (N, T, ...) and lengths (N,); (N, ...) and None without time."""
SHORT_UNITS = ("words", "tokens", "subwords")
"""Units of which one or two together are features; of shorter ones, up to four."""
MOST_NGRAMS = 30_000
MOST_POSITIONS = 4_096
MOST_NUMBERS = 1_024
SEGMENTS = 8


class Features(ABC):
    """Features of x.

    Attributes:
        phrase: what they are, for the report.
        strengths: that the validation split chooses from: the larger, the closer to the
            training data, as C of scikit-learn.
    """

    phrase: str
    strengths: tuple[float, ...] = (0.1, 1.0)

    def fit(self, blocks: Sequence[Block]) -> None:  # noqa: B027
        """Learn from the training examples; by default nothing."""

    @abstractmethod
    def matrix(self, values: Array, lengths: Integers | None) -> Matrix:
        """Return the features of some examples, (N, F).

        Args:
            values: padded, (N, T, ...), or (N, ...) where x has no time.
            lengths: (N,) real steps; None without time.
        """


class NGrams(Features):
    """Which sequences of up to `longest` symbols occur, weighted by tf-idf.

    The most frequent of the training examples are kept. Words are read as the field cut them,
    with `<UNK>` for unknown ones.

    Source: Wang & Manning (2012), "Baselines and bigrams", who show how strong they are.
    """

    strengths = (1.0, 3.0)

    def __init__(self, longest: int, size: int) -> None:
        self.longest, self.base = longest, size + 1
        self.phrase = f"tf-idf of 1- to {longest}-grams"

    def fit(self, blocks: Sequence[Block]) -> None:
        """See `Features`."""
        from sklearn.feature_extraction.text import TfidfTransformer

        grams = np.concatenate([self._occurrences(*block)[1] for block in blocks])
        known, counts = np.unique(grams, return_counts=True)
        kept = np.sort(np.argsort(-counts, kind="stable")[:MOST_NGRAMS])
        self._known = known[kept]
        self._weights = TfidfTransformer().fit(stacked(self._counted(*block) for block in blocks))

    def matrix(self, values: Array, lengths: Integers | None) -> Matrix:
        """See `Features`."""
        return self._weights.transform(self._counted(values, lengths))

    def _counted(self, values: Array, lengths: Integers | None) -> Matrix:
        from scipy.sparse import csr_matrix

        rows, grams = self._occurrences(values, lengths)
        places = np.searchsorted(self._known, grams).clip(max=max(0, len(self._known) - 1))
        found = self._known[places] == grams
        ones = np.ones(int(found.sum()))
        shape = (len(values), len(self._known))
        return csr_matrix((ones, (rows[found], places[found])), shape=shape)

    def _occurrences(self, values: Array, lengths: Integers | None) -> tuple[Integers, Integers]:
        """The example and the number of each n-gram that occurs, one pair an occurrence."""
        assert lengths is not None
        ids = values.astype(np.int64) + 1  # 0 ends shorter n-grams
        steps, rows, grams = np.arange(ids.shape[1]), [], []
        number = np.zeros_like(ids)
        for n in range(1, self.longest + 1):
            number = number[:, : ids.shape[1] - n + 1] * self.base + ids[:, n - 1 :]
            real = steps[: number.shape[1]] + n <= lengths[:, None]
            rows.append(np.nonzero(real)[0])
            grams.append(number[real])
        return np.concatenate(rows), np.concatenate(grams)


class Positions(Features):
    """Which symbol is at each place of a sequence of fixed length, one-hot."""

    phrase = "symbols by position"

    def __init__(self, steps: int, size: int) -> None:
        self.steps, self.size = steps, size

    def matrix(self, values: Array, lengths: Integers | None) -> Matrix:
        """See `Features`; steps beyond the fixed length are not read."""
        from scipy.sparse import csr_matrix

        assert lengths is not None
        ids = values[:, : self.steps].astype(np.int64)
        rows, steps = np.nonzero(np.arange(ids.shape[1]) < lengths[:, None])
        places = steps * self.size + ids[rows, steps]
        shape = (len(ids), self.steps * self.size)
        return csr_matrix((np.ones(len(rows)), (rows, places)), shape=shape)


class OneHot(Features):
    """The class that x is."""

    phrase = "the class of x"

    def __init__(self, size: int) -> None:
        self.size = size

    def matrix(self, values: Array, lengths: Integers | None) -> Matrix:
        """See `Features`."""
        return np.eye(self.size)[values.astype(np.int64)]


class Standardized(Features):
    """The base of features that are numbers: each to mean 0 and deviation 1 over training."""

    strengths = (0.01, 0.1, 1.0)

    def fit(self, blocks: Sequence[Block]) -> None:
        """See `Features`."""
        rows = stacked(self.numbers(*block) for block in blocks)
        self._mean, deviation = rows.mean(axis=0), self.deviation(rows)
        self._scale = np.where(deviation > 0, deviation, 1.0)

    def matrix(self, values: Array, lengths: Integers | None) -> Matrix:
        """See `Features`."""
        return (self.numbers(values, lengths) - self._mean) / self._scale

    def deviation(self, rows: Array) -> Array:
        """Return what the features are divided by, (F,) or (). rows: (N, F) of training."""
        return np.asarray(rows.std(axis=0))

    @abstractmethod
    def numbers(self, values: Array, lengths: Integers | None) -> Array:
        """Return the features in their own units, (N, F) float64."""


class Moments(Standardized):
    """Mean, standard deviation, first and last value of each channel over the real steps."""

    phrase = "mean, deviation, first and last value of each channel"

    def numbers(self, values: Array, lengths: Integers | None) -> Array:
        """See `Standardized`. values: (N, T, D). Returns (N, 4 D)."""
        assert lengths is not None
        values = values.astype(np.float64)
        counts = lengths[:, None]
        real = np.arange(values.shape[1]) < counts
        mean = (values * real[..., None]).sum(axis=1) / counts
        apart = (values - mean[:, None]) * real[..., None]
        deviation = np.sqrt((apart**2).sum(axis=1) / counts)
        last = values[np.arange(len(values)), lengths - 1]
        return np.concatenate([mean, deviation, values[:, 0], last], axis=1)


class Segments(Standardized):
    """The mean of each channel over each eighth of the real steps."""

    phrase = f"means of each channel over {SEGMENTS} parts of the sequence"

    def numbers(self, values: Array, lengths: Integers | None) -> Array:
        """See `Standardized`. values: (N, T, D). Returns (N, 8 D)."""
        assert lengths is not None
        N, _, D = values.shape
        sums = np.concatenate([np.zeros((N, 1, D)), values.cumsum(axis=1, dtype=np.float64)], 1)
        place = np.arange(SEGMENTS) * lengths[:, None] // SEGMENTS
        after = np.maximum(np.arange(1, SEGMENTS + 1) * lengths[:, None] // SEGMENTS, place + 1)
        rows = np.arange(N)[:, None]
        means: Array = (sums[rows, after] - sums[rows, place]) / (after - place)[..., None]
        return means.reshape(N, -1)


class Numbers(Standardized):
    """All numbers of x, step by step, where every example has as many.

    Those of a series are divided by one number: a pixel at the border, which hardly ever differs,
    would otherwise count as much as one in the middle.
    """

    phrase = "all numbers of x"

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def deviation(self, rows: Array) -> Array:
        """See `Standardized`."""
        return super().deviation(rows) if len(self.shape) == 1 else np.asarray(rows.std())

    def numbers(self, values: Array, lengths: Integers | None) -> Array:
        """See `Standardized`; shorter examples are padded with 0, longer ones are cut."""
        if lengths is None:
            return values.reshape(len(values), -1).astype(np.float64)
        rows = np.zeros((len(values), *self.shape))
        steps = min(self.shape[0], values.shape[1])
        rows[:, :steps] = values[:, :steps]
        return rows.reshape(len(rows), -1)


def stacked(parts: Iterable[Matrix]) -> Matrix:
    """Put the rows of several matrices below one another."""
    from scipy import sparse

    matrices = list(parts)
    if sparse.issparse(matrices[0]):
        return sparse.vstack(matrices, format="csr")
    return np.concatenate(matrices)


def features_of(spec: FieldSpec, column: Column) -> list[Features]:
    """Return the features that a linear model could read, of which the better one is chosen.

    Args:
        spec: of x.
        column: of the training split.
    """
    size = spec.size
    if spec.is_class:
        return [OneHot(size)]
    if not spec.has_time:
        return [Numbers((size,))]
    steps = _fixed_length(column)
    if spec.holds_floats:
        rest: Features = Segments()
        if steps is not None and steps * size <= MOST_NUMBERS:
            rest = Numbers((steps, size))
        return [Moments(), rest]
    grams = NGrams(2 if spec.is_spelled or spec.unit in SHORT_UNITS else _longest(size), size)
    if steps is not None and steps * size <= MOST_POSITIONS:
        return [grams, Positions(steps, size)]
    return [grams]


def _fixed_length(column: Column) -> int | None:
    """Steps of every training example, if all have as many."""
    lengths = column.lengths
    return int(lengths[0]) if (lengths == lengths[0]).all() else None


def _longest(size: int) -> int:
    """The longest n-gram, at most 4, whose number fits 64 bits."""
    return max(n for n in range(1, 5) if (size + 1) ** n < 2**62)
