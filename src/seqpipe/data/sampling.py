"""Samplers: the order of examples, and which of them make a batch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import numpy as np
from torch import distributed
from torch.utils.data import Sampler

from seqpipe.data.columns import Array, Integers

_ALONE = ContextVar("alone", default=False)


class BatchSampler(Protocol):
    """Batches of an epoch: a pure function of (seed, epoch), with a position to resume."""

    seed: int
    epoch: int
    skip: int

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next."""

    def __len__(self) -> int:
        """Batches of this rank in a whole epoch."""

    def __iter__(self) -> Iterator[Any]:
        """Yield the rest of this epoch's batches; the next epoch starts at the first."""


class HasLengths(Protocol):
    """Lengths of examples by index: an array, or an object that computes them."""

    def __len__(self) -> int:
        """Examples."""

    def __getitem__(self, indices: Array) -> Integers:
        """Steps of some examples. indices: (N,). Returns (N,)."""


class Repeated(list[Any]):
    """A batch that is repeated in its epoch, so that all processes get the same number."""


class BucketBatchSampler(Sampler[list[int]]):
    """Batches of similar length; a pure function of (seed, epoch), with a position to resume.

    Examples are shuffled, sorted by length within pools of some batches, cut into batches, and
    the batches are shuffled. In training every rank gets the same number of batches: some may be
    `Repeated`, which do not count the second time; else the ranks would wait for each other. In
    evaluation nothing is shuffled and every example occurs exactly once, so ranks may differ by
    one batch; the order is fixed, and its first batches are spread over all lengths, so that a
    limit on the number of batches does not measure the shortest sequences only.

    Args:
        lengths: steps of each example, (examples,), to sort by.
        batch_size: examples in a batch of one rank; the last batch may have fewer.
        shuffle: training order, new in each epoch; False for evaluation.
        seed: of the order.
        pool: batches sorted together; a larger pool has less padding and less randomness.
        batch_tokens: instead of `batch_size`: examples of similar length with at most this many
            steps, padding included; a longer one is a batch alone. All examples are sorted, equal
            lengths in random order, so each epoch has the same batches, in a new order.
        steps: of each example, (examples,), counted by `batch_tokens`; None: `lengths`.
    """

    def __init__(
        self,
        lengths: HasLengths,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int = 0,
        pool: int = 50,
        batch_tokens: int | None = None,
        steps: HasLengths | None = None,
    ) -> None:
        self.lengths: HasLengths = np.asarray(lengths) if isinstance(lengths, list) else lengths
        self.steps = self.lengths if steps is None else steps
        self.batch_size, self.batch_tokens = batch_size, batch_tokens
        self.shuffle = shuffle
        self.seed = seed
        self.pool = pool
        self.epoch = 0
        self.skip = 0  # batches of the epoch that an interrupted run has already seen
        self.sampler = self  # Lightning looks for set_epoch at batch_sampler.sampler only
        self._fixed = None if batch_tokens is None else self._by_tokens(batch_tokens)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next."""
        self.epoch = epoch

    def batches(self) -> Iterator[list[int]]:
        """Yield the batches of this rank in this epoch, from the first."""
        rank, world = rank_and_world()
        rng = np.random.default_rng([self.seed, self.epoch])
        n = len(self.lengths)
        if self._fixed is None:
            order = np.arange(n, dtype=np.uint32)
            order = rng.permutation(order) if self.shuffle else order
            starts = np.append(np.arange(0, n, self._size(world)), n)
            width = self.pool * self.batch_size * world
        else:
            (order, starts), width = self._fixed, 0
        count = len(starts) - 1
        numbers: Iterator[int] = iter(spread(count)[rank::world].tolist())
        if self.shuffle:
            # Neighbours have similar lengths: the ranks get them together, and none waits. If the
            # number of batches is no multiple of the ranks, the first are repeated.
            groups = rng.permutation(-(-count // world))
            numbers = (int(group * world + rank) for group in groups)
        sorted_pools: set[int] = set()
        for number in numbers:
            place = number % count
            start, end = int(starts[place]), int(starts[place + 1])
            if width:
                # Sorted when needed: sorting all pools at once would delay the first batch.
                for pool in range(start // width, -(-end // width)):
                    if pool not in sorted_pools:
                        sorted_pools.add(pool)
                        part = order[pool * width : (pool + 1) * width]
                        part[:] = part[np.argsort(self.lengths[part], kind="stable")]
            batch = order[start:end].tolist()
            yield batch if number < count else Repeated(batch)

    def _by_tokens(self, most: int) -> tuple[Array, Array]:
        """The order, and the start of each batch; the same in every epoch."""
        rng = np.random.default_rng(self.seed)
        order = rng.permutation(np.arange(len(self.steps), dtype=np.uint32))
        order = order[np.argsort(self.steps[order], kind="stable")]
        starts = [0]
        for end, length in enumerate(self.steps[order].tolist()):
            if end > starts[-1] and (end + 1 - starts[-1]) * length > most:
                starts.append(end)
        return order, np.array([*starts, len(order)])

    def _size(self, world: int) -> int:
        """Examples in a batch: fewer in an evaluation in which a rank would have none."""
        if self.shuffle or len(self.lengths) > self.batch_size * (world - 1):
            return self.batch_size
        return max(1, len(self.lengths) // world)

    def __len__(self) -> int:
        """Batches of this rank in a whole epoch."""
        rank, world = rank_and_world()
        fixed = self._fixed
        count = -(-len(self.lengths) // self._size(world)) if fixed is None else len(fixed[1]) - 1
        return -(-count // world) if self.shuffle else len(range(rank, count, world))

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the rest of this epoch's batches; the next epoch starts at the first."""
        skip, self.skip = self.skip, 0
        yield from itertools.islice(self.batches(), skip, None)


@contextmanager
def alone() -> Iterator[None]:
    """Give this process every example of a split, also where several train together."""
    token = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(token)


def rank_and_world() -> tuple[int, int]:
    """Return the rank of this process, and the number of processes that train together."""
    if not _ALONE.get() and distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def spread(count: int) -> Integers:
    """Return an order of 0..count-1 whose first elements are spread evenly over the range.

    Source: Weyl (1916), the multiples of the golden ratio modulo 1, here by their ranks.

    >>> spread(8).tolist()
    [3, 0, 5, 2, 7, 4, 1, 6]
    """
    places = (0.5 + np.arange(count) * ((5**0.5 - 1) / 2)) % 1.0
    ranks: Integers = np.argsort(np.argsort(places))
    return ranks


def evenly_spread(count: int, size: int) -> list[int]:
    """Choose `count` of `size` examples evenly, or as many as there are.

    >>> evenly_spread(4, 100)
    [0, 25, 50, 75]
    """
    count = min(count, size)
    return [place * size // count for place in range(count)]
