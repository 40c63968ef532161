"""Records, sources, fields and batches: the interfaces of the data.

A new format is a new `Source`, a new kind of entry a new `Field`; nothing else changes.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import numpy as np
import torch
from torch import Tensor

from seqpipe.data.kinds import KINDS, Kind
from seqpipe.data.kinds import FieldSpec as FieldSpec
from seqpipe.data.kinds import SequenceSpec as SequenceSpec
from seqpipe.data.missing import is_blank, is_missing
from seqpipe.errors import DataError, did_you_mean

Record = Mapping[str, Any]
"""One example as read: column -> value."""


class OneLabel(str):
    """A label that its file marks as one, whatever signs it holds: `R&B|Soul`."""

    __slots__ = ()


class PlacedRecord(dict[str, Any]):
    """A record that knows where it was found.

    Args:
        columns: column -> value.
        file: that holds it; None where there is none.
        line: the line it starts at, from 1; None where the format has no lines.
        goes_on: the next record continues this one: no <EOS> between them, the state is carried.
    """

    __slots__ = ("file", "goes_on", "line")

    def __init__(
        self,
        columns: Mapping[str, Any],
        file: Path | str | None = None,
        line: int | None = None,
        *,
        goes_on: bool = False,
    ) -> None:
        super().__init__(columns)
        self.file, self.line, self.goes_on = file, line, goes_on

    @property
    def place(self) -> str:
        """The start of a message about the record: `reviews.csv:17`."""
        return place(self.file, self.line)


def place(file: Path | str | None, line: int | None = None) -> str:
    """`file:line`, or `file` where there are no lines."""
    return f"{file}" if line is None else f"{file}:{line}"


Found = Record | DataError
"""A record, or the error that explains why it cannot be used."""

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Splits:
    """The records of the three splits, which are disjoint and stay the same.

    Each split can be read again and again, in the same order: a list, or an object whose `__iter__`
    reads the files. A DataError in the place of a record says why that one cannot be used.
    """

    train: Iterable[Found]
    valid: Iterable[Found]
    test: Iterable[Found]

    def by_name(self) -> dict[str, Iterable[Found]]:
        """The three splits in their order, by name."""
        return {split: getattr(self, split) for split in SPLITS}


class Source(ABC):
    """A place that records come from. Reading twice gives the same records in the same order.

    Attributes:
        bundled: its files come with Python or a library, and no option names others.
        inner: the argument that holds another source, which names the files; None where this
            source finds its records itself.
    """

    bundled: ClassVar[bool] = False
    inner: ClassVar[str | None] = None

    @abstractmethod
    def read(self) -> Splits:
        """Find the records, of every split.

        Raises:
            DataError: nothing can be read; the message starts with `file:line:` if it can.
        """

    def whole(self, split: str) -> Iterable[Found]:
        """Every record of a split; where that is a share of train, every record of train.

        Args:
            split: one of `SPLITS`.

        Raises:
            DataError: as `read`.
        """
        return self.read().by_name()[split]

    def examples(self) -> Iterable[Found]:
        """Records that show what the input of a model looks like: the cheapest ones to read."""
        return self.read().test

    def inputs(self) -> list[Path]:
        """Every file that `read` depends on: prepared data are kept until one of them changes.

        Without files, data are prepared in memory by each run.
        """
        return []

    def warnings(self) -> list[str]:
        """Warnings about the records that were read."""
        inner = getattr(self, "source", None)
        return inner.warnings() if isinstance(inner, Source) else []

    def passed_over(self) -> list[str]:
        """Files of its folders that are not read; known once `read` or `inputs` looked there."""
        inner = getattr(self, "source", None)
        return inner.passed_over() if isinstance(inner, Source) else []

    def keep_together(self, columns: Sequence[str]) -> None:
        """Set, before reading, the columns that identify an item: records alike in them are one.

        Those are the columns of x, or of y where a model writes it (`data/field_checks.py`). A
        source never puts one item in two splits, unless its own arguments say so.
        """
        if isinstance(inner := getattr(self, "source", None), Source):
            inner.keep_together(columns)


class Field(ABC):
    """Turns one column of a record into numbers and back.

    Args:
        column: the key of the entry in a record.
    """

    kind: ClassVar[str]
    """The name of one of `seqpipe.data.kinds.KINDS`."""
    fitted: ClassVar[tuple[str, ...]] = ()
    """Attributes that `fit` sets and are kept: numbers, text, their tuples, arrays."""

    def __init__(self, column: str) -> None:
        self.column = column

    @property
    def form(self) -> Kind:
        """The kind itself; known before `fit`."""
        return KINDS[self.kind]

    def fit(self, records: Iterable[Record]) -> None:  # noqa: B027
        """Learn classes, vocabulary or width; by default nothing.

        Given the training records, and no others. They may not fit in memory: go through them
        once, keep what is needed.
        """

    def check(self, record: Record) -> None:
        """Refuse a record that `fit` cannot use; the field itself learns nothing.

        Raises:
            DataError: it cannot be used.
        """
        copy.deepcopy(self).fit([record])

    def inputs(self) -> list[Path]:
        """Every file that `fit` depends on, besides those of the source."""
        return []

    def state(self) -> dict[str, Any]:
        """The result of `fit`, to be kept."""
        return {name: getattr(self, name) for name in self.fitted}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set what an earlier `fit` on the same data learned."""
        for name in self.fitted:
            setattr(self, name, state[name])

    @property
    def extras(self) -> tuple[str, ...]:
        """The optional extras of seqpipe that encoding and decoding need."""
        return ()

    def weights(self) -> dict[str, Tensor]:
        """The weights, by name, of a network that encodes and is not trained."""
        return {}

    def restore_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Set such weights, before `restore`."""
        assert not weights, "of a field without a network"

    @abstractmethod
    def encode(self, record: Record) -> Tensor:
        """Return the entry as numbers, without batch axis: (T, D), (T,), (D,) or ()."""

    def watch(self) -> None:  # noqa: B027
        """Called before the training split is encoded; by default nothing."""

    def digit_loss(self, role: str) -> str | None:
        """A warning about digits lost by the numbers encoded since `watch`; None: none were.

        Args:
            role: x or y, for messages.

        Raises:
            DataError: so much that nothing can be learned of them.
        """
        return None

    def encode_target(self, record: Record) -> Tensor:
        """Encode the entry as a model has to write it: text adds its end, others change nothing."""
        return self.encode(record)

    def truth(self, record: Record) -> str:
        """The raw text that answers are compared with, where answers are texts; else nothing."""
        return ""

    def typed(self, text: str) -> Any:
        """The entry that text on a command line means: by default the text itself.

        Raises:
            DataError: it means none.
        """
        return text

    @abstractmethod
    def decode(self, values: Tensor | Sequence[Any]) -> str:
        """The entry that the numbers of one example mean, for people to read."""

    @property
    @abstractmethod
    def spec(self) -> FieldSpec:
        """The properties that a model must know. Only after `fit`."""

    def describe(self, counts: Mapping[str, np.ndarray[Any, np.dtype[np.int64]]]) -> str:
        """A short description of the fitted field.

        Args:
            counts: how often each class or symbol occurs, (size,), by split; empty for floats.
        """
        spec = self.spec
        return f"{spec.kind} ({spec.size})"

    def notes(self, key: str) -> list[str]:
        """Warnings about the training data; key: of the field in the configuration."""
        return []

    def steps(self, value: Any) -> tuple[list[str], Callable[[Sequence[str]], str]]:
        """The text of each step of a raw entry, none where it is no text; a function joins them."""
        is_list = isinstance(value, (list, tuple))
        return [str(one) for one in value] if is_list else [], " ".join

    def between(self, before: str, text: str) -> str:
        """The white space between a text and another that continues it."""
        return ""

    def value(self, record: Record) -> Any:
        """The raw entry.

        Raises:
            DataError: the record has no such column, or holds nothing there.
        """
        if self.column not in record:
            columns = ", ".join(record)
            hint = did_you_mean(self.column, record)
            raise DataError(f"column={self.column}: not in the record; it has {columns}{hint}")
        value = record[self.column]
        if is_missing(value):
            self.refuse(value, "is missing; allowed: a value")
        return value

    def refuse_blank(self, record: Record) -> None:
        """Refuse text of nothing but white space.

        Raises:
            DataError: it is.
        """
        if is_blank(record[self.column]):
            self.refuse(record[self.column], "is empty; allowed: text")

    def refuse(self, value: object, problem: str) -> NoReturn:
        """Raise the DataError of a bad entry, shortened to what fits a line."""
        shown = shown if len(shown := repr(value)) <= 60 else f"{shown[:57]}..."
        raise DataError(f"{self.column}={shown}: {problem}")


@dataclass
class SequenceBatch:
    """A padded batch. Padding is 0; a length is None where there is no time axis.

    Args:
        x: (B, T_x, D), (B, T_x), (B, D) or (B,) after its kind; None for a language model.
        x_lengths: (B,) int64, real steps of x.
        y: (B,), (B, K) or (B, T_y) after its kind.
        y_lengths: (B,) int64, real steps of y.
        index: (B,) int64, which example of the split a row is; in lanes, which document.
        lane: (B,) int64, whose state a row continues from; None where no state is carried.
        fresh: (B,) bool, True where a row of a lane starts from the initial state.
        repeated: (B,) bool, all True, of a batch that is repeated to fill up the last round of
            several processes: it counts in no update and no metric. None for all others.
        texts: the raw y of each row, where y is a text that answers x; "" where ids suffice.
    """

    x: Tensor | None
    x_lengths: Tensor | None
    y: Tensor
    y_lengths: Tensor | None
    index: Tensor
    lane: Tensor | None = None
    fresh: Tensor | None = None
    repeated: Tensor | None = None
    texts: tuple[str, ...] | None = None

    def __len__(self) -> int:
        """Examples in the batch, B."""
        return len(self.index)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> SequenceBatch:
        """The batch on another device, lengths included: masks are made where the values are."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> SequenceBatch:
        """The batch in page-locked memory, from which a GPU copies while it computes."""
        return self._map(lambda tensor: tensor.pin_memory())

    def row(self, number: int) -> SequenceBatch:
        """One example of the batch, with its padding."""
        return self.rows(slice(number, number + 1))

    def rows(self, chosen: slice | Tensor) -> SequenceBatch:
        """Some examples of the batch, with their padding.

        Args:
            chosen: a slice, or the places of the rows, (N,).
        """
        rows = self._map(lambda tensor: tensor[chosen])
        if self.texts is not None:
            places = torch.arange(len(self))[chosen].tolist()
            rows.texts = tuple(self.texts[place] for place in places)
        return rows

    def _map(self, change: Callable[[Tensor], Tensor]) -> SequenceBatch:
        held: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        held |= {name: change(value) for name, value in held.items() if isinstance(value, Tensor)}
        return SequenceBatch(**held)
