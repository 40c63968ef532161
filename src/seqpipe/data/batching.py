"""Examples to padded batches: what is stored, how it is padded, in which order it comes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset, Sampler

from seqpipe.data.base import FieldSpec, SequenceBatch, SequenceSpec

Counts = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Example:
    """One encoded example: its place in the split, x (None for a language model) and y."""

    index: int
    x: Tensor | None
    y: Tensor


@dataclass(frozen=True)
class Column:
    """One field of all examples in a single tensor, so that worker processes share it whole.

    Args:
        values: (sum of lengths, ...) where examples have time, else (examples, ...).
        bounds: (examples + 1,) where each example starts and the last ends; None without time.
    """

    values: Tensor
    bounds: np.ndarray[Any, np.dtype[np.int64]] | None

    @classmethod
    def of(cls, rows: Sequence[Tensor], has_time: bool) -> Column:
        """Join the encoded examples."""
        if not has_time:
            return cls(torch.stack(list(rows)), None)
        bounds = np.cumsum([0, *(len(row) for row in rows)], dtype=np.int64)
        return cls(torch.cat(list(rows)), bounds)

    @property
    def lengths(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Steps of each example, (examples,); 0 where there is no time axis."""
        if self.bounds is None:
            return np.zeros(len(self.values), dtype=np.int64)
        return np.diff(self.bounds)

    def counts(self, size: int) -> Counts | None:
        """How often each id occurs, (size,); None for floats."""
        if self.values.is_floating_point():
            return None
        return np.bincount(self.values.numpy().reshape(-1), minlength=size)

    def cut(self, window: int) -> Column:
        """Consecutive pieces of at most `window` steps; every step is in exactly one."""
        assert self.bounds is not None, "only a sequence can be cut"
        ends = self.bounds[1:]
        starts = [np.arange(a, b, window) for a, b in zip(self.bounds[:-1], ends, strict=True)]
        return Column(self.values, np.concatenate([*starts, ends[-1:]]))

    def __getitem__(self, index: int) -> Tensor:
        """One example, (T, ...) or (...)."""
        if self.bounds is None:
            return self.values[index]
        return self.values[self.bounds[index] : self.bounds[index + 1]]


class Examples(Dataset[Example]):
    """The encoded examples of a split."""

    def __init__(self, x: Column | None, y: Column) -> None:
        self.x = x
        self.y = y

    def __len__(self) -> int:
        """Examples in the split."""
        return len(self.y.lengths)

    def __getitem__(self, index: int) -> Example:
        """One example, unpadded."""
        return Example(index, None if self.x is None else self.x[index], self.y[index])

    def counts(self, spec: SequenceSpec) -> tuple[Counts | None, Counts | None]:
        """How often each class or symbol occurs in x and in y, (size,); None for floats."""
        x = None if self.x is None or spec.x is None else self.x.counts(spec.x.size)
        return x, self.y.counts(spec.y.size)

    @property
    def lengths(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Steps of x and y together, (examples,): what a row costs."""
        return self.y.lengths if self.x is None else self.x.lengths + self.y.lengths


def collate(examples: Sequence[Example], spec: SequenceSpec) -> SequenceBatch:
    """Pad examples with 0 to the longest of them.

    Args:
        examples: at least one.
        spec: tells which of x and y have a time axis.
    """
    x, x_lengths = None, None
    if spec.x is not None:
        x, x_lengths = _pad([e.x for e in examples if e.x is not None], spec.x)
    y, y_lengths = _pad([e.y for e in examples], spec.y)
    return SequenceBatch(x, x_lengths, y, y_lengths, torch.tensor([e.index for e in examples]))


def _pad(rows: list[Tensor], field: FieldSpec) -> tuple[Tensor, Tensor | None]:
    if not field.has_time:
        return torch.stack(rows).to(field.dtype), None
    padded = pad_sequence(rows, batch_first=True).to(field.dtype)  # may be kept in fewer bytes
    return padded, torch.tensor([len(row) for row in rows])


class BucketBatchSampler(Sampler[list[int]]):
    """Batches of similar length; a pure function of (seed, epoch), with a position to resume.

    Examples are shuffled, sorted by length within pools of some batches, cut into batches, and
    the batches shuffled. In training every rank gets equally many (some come twice if they do
    not divide, or the ranks would wait for each other); in evaluation nothing is shuffled and
    every example comes exactly once, so ranks may differ by one batch.

    Args:
        lengths: steps of each example, (examples,).
        batch_size: examples in a batch of one rank; the last batch may hold fewer.
        shuffle: training order, new in each epoch; False for evaluation.
        seed: of the order.
        pool: batches sorted together; more means less padding and less chance.
    """

    def __init__(
        self,
        lengths: Sequence[int] | np.ndarray[Any, np.dtype[np.int64]],
        batch_size: int,
        *,
        shuffle: bool,
        seed: int = 0,
        pool: int = 50,
    ) -> None:
        self.lengths = np.asarray(lengths)
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.pool = pool
        self.epoch = 0
        self.skip = 0  # batches of the epoch that an interrupted run has already seen
        self.sampler = self  # Lightning looks for set_epoch at batch_sampler.sampler only

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next."""
        self.epoch = epoch

    def batches(self) -> list[list[int]]:
        """The batches of this rank in this epoch, from the first."""
        rank, world = _rank_and_world()
        rng = np.random.default_rng([self.seed, self.epoch])
        n, width = len(self.lengths), self.pool * self.batch_size * world
        order = rng.permutation(n) if self.shuffle else np.arange(n)
        pools = [order[start : start + width] for start in range(0, n, width)]
        order = np.concatenate([p[np.argsort(self.lengths[p], kind="stable")] for p in pools])
        size = self._size(world)
        batches = [order[a : a + size].tolist() for a in range(0, n, size)]
        if not self.shuffle:
            return batches[rank::world]
        missing = -len(batches) % world
        batches += [batches[i % len(batches)] for i in range(missing)]
        # Neighbours go to the ranks together: they are equally long, so nobody waits.
        steps = [batches[start : start + world] for start in range(0, len(batches), world)]
        return [steps[i][rank] for i in rng.permutation(len(steps))]

    def _size(self, world: int) -> int:
        """Examples in a batch: fewer in an evaluation that would leave a rank without any."""
        if self.shuffle or len(self.lengths) > self.batch_size * (world - 1):
            return self.batch_size
        return max(1, len(self.lengths) // world)

    def __len__(self) -> int:
        """Batches of this rank in a whole epoch."""
        rank, world = _rank_and_world()
        batches = -(-len(self.lengths) // self._size(world))
        return -(-batches // world) if self.shuffle else len(range(rank, batches, world))

    def __iter__(self) -> Iterator[list[int]]:
        """The batches that are left of this epoch; the next epoch starts at the first."""
        skip, self.skip = self.skip, 0
        yield from self.batches()[skip:]


def _rank_and_world() -> tuple[int, int]:
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


class ResumableLoader(DataLoader[SequenceBatch]):
    """A loader that can say where it stands in an epoch and go on from there.

    Lightning keeps `state_dict()` in its checkpoints and calls `set_epoch` by itself.

    Args:
        examples: what to load.
        sampler: the order.
        spec: of the data, for padding.
        num_workers: processes; 0 loads in this one.
    """

    def __init__(
        self,
        examples: Examples,
        sampler: BucketBatchSampler,
        spec: SequenceSpec,
        num_workers: int = 0,
    ) -> None:
        self._handed_out = 0
        self._order = sampler
        super().__init__(
            examples,  # type: ignore[arg-type]  # the loader yields batches, not examples
            batch_sampler=sampler,
            collate_fn=partial(collate, spec=spec),
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
        """The batches of an epoch, or what is left of it after `load_state_dict`."""
        self._handed_out = self._order.skip
        for batch in super().__iter__():
            self._handed_out += 1  # counts what was handed out, not what workers prefetched
            yield batch
        self._handed_out = 0

    def state_dict(self) -> dict[str, int]:
        """How many batches of the epoch were handed out."""
        return {"batches": self._handed_out}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after the batches that were handed out; after all of them, with a new epoch."""
        self._order.skip = state["batches"] % max(1, len(self._order))
