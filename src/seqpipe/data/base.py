"""The words of the data package: records, sources, fields, what a model must know, a batch.

A source yields records, two fields (x and y) turn one entry of a record into numbers. A new
format is a new `Source`, a new kind of entry a new `Field`; nothing else changes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, NoReturn

import torch
from torch import Tensor

from seqpipe.errors import DataError, did_you_mean

Record = Mapping[str, Any]
"""One example as it was found: column -> value."""

SPLITS = ("train", "valid", "test")
X_KINDS = ("values", "symbols", "vector", "category")
Y_KINDS = ("category", "number", "tags", "symbols")
TIME_KINDS = frozenset({"values", "symbols", "tags"})
"""Kinds with a time axis; the others hold one row an example."""


@dataclass(frozen=True)
class FieldSpec:
    """What a model must know of one field.

    Args:
        kind: as x, "values" (B, T_x, D) float32, "symbols" (B, T_x) int64, "vector" (B, D)
            float32 without time, "category" (B,) int64; as y, "category" (B,) int64, "number"
            (B, K) float32, "tags" (B, T) int64 with T = T_x, "symbols" (B, T_y) int64.
        size: D, K, the number of classes, or the size of the vocabulary.
        names: what the classes or symbols are called, by id; None for floats.
        unit: what one symbol is, "characters" or "words"; None where that has no name.
    """

    kind: str
    size: int
    names: tuple[str, ...] | None = None
    unit: str | None = None

    @property
    def has_time(self) -> bool:
        """True where an example is a sequence of steps."""
        return self.kind in TIME_KINDS


@dataclass(frozen=True)
class SequenceSpec:
    """What a model must know of the data: its x (None for a language model) and its y."""

    x: FieldSpec | None
    y: FieldSpec


@dataclass(frozen=True)
class Splits:
    """The records of a source, parted once and for all: nothing of one split is in another."""

    train: list[Record]
    valid: list[Record]
    test: list[Record]

    def by_name(self) -> dict[str, list[Record]]:
        """The three splits in their order, by name."""
        return {split: getattr(self, split) for split in SPLITS}


class Source(ABC):
    """Where records come from. Reading twice gives the same records in the same order."""

    @abstractmethod
    def read(self) -> Splits:
        """Read everything.

        Raises:
            DataError: the data cannot be used; the message starts with `file:line:` if it can.
        """


class Field(ABC):
    """Turns one column of a record into numbers and back.

    Args:
        column: the key of the entry in a record.
    """

    kind: ClassVar[str]

    def __init__(self, column: str) -> None:
        self.column = column

    @abstractmethod
    def fit(self, records: Sequence[Record]) -> None:
        """Learn classes, vocabulary or width. Given the training records, and no others."""

    @abstractmethod
    def encode(self, record: Record) -> Tensor:
        """The entry as numbers, without batch axis: (T, D), (T,), (D,) or ()."""

    def encode_target(self, record: Record) -> Tensor:
        """The entry as a model has to write it: text adds its end, the others change nothing."""
        return self.encode(record)

    @abstractmethod
    def decode(self, values: Tensor | Sequence[Any]) -> str:
        """The entry that numbers of one example stand for, for people to read."""

    @property
    @abstractmethod
    def spec(self) -> FieldSpec:
        """What a model must know. Only after `fit`."""

    def describe(self, splits: Mapping[str, Sequence[Record]]) -> str:
        """A few words on the fitted field; `splits` for what has to be counted."""
        spec = self.spec
        return f"{spec.kind} ({spec.size})"

    def value(self, record: Record) -> Any:
        """The raw entry.

        Raises:
            DataError: the record has no such column.
        """
        if self.column not in record:
            columns = ", ".join(record)
            hint = did_you_mean(self.column, record)
            raise DataError(f"column={self.column}: not in the record; it has {columns}{hint}")
        return record[self.column]

    def refuse(self, value: object, problem: str) -> NoReturn:
        """Raise the DataError of a bad entry, shortened to what fits a line."""
        shown = repr(value)
        shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
        raise DataError(f"{self.column}={shown}: {problem}")


@dataclass
class SequenceBatch:
    """A padded batch. Padding is 0; a length is None where there is no time axis.

    Args:
        x: (B, T_x, D), (B, T_x), (B, D) or (B,) after its kind; None for a language model.
        x_lengths: (B,) int64, real steps of x.
        y: (B,), (B, K) or (B, T_y) after its kind.
        y_lengths: (B,) int64, real steps of y.
        index: (B,) int64, which example of the split a row is.
    """

    x: Tensor | None
    x_lengths: Tensor | None
    y: Tensor
    y_lengths: Tensor | None
    index: Tensor

    def __len__(self) -> int:
        """Examples in the batch, B."""
        return len(self.index)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> SequenceBatch:
        """The batch on another device, lengths included: masks are made where the values are."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> SequenceBatch:
        """The batch in page-locked memory, from which a GPU copies while it computes."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, change: Callable[[Tensor], Tensor]) -> SequenceBatch:
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{k: change(v) for k, v in tensors.items() if v is not None})
