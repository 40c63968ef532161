"""Numbers measured at each step, or all at once."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqpipe.data.base import Field, FieldSpec, Record

Floats = np.ndarray[Any, np.dtype[np.float32]]


class _Floats(Field):
    """What Series and Vector share: finite float32 of a width that the first record sets."""

    def __init__(self, column: str, *, standardize: bool = False) -> None:
        super().__init__(column)
        self.standardize = standardize
        self.size = 0
        self.mean: Floats = np.zeros(1, dtype=np.float32)
        self.scale: Floats = np.ones(1, dtype=np.float32)

    def fit(self, records: Sequence[Record]) -> None:
        """Learn D and, to standardize, the mean and standard deviation of each of the D numbers."""
        self.size = self._array(records[0]).shape[-1]
        if self.standardize:
            rows = [self._checked(record).reshape(-1, self.size) for record in records]
            steps = np.concatenate(rows).astype(np.float64)
            deviation = steps.std(axis=0)
            self.mean = steps.mean(axis=0).astype(np.float32)
            # A number that never changes has no scale: it becomes 0.
            self.scale = np.where(deviation > 0, deviation, 1.0).astype(np.float32)

    def encode(self, record: Record) -> Tensor:
        """(T_x, D) of a Series, (D,) of a Vector, float32.

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
        return FieldSpec(self.kind, self.size)

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
            array = np.array(value, dtype=np.float32)
        except (TypeError, ValueError):
            self.refuse(value, "not an array of numbers")
        if not np.isfinite(array).all():
            self.refuse(value, "holds NaN or infinity")
        return array


class Series(_Floats):
    """D numbers for each step, (T_x, D) float32.

    Args:
        column: the key of the entry in a record; an array (T_x, D), or (T_x,) for D = 1.
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

    def describe(self, splits: object) -> str:
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

    def describe(self, splits: object) -> str:
        """The width."""
        return f"{self.size} numbers at once"
