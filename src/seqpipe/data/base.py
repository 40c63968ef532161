"""Interfaces of the data: records, sources, fields and batches.

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

from seqpipe.data.columns import Array
from seqpipe.data.folds import Fold
from seqpipe.data.kinds import KINDS, Kind
from seqpipe.data.kinds import FieldSpec as FieldSpec
from seqpipe.data.kinds import SequenceSpec as SequenceSpec
from seqpipe.data.missing import is_blank, is_missing
from seqpipe.data.placed import OneLabel as OneLabel
from seqpipe.data.placed import PlacedRecord as PlacedRecord
from seqpipe.data.placed import place as place
from seqpipe.data.splits import SPLITS as SPLITS
from seqpipe.data.splits import Found as Found
from seqpipe.data.splits import Record as Record
from seqpipe.data.splits import Splits as Splits
from seqpipe.errors import ConfigError, DataError, did_you_mean
from seqpipe.rules import Problem


class Source(ABC):
    """A reader of records. Reading twice gives the same records in the same order.

    Attributes:
        bundled: its files come with Python or a library, and no option names others.
        inner: the argument that holds another source, which names the files; None if there is
            no such argument.
    """

    bundled: ClassVar[bool] = False
    inner: ClassVar[str | None] = None

    @property
    def wrapped(self) -> Source | None:
        """The source that this one reads from; None if it finds its records itself."""
        source = getattr(self, "source", None)
        return source if isinstance(source, Source) else None

    @abstractmethod
    def read(self) -> Splits:
        """Find the records of every split.

        Raises:
            DataError: nothing can be read; the message starts with `file:line:` if it can.
        """

    def whole(self, split: str) -> Iterable[Found]:
        """Return every record of a split; if it is a share of train, every record of train.

        Args:
            split: one of `SPLITS`.

        Raises:
            DataError: as `read`.
        """
        return self.read().by_name()[split]

    def examples(self) -> Iterable[Found]:
        """Return records that show the input of a model: those that are read fastest."""
        return self.read().test

    def inputs(self) -> list[Path]:
        """Return every file that `read` depends on: the cache is valid until one changes.

        Without files, each run prepares the data in memory.
        """
        return []

    def warnings(self) -> list[str]:
        """Return warnings about the records that were read."""
        return [] if self.wrapped is None else self.wrapped.warnings()

    def passed_over(self) -> list[str]:
        """Return warnings about ignored files; known after `read` or `inputs`."""
        return [] if self.wrapped is None else self.wrapped.passed_over()

    def keep_together(self, columns: Sequence[str]) -> None:
        """Set the columns that identify an item, before reading; equal records are one item.

        Those are the columns of x, or of y if a model generates it (`data/field_checks.py`). A
        source never puts one item in two splits, unless its own arguments demand it.
        """
        if self.wrapped is not None:
            self.wrapped.keep_together(columns)

    def choose_fold(self, fold: Fold) -> None:
        """Split into folds instead of shares, before reading: one is tested, all others trained on.

        Raises:
            ConfigError: the source cannot be split into folds.
        """
        if self.wrapped is None:
            text = f"{type(self).__name__} splits its records itself; allowed: null, or other data"
            raise ConfigError(f"data.folds={fold.of}: {text}")
        self.wrapped.choose_fold(fold)

    def count_folds(self) -> int:
        """Return how many folds there are, of a source that `choose_fold` has not refused.

        Raises:
            DataError: as `read`; there are too few items for the folds.
        """
        assert self.wrapped is not None, "choose_fold has refused it"
        return self.wrapped.count_folds()


class Field(ABC):
    """Turns one column of a record into numbers and back.

    Args:
        column: the key of the entry in a record.
    """

    kind: ClassVar[str]
    """The name of one of `seqpipe.data.kinds.KINDS`."""
    fitted: ClassVar[tuple[str, ...]] = ()
    """Attributes that `fit` sets and that are saved: numbers, text, their tuples, arrays."""
    augmentations: ClassVar[tuple[str, ...]] = ()
    """Arguments that change training batches only, see `augment`; off where 0 or None."""

    def __init__(self, column: str) -> None:
        self.column = column

    @property
    def form(self) -> Kind:
        """The kind as an object; known before `fit`."""
        return KINDS[self.kind]

    def fit(self, records: Iterable[Record]) -> None:  # noqa: B027
        """Learn classes, vocabulary or width from the training records; by default nothing.

        The records may not fit in memory: iterate over them once, and keep only what is needed.
        """

    def check(self, record: Record) -> None:
        """Refuse a record that `fit` cannot use; the field itself learns nothing.

        Raises:
            DataError: the record cannot be used.
        """
        copy.deepcopy(self).fit([record])

    def inputs(self) -> list[Path]:
        """Return every file that `fit` depends on, besides those of the source."""
        return []

    def state(self) -> dict[str, Any]:
        """Return the result of `fit`, to be saved."""
        return {name: getattr(self, name) for name in self.fitted}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the result of an earlier `fit`."""
        for name in self.fitted:
            setattr(self, name, state[name])

    @property
    def keeps_values(self) -> bool:
        """True where each number that is encoded is one of the record, scaled or not."""
        return True

    def weights(self) -> dict[str, Tensor]:
        """Return the weights, by name, of a network that encodes and is not trained."""
        return {}

    def restore_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Restore such weights; called before `restore`."""
        assert not weights, "of a field without a network"

    @abstractmethod
    def encode(self, record: Record) -> Tensor:
        """Return the entry as numbers, without batch axis: (T, D), (T,), (D,) or ()."""

    def encode_many(self, records: Sequence[Record]) -> list[Array | DataError]:
        """Encode entries together, which can take less time than one by one.

        Returns:
            of each entry its numbers, as `encode` has them, or the error that `encode` raises.
        """
        return [self._encode_or_error(record) for record in records]

    def _encode_or_error(self, record: Record) -> Array | DataError:
        try:
            return self.encode(record).numpy()
        except DataError as error:
            return error

    @property
    def augments(self) -> bool:
        """True if training batches hold changed copies of the examples."""
        return any(getattr(self, name) for name in self.augmentations)

    def augment(self, values: Array, rng: np.random.Generator) -> Array:
        """Return a changed copy of an encoded x, for one epoch of training.

        Args:
            values: as `encode` has them, without padding.
            rng: of this example in this epoch; the only source of random numbers.

        Returns:
            the same shape and type.
        """
        raise AssertionError(f"{type(self).__name__} has no augmentations")

    def misplaced(self, role: str, aligned: bool) -> Iterable[Problem]:
        """Yield arguments that were set and cannot be used here, each with the reason.

        Args:
            role: x or y.
            aligned: there is a y for each step of x.
        """
        text = "only x is augmented, since y is what is to be learned; allowed: leave it out"
        set_here = {name: getattr(self, name) for name in self.augmentations if role == "y"}
        return [Problem(name, value, text) for name, value in set_here.items() if value]

    def watch(self) -> None:  # noqa: B027
        """Prepare for the training split, which is encoded next; by default nothing."""

    def digit_loss(self, role: str) -> str | None:
        """Return a warning if numbers encoded since `watch` lost digits, else None.

        Args:
            role: x or y, for messages.

        Raises:
            DataError: they lost so many that nothing can be learned.
        """
        return None

    def encode_target(self, record: Record) -> Tensor:
        """Encode the entry as a target: text ends in <EOS>, others are as `encode` has them."""
        return self.encode(record)

    def truth(self, record: Record) -> str:
        """Return the raw text that answers are compared with; empty if answers are no texts."""
        return ""

    def typed(self, text: str) -> Any:
        """Convert text of a command line to an entry: by default the text itself.

        Raises:
            DataError: it means no entry.
        """
        return text

    @abstractmethod
    def decode(self, values: Tensor | Sequence[Any]) -> str:
        """Convert the numbers of one example to text for people."""

    @property
    @abstractmethod
    def spec(self) -> FieldSpec:
        """The properties that a model must know; available after `fit`."""

    def describe(self, counts: Mapping[str, np.ndarray[Any, np.dtype[np.int64]]]) -> str:
        """Return a short description of the fitted field.

        Args:
            counts: how often each class or symbol occurs, (size,), by split; empty for floats.
        """
        spec = self.spec
        return f"{spec.kind} ({spec.size})"

    def notes(self, key: str) -> list[str]:
        """Return warnings about the training data; key: of the field in the configuration."""
        return []

    def steps(self, value: Any) -> tuple[list[str], Callable[[Sequence[str]], str]]:
        """Return the text of each step of a raw entry, if any, and a function that joins them."""
        is_list = isinstance(value, (list, tuple))
        return [str(one) for one in value] if is_list else [], " ".join

    def between(self, before: str, text: str) -> str:
        """Return the white space between a text and its continuation."""
        return ""

    def value(self, record: Record) -> Any:
        """Return the raw entry.

        Raises:
            DataError: the record has no such column, or no value there.
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
        """Refuse text that is empty or only white space.

        Raises:
            DataError: it is.
        """
        if is_blank(record[self.column]):
            self.refuse(record[self.column], "is empty; allowed: text")

    def refuse(self, value: object, problem: str) -> NoReturn:
        """Raise a DataError that shows the entry, shortened to fit a line."""
        shown = shown if len(shown := repr(value)) <= 60 else f"{shown[:57]}..."
        raise DataError(f"{self.column}={shown}: {problem}")


@dataclass
class SequenceBatch:
    """A padded batch. Padding is 0; lengths are None without a time axis.

    Args:
        x: (B, T_x, D), (B, T_x), (B, D) or (B,), by its kind; None for a language model.
        x_lengths: (B,) int64, real steps of x.
        y: (B,), (B, K) or (B, T_y), by its kind.
        y_lengths: (B,) int64, real steps of y.
        index: (B,) int64, the example of the split; in lanes, the document.
        lane: (B,) int64, the lane whose state a row continues; None if no state is carried.
        fresh: (B,) bool, True for a row of a lane that starts from the initial state.
        repeated: (B,) bool, all True, for a batch that is repeated to fill the last round of
            several processes: it counts in no update and no metric. None for all others.
        texts: the raw y of each row, if y is a text that answers x; "" if ids suffice.
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

    def to(self, device: torch.device | str, non_blocking: bool | None = None) -> SequenceBatch:
        """Return the batch on another device, lengths included: masks are made there.

        Args:
            device: for the batch.
            non_blocking: do not wait for the copy; None: a copy to a GPU is not waited for, as
                what reads it there comes after it.
        """
        if non_blocking is None:
            non_blocking = torch.device(device).type != "cpu"
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> SequenceBatch:
        """Return the batch in page-locked memory, from which a GPU copies while it computes."""
        return self._map(lambda tensor: tensor.pin_memory())

    def row(self, number: int) -> SequenceBatch:
        """Return one example of the batch, with its padding."""
        return self.rows(slice(number, number + 1))

    def rows(self, chosen: slice | Tensor) -> SequenceBatch:
        """Return some examples of the batch, with their padding.

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
