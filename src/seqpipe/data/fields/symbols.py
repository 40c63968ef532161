"""Sequences that are ids already."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqpipe.bounds import Count, checked
from seqpipe.data.base import Field, FieldSpec, Record
from seqpipe.errors import ConfigError
from seqpipe.rules import refusal


class Symbols(Field):
    """Ids 0..size-1 as in the record, (T_x,) int64; x only, since nothing ends them.

    Args:
        column: the key of the entry in a record; a list of integers.
        size: how many ids there are.
    """

    kind = "symbols"

    @checked()
    def __init__(self, column: str, *, size: Count) -> None:
        super().__init__(column)
        self.size = size

    def fit(self, records: Iterable[Record]) -> None:
        """Learn nothing: the size is given."""

    def encode(self, record: Record) -> Tensor:
        """(T_x,) int64.

        Raises:
            DataError: not a flat list of integers, or one outside 0..size-1.
        """
        value = self.value(record)
        try:
            ids = np.asarray(value)
        except ValueError:  # ragged, or too deep
            self.refuse(value, "not a flat list of integers")
        if ids.ndim != 1 or (len(ids) and ids.dtype.kind not in "iu"):
            self.refuse(value, "not a flat list of integers")
        outside = ids[(ids < 0) | (ids >= self.size)]
        if len(outside):
            self.refuse(int(outside[0]), f"outside 0..{self.size - 1}; size={self.size}")
        return torch.from_numpy(ids.astype(np.int64))

    def encode_target(self, record: Record) -> Tensor:
        """Refused: a model that writes symbols has to know where they end.

        Raises:
            ConfigError: always.
        """
        allowed = "Tags for a class at each step of x, or Text for a sequence of another length"
        raise endless("Symbols", allowed)

    def decode(self, values: Tensor | Sequence[Any]) -> str:
        """The ids, with spaces between."""
        return " ".join(str(int(value)) for value in values)

    @property
    def spec(self) -> FieldSpec:
        """Size: the number of ids."""
        return FieldSpec(self.kind, self.size, tuple(str(id_) for id_ in range(self.size)))

    def describe(self, counts: object) -> str:
        """The number of ids."""
        return f"{self.size} symbols"


def endless(field: str, allowed: str) -> ConfigError:
    """The refusal of a field as y that does not say where a sequence ends."""
    return ConfigError(refusal("data.y", field, "has no end of sequence", allowed))
