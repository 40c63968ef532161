"""Padded batches of encoded examples, and the loader that makes them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from seqpipe.data.base import FieldSpec, SequenceBatch, SequenceSpec
from seqpipe.data.columns import Array, Column, Integers
from seqpipe.data.sampling import BatchSampler, Repeated


@dataclass(frozen=True, slots=True)
class Example:
    """One encoded example: its number in the split, x (None for a language model) and y."""

    index: int
    x: Tensor | None
    y: Tensor


class Examples(Dataset[Example]):
    """The encoded examples of a split.

    Args:
        x: None for a language model.
        y: as many examples as x.
        text: the raw y of each, as UTF-8, if answers are compared with it; else None.
    """

    def __init__(self, x: Column | None, y: Column, text: Column | None = None) -> None:
        self.x = x
        self.y = y
        self.text = text

    def __len__(self) -> int:
        """Examples in the split."""
        return len(self.y)

    def __getitem__(self, index: int) -> Example:
        """Return one example, unpadded."""
        return Example(index, None if self.x is None else self.x[index], self.y[index])

    def batch(self, indices: Sequence[int], spec: SequenceSpec) -> SequenceBatch:
        """Make a batch of some examples, padded with 0 to the longest of them.

        Args:
            indices: at least one.
            spec: says which of x and y have a time axis.
        """
        x, x_lengths = None, None
        if self.x is not None and spec.x is not None:
            x, x_lengths = padded(self.x, indices, spec.x)
        y, y_lengths = padded(self.y, indices, spec.y)
        texts = None
        if self.text is not None:
            raw = (self.text.array(i).tobytes() for i in indices)
            texts = tuple(one.decode(errors="replace") for one in raw)  # a cache may be damaged
        return SequenceBatch(x, x_lengths, y, y_lengths, torch.tensor(indices), texts=texts)

    @property
    def lengths(self) -> Lengths:
        """Steps of x and y together, (examples,): the cost of a row."""
        return Lengths(self, np.sum)

    @property
    def longer(self) -> Lengths:
        """Steps of the longer of x and y, (examples,)."""
        return Lengths(self, np.max)


class Lengths:
    """The lengths of examples, computed when they are indexed, to save memory.

    Args:
        examples: the examples.
        combine: combines the lengths of x and y.
    """

    def __init__(self, examples: Examples, combine: Callable[..., Any]) -> None:
        self.columns = [c for c in (examples.x, examples.y) if c is not None]
        self.combine = combine

    def __len__(self) -> int:
        """Examples."""
        return len(self.columns[0])

    def __getitem__(self, indices: Array) -> Integers:
        """Steps of some examples. indices: (N,). Returns (N,)."""
        parts = [column.lengths_of(indices) for column in self.columns]
        combined: Integers = self.combine(parts, axis=0)
        return combined


def padded(
    column: Column, indices: Sequence[int] | Array, field: FieldSpec
) -> tuple[Tensor, Tensor | None]:
    """Put some examples of a column in one tensor, padded with 0.

    Args:
        column: of all examples.
        indices: at least one.
        field: says the type of the numbers.

    Returns:
        (B, T, ...) and lengths (B,), or (B, ...) and None.
    """
    values, lengths = column.padded(np.asarray(indices))
    numbers = torch.from_numpy(values).to(field.dtype)
    return numbers, None if lengths is None else torch.from_numpy(lengths)


def pad(rows: Sequence[Array], field: FieldSpec) -> tuple[Tensor, Tensor | None]:
    """Put rows of different length in one tensor, padded with 0.

    Args:
        rows: of each example (T, ...) or, without time, (...).
        field: says whether there is time, and the type of the numbers.

    Returns:
        (B, T, ...) and lengths (B,), or (B, ...) and None.
    """
    if not field.has_time:
        return torch.from_numpy(np.stack(rows)).to(field.dtype), None
    lengths = [len(row) for row in rows]
    # Padded in the stored type, which has fewer bytes: copying takes most of the time.
    padded = np.zeros((len(rows), max(lengths), *rows[0].shape[1:]), dtype=rows[0].dtype)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = row
    return torch.from_numpy(padded).to(field.dtype), torch.tensor(lengths)


class Batches:
    """The data set of the loader, whose items are whole batches."""

    def __init__(self, examples: Examples, spec: SequenceSpec) -> None:
        self.examples, self.spec = examples, spec

    def __len__(self) -> int:
        """Examples in the split."""
        return len(self.examples)

    def __getitems__(self, asked: Any) -> SequenceBatch:
        """Return the batch of the examples that a sampler chose."""
        return mark_repeated(self.examples.batch(asked, self.spec), asked)

    def keys(self, asked: Any) -> list[tuple[int, int]]:
        """Return the example of each row, and the step of it where the row starts."""
        return [(index, 0) for index in asked]


def mark_repeated(batch: SequenceBatch, asked: Any) -> SequenceBatch:
    """Mark the batch if the sampler repeats it."""
    if not isinstance(asked, Repeated):
        return batch
    return replace(batch, repeated=torch.ones(len(batch), dtype=torch.bool))


def _unchanged(batch: Any) -> SequenceBatch:
    assert isinstance(batch, SequenceBatch)
    return batch


class ResumableLoader(DataLoader[SequenceBatch]):
    """A loader whose position within an epoch can be saved and restored.

    Lightning keeps `state_dict()` in its checkpoints and calls `set_epoch` by itself.

    Args:
        batches: the data set, whose items are batches.
        sampler: the order.
        num_workers: processes; 0 loads in this one.
        asked: what `batches` are asked for, in the order of `sampler`; None: what it yields.

    Attributes:
        seconds: time waited for the last batch.
    """

    def __init__(
        self,
        batches: Batches,
        sampler: BatchSampler,
        num_workers: int = 0,
        asked: Any = None,
    ) -> None:
        self._handed_out = 0
        self.seconds = 0.0
        self._batches, self._order = batches, sampler
        self._asked = sampler if asked is None else asked
        super().__init__(
            batches,  # type: ignore[arg-type]  # yields batches, not examples
            batch_sampler=self._asked,
            collate_fn=_unchanged,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            # Its own generator: iterating must not move the global one that dropout draws from.
            generator=torch.Generator().manual_seed(sampler.seed),
        )

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next."""
        self._order.set_epoch(epoch)

    def __iter__(self) -> Iterator[SequenceBatch]:  # type: ignore[override]
        """Yield the batches of an epoch, or the rest of it after `load_state_dict`."""
        self._handed_out = self._order.skip
        started = time.perf_counter()
        for batch in super().__iter__():
            self._handed_out += 1  # batches that were handed out, not those prefetched by workers
            self.seconds = time.perf_counter() - started
            yield batch
            started = time.perf_counter()
        self._handed_out = 0

    def first(self, count: int) -> list[SequenceBatch]:
        """Return the next batches of the epoch, made in this process; the position stays."""
        position = self._order.skip
        asked = list(islice(self._asked, count))
        self._order.skip = position
        return [self._batches.__getitems__(one) for one in asked]

    def here(self) -> Iterator[SequenceBatch]:
        """Yield the batches of the epoch, made in this process without workers."""
        for asked in self._order:
            yield self._batches.__getitems__(asked)

    def state_dict(self) -> dict[str, int]:
        """Return the number of batches of the epoch that were handed out."""
        return {"batches": self._handed_out}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue after the batches that were handed out; after all, with a new epoch."""
        self._order.skip = state["batches"] % max(1, len(self._order))
