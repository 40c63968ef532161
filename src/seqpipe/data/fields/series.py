"""Numbers measured at each step, or all at once."""

from collections.abc import Iterable, Sequence
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor

from seqpipe.data.base import Field, FieldSpec, Record

Floats = np.ndarray[Any, np.dtype[np.float32]]


def floats(value: object) -> Floats:
    """Numbers of a record in float32; what that cannot hold is infinity.

    Raises:
        TypeError: no number, nor an array of numbers.
        ValueError: likewise, or an array that is ragged or too deep.
    """
    if value is None:  # NaN to numpy
        raise TypeError("nothing")
    with np.errstate(over="ignore"):
        try:
            return np.array(value, dtype=np.float32)
        except OverflowError:  # integers of Python may have more digits than any float
            raise ValueError("an integer that no float can hold") from None


class Moments:
    """Mean and standard deviation of rows that come a few at a time, in float64.

    Source: Chan, Golub & LeVeque (1979), "Updating formulae and a pairwise algorithm for
    computing sample variances": two sets joined without losing digits to a large mean.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: Any = 0.0
        self._squares: Any = 0.0  # sum of squared distances to the mean

    def add(self, rows: Floats) -> None:
        """rows: (N, D)."""
        if len(rows) == 0:
            return
        new = rows.astype(np.float64)
        mean, size = new.mean(axis=0), len(new)
        apart, count = mean - self.mean, self.count + size
        squares = ((new - mean) ** 2).sum(axis=0)
        self._squares = self._squares + squares + apart**2 * (self.count * size / count)
        self.mean = self.mean + apart * (size / count)
        self.count = count

    @property
    def deviation(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """(D,), of the rows as a whole population."""
        return np.sqrt(np.asarray(self._squares) / max(1, self.count))

    @property
    def scale(self) -> Floats:
        """(D,), the deviation to divide by; 1 for a number that never changes: it becomes 0."""
        deviation = self.deviation
        return np.where(deviation > 0, deviation, 1.0).astype(np.float32)


class _Units(TypedDict, total=False):
    """How numbers were standardised, for a FieldSpec."""

    mean: tuple[float, ...]
    scale: tuple[float, ...]


def units(standardize: bool, mean: Floats, scale: Floats) -> _Units:
    """What a FieldSpec says of standardised numbers; nothing of those that are as they stood."""
    if not standardize:
        return {}
    return {"mean": tuple(mean.tolist()), "scale": tuple(scale.tolist())}


class _Floats(Field):
    """What Series and Vector share: finite float32 of a width that the first record sets."""

    fitted = ("size", "mean", "scale")

    def __init__(self, column: str, *, standardize: bool = False) -> None:
        super().__init__(column)
        self.standardize = standardize
        self.size = 0
        self.mean: Floats = np.zeros(1, dtype=np.float32)
        self.scale: Floats = np.ones(1, dtype=np.float32)

    def fit(self, records: Iterable[Record]) -> None:
        """Learn D and, to standardize, the mean and standard deviation of each of the D numbers."""
        total = Moments()
        for record in records:
            self.size = self.size or self._array(record).shape[-1]
            if not self.standardize:
                return
            total.add(self._checked(record).reshape(-1, self.size))
        if total.count:
            self.mean, self.scale = total.mean.astype(np.float32), total.scale

    def encode(self, record: Record) -> Tensor:
        """(T, D) of a Series, (D,) of a Vector, float32.

        Raises:
            DataError: not numbers, not finite, or not of width D.
        """
        return torch.from_numpy((self._checked(record) - self.mean) / self.scale)

    def decode(self, values: Tensor | Sequence[Any]) -> str:
        """The numbers as they were, to three digits, a line for each step."""
        array = np.atleast_2d(np.asarray(values, dtype=np.float32) * self.scale + self.mean)
        return "\n".join(" ".join(f"{value:.3g}" for value in row) for row in array.tolist())

    @property
    def spec(self) -> FieldSpec:
        """Size: D."""
        return FieldSpec(self.kind, self.size, **units(self.standardize, self.mean, self.scale))

    def _array(self, record: Record) -> Floats:
        raise NotImplementedError

    def _checked(self, record: Record) -> Floats:
        array = self._array(record)
        if array.shape[-1] != self.size:
            wanted = f"the training split starts with {self.size}"
            self.refuse(self.value(record), f"is {array.shape[-1]} wide; {wanted}")
        return array

    def _finite(self, value: object) -> Floats:
        try:
            array = floats(value)
        except (TypeError, ValueError):
            self.refuse(value, "not an array of numbers")
        if not np.isfinite(array).all():
            self.refuse(value, "holds NaN or infinity")
        return array


class Series(_Floats):
    """D numbers for each step, (T, D) float32; as x, or as y one row for each step of x.

    Args:
        column: the key of the entry in a record; an array (T, D), or (T,) for D = 1.
        standardize: subtract from each of the D numbers its mean over all steps of the training
            split, and divide by its standard deviation.
    """

    kind = "values"

    def _array(self, record: Record) -> Floats:
        value = self.value(record)
        array = self._finite(value)
        if array.ndim not in (1, 2):
            self.refuse(value, f"has shape {array.shape}; expected (steps, numbers) or (steps,)")
        return array[:, None] if array.ndim == 1 else array

    def describe(self, counts: object) -> str:
        """The width of a step."""
        return f"{self.size} numbers a step"


class Vector(_Floats):
    """All numbers at once, flattened: (D,) float32, without time.

    Args:
        column: the key of the entry in a record; an array of any shape.
        standardize: as in `Series`, over the examples of the training split.
    """

    kind = "vector"

    def _array(self, record: Record) -> Floats:
        return self._finite(self.value(record)).reshape(-1)

    def describe(self, counts: object) -> str:
        """The width."""
        return f"{self.size} numbers at once"
