"""Training batches of changed examples, new in each epoch.

The changes of an example depend on the seed, the epoch and the example alone: not on the batch
that it is in, on loader processes, or on where a training was resumed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from seqpipe.data.base import SequenceBatch
from seqpipe.data.batching import Batches
from seqpipe.data.columns import Array
from seqpipe.data.sampling import BatchSampler

_STREAM = 0x41554721  # sets these random numbers apart from those of the order of batches


class InEpoch:
    """A sampler whose batches carry the number of the epoch, to loader processes as well.

    Args:
        order: the sampler.
    """

    def __init__(self, order: BatchSampler) -> None:
        self.order = order
        self.sampler = order  # Lightning calls set_epoch there

    def __len__(self) -> int:
        """Batches of this rank in a whole epoch."""
        return len(self.order)

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        """Yield the epoch with each of the rest of its batches."""
        epoch = self.order.epoch
        for asked in self.order:
            yield epoch, asked


class Augmented(Batches):
    """Batches whose x is a changed copy of the examples.

    Args:
        batches: of the examples as they are.
        augment: changes one x, see `Field.augment`.
        seed: of the changes.
    """

    def __init__(
        self,
        batches: Batches,
        augment: Callable[[Array, np.random.Generator], Array],
        seed: int,
    ) -> None:
        super().__init__(batches.examples, batches.spec)
        self.batches, self.augment, self.seed = batches, augment, seed

    def __getitems__(self, asked: Any) -> SequenceBatch:
        """Return the batch that an `InEpoch` sampler chose, changed."""
        epoch, chosen = asked
        batch = self.batches.__getitems__(chosen)
        assert batch.x is not None, "a language model has no x to change"
        for row, (example, start) in enumerate(self.batches.keys(chosen)):
            rng = np.random.default_rng([_STREAM, self.seed, epoch, example, start])
            steps = None if batch.x_lengths is None else int(batch.x_lengths[row])
            values = batch.x[row, :steps]
            values.copy_(torch.from_numpy(self.augment(values.numpy(), rng)))
        return batch
