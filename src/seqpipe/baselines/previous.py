"""Steps of y in training as one array, and the step before each step of a batch."""

import numpy as np
import torch
from torch import Tensor

from seqpipe.data.base import SequenceBatch
from seqpipe.data.columns import Array, Column, Integers
from seqpipe.models.decoding import next_input

MOST_STEPS = 5_000_000
"""Steps of the training split that are counted; of a longer split the first ones."""


class Previous:
    """The step before each step of y; over the border of two batches where a lane continues."""

    def __init__(self) -> None:
        self._last: dict[int, Tensor] = {}  # by lane

    def of(self, batch: SequenceBatch, first: Tensor) -> Tensor:
        """Return what a model reads at each step, of the shape of y.

        Args:
            batch: with y (B, T_y) or (B, T_y, K); lanes in the order in which they are tested.
            first: what stands before the first step, () or (K,).
        """
        assert batch.y_lengths is not None
        before = first.expand(batch.y[:, 0].shape)
        if batch.lane is not None and batch.fresh is not None:
            lanes, fresh = batch.lane.tolist(), batch.fresh.tolist()
            rows = zip(lanes, fresh, before, strict=True)
            before = torch.stack([one if new else self._last[lane] for lane, new, one in rows])
            ends = batch.y[torch.arange(len(batch)), batch.y_lengths - 1]
            self._last |= dict(zip(lanes, ends, strict=True))
        return next_input(batch.y, before)


def all_steps(column: Column) -> tuple[Array, Integers]:
    """Return the steps of whole sequences, and the place where each sequence starts.

    Windows are not cut: (steps, ...) and (sequences,). At most `MOST_STEPS`, the first ones.
    """
    end = min(column.steps, MOST_STEPS)
    starts = column.starts()[:-1]
    return column.span(0, end), starts[starts < end]


def with_previous(steps: Array, starts: Integers, first: int) -> Array:
    """Return the step before each step, of the shape of steps; `first` before a sequence."""
    before = np.empty_like(steps)
    before[1:] = steps[:-1]
    before[starts] = first
    return before
