"""Sampler for truncated back-propagation through time: a batch continues the one before it.

Truncated back-propagation through time (Williams & Peng 1990): the state passes from batch to
batch, the gradient does not.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Sampler

from seqpipe.data.base import SequenceBatch
from seqpipe.data.batching import Batches, Examples, mark_repeated, pad
from seqpipe.data.columns import Integers
from seqpipe.data.sampling import Repeated, rank_and_world


class Part(NamedTuple):
    """A part of one document: steps start..end, counted over all sequences."""

    document: int
    start: int
    end: int


class Piece(NamedTuple):
    """The steps of one lane in one batch.

    Args:
        lane: the lane whose state it continues.
        fresh: it is the first of its part, and starts in the initial state.
        document: the number of its document.
        start: its first step, counted over all sequences.
        end: the step after its last.
    """

    lane: int
    fresh: bool
    document: int
    start: int
    end: int


class LaneSampler(Sampler[list[Piece]]):
    """Documents in lanes, `bptt` steps at a time; a pure function of (seed, epoch).

    In training the documents, in an order drawn once, are concatenated and cut into lanes of
    equal length; each epoch reads the parts of every lane in a new order. So each step occurs once
    an epoch, and all epochs have the same number of batches. After the end of a document, the next
    one starts in the initial state. Every rank gets the same number of batches: a rank whose lanes
    have ended repeats them, as `Repeated` batches. In evaluation documents stay whole, a lane that
    has ended takes the next one, and no result depends on the number of lanes. (If there are fewer
    documents than ranks, they are cut, so that every rank has some.)

    Args:
        bounds: (documents + 1,) the first step of each document, and the end of the last.
        lanes: number of lanes of one rank: the batch size.
        bptt: steps of a batch.
        shuffle: training order, new in each epoch; False for evaluation.
        seed: of the order.
    """

    def __init__(
        self, bounds: Integers, lanes: int, bptt: int, *, shuffle: bool, seed: int = 0
    ) -> None:
        self.bounds, self.lanes, self.bptt = bounds, lanes, bptt
        self.shuffle, self.seed = shuffle, seed
        self.epoch = 0
        self.skip = 0  # batches of the epoch that an interrupted run has already seen
        self.sampler = self  # Lightning looks for set_epoch at batch_sampler.sampler only
        self._laid: dict[int, list[list[Part]]] = {}  # by the number of ranks
        self._count: dict[tuple[int, int], int] = {}  # batches, by rank and ranks

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next."""
        self.epoch = epoch

    def batches(self) -> Iterator[list[Piece]]:
        """Yield the batches of this rank in this epoch, from the first."""
        rank, world = rank_and_world()
        if not self.shuffle:
            yield from self._whole(rank, world)
            return
        everywhere = self._parts(world)
        rng = np.random.default_rng([self.seed, self.epoch])
        orders = [rng.permutation(len(parts)) for parts in everywhere]
        mine = slice(rank * self.lanes, (rank + 1) * self.lanes)
        lanes = [
            [parts[i] for i in order]
            for parts, order in zip(everywhere[mine], orders[mine], strict=True)
        ]
        given = 0
        while given < len(self):
            again = given > 0
            for batch in self._side_by_side(lanes):
                yield Repeated(batch) if again else batch
                given += 1
                if given == len(self):
                    return

    def _parts(self, world: int) -> list[list[Part]]:
        """The parts of each lane of all ranks in training; lanes have nearly the same length."""
        if world not in self._laid:
            self._laid[world] = self._lay(world)
        return self._laid[world]

    def _lay(self, world: int) -> list[list[Part]]:
        order = np.random.default_rng(self.seed).permutation(len(self.bounds) - 1)
        total = int(self.bounds[-1])
        count = min(self.lanes * world, total)
        ends = [total * (lane + 1) // count for lane in range(count)]
        lanes: list[list[Part]] = [[] for _ in range(max(count, self.lanes * world))]
        lane = laid = 0
        for document in order.tolist():
            start, end = int(self.bounds[document]), int(self.bounds[document + 1])
            while start < end:
                taken = min(end - start, ends[lane] - laid)
                lanes[lane].append(Part(document, start, start + taken))
                start, laid = start + taken, laid + taken
                lane += laid == ends[lane] and lane < count - 1
        return lanes

    def _side_by_side(self, lanes: list[list[Part]]) -> Iterator[list[Piece]]:
        running = [self._pieces(lane, parts) for lane, parts in enumerate(lanes)]
        while batch := [piece for lane in running if (piece := next(lane, None)) is not None]:
            yield batch

    def _pieces(self, lane: int, parts: list[Part]) -> Iterator[Piece]:
        for document, first, last in parts:
            for start in range(first, last, self.bptt):
                end = min(last, start + self.bptt)
                yield Piece(lane, start == first, document, start, end)

    def _whole(self, rank: int, world: int) -> Iterator[list[Piece]]:
        """Whole documents, each in the next free lane."""
        waiting = iter(self._documents(world)[rank::world])
        running: list[Iterator[Piece]] = []
        for lane in range(self.lanes):
            running.append(self._taking(lane, waiting))
        while batch := [piece for lane in running if (piece := next(lane, None)) is not None]:
            yield batch

    def _taking(self, lane: int, waiting: Iterator[Part]) -> Iterator[Piece]:
        for part in waiting:
            yield from self._pieces(lane, [part])

    def _documents(self, world: int) -> list[Part]:
        whole = [
            Part(document, int(start), int(end))
            for document, (start, end) in enumerate(pairwise(self.bounds))
        ]
        if len(whole) >= world:
            return whole
        cuts = range(world + 1)
        return [
            Part(document, start + (end - start) * a // world, start + (end - start) * b // world)
            for document, start, end in whole
            for a, b in pairwise(cuts)
        ]

    def __len__(self) -> int:
        """Batches of this rank in a whole epoch."""
        rank, world = rank_and_world()
        if (rank, world) not in self._count:
            if self.shuffle:
                parts = self._parts(world)
                count = max(sum(-(-(p.end - p.start) // self.bptt) for p in lane) for lane in parts)
            else:
                count = sum(1 for _ in self._whole(rank, world))
            self._count[rank, world] = count
        return self._count[rank, world]

    def __iter__(self) -> Iterator[list[Piece]]:
        """Yield the rest of this epoch's batches; the next epoch starts at the first."""
        skip, self.skip = self.skip, 0
        yield from itertools.islice(self.batches(), skip, None)


class LaneBatches(Batches):
    """The data set of the loader: a batch for the pieces of all lanes."""

    def __getitems__(self, asked: Any) -> SequenceBatch:
        """Make a batch of some pieces, padded to the longest of them."""
        pieces: list[Piece] = asked
        x, x_lengths = None, None
        spans = [(piece.start, piece.end) for piece in pieces]
        if self.examples.x is not None and self.spec.x is not None:
            x, x_lengths = pad([self.examples.x.span(*span) for span in spans], self.spec.x)
        y, y_lengths = pad([self.examples.y.span(*span) for span in spans], self.spec.y)
        batch = SequenceBatch(
            x,
            x_lengths,
            y,
            y_lengths,
            index=torch.tensor([piece.document for piece in pieces]),
            lane=torch.tensor([piece.lane for piece in pieces]),
            fresh=torch.tensor([piece.fresh for piece in pieces]),
        )
        return mark_repeated(batch, asked)

    def keys(self, asked: Any) -> list[tuple[int, int]]:
        """See `Batches`; of the document and its step, counted over all sequences."""
        return [(piece.document, piece.start) for piece in asked]


def documents(examples: Examples, goes_on: Integers) -> Integers:
    """Return the first step of each document, and the end of the last, (documents + 1,).

    Args:
        examples: rows, uncut.
        goes_on: (rows,) 1 if the next row continues the document.
    """
    starts = examples.y.starts()
    first = np.concatenate([[True], goes_on[:-1] == 0])
    return np.append(starts[:-1][first], starts[-1])
