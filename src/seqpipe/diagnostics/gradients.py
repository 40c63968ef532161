"""The gradient through time: how much the loss depends on h_t, step by step back from the loss.

Shapes: B sequences, T steps, H = hidden_size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqpipe.data.base import SequenceBatch
from seqpipe.diagnostics.stepwise import LayerName, Recorded, StepwiseCopy, in_precision
from seqpipe.nn.precision import widest
from seqpipe.report.decay import Decay, decay_of
from seqpipe.tasks.base import Task


@dataclass(frozen=True)
class ThroughTime:
    """Norms of dL/dh_t of one layer, the total derivative, of each sequence.

    Args:
        layer: its name.
        loss: `whole`: L is the loss of the batch as trained, times B, so that a sequence's
            gradient does not shrink with the number of sequences. `last`: the same of one step of
            y only, the one that this layer reads last (the first, for a backward one).
        norms: (B, T) float64 by distance from the loss, counted in steps as the layer reads:
            column 0 holds the last real step it read of each sequence; columns beyond the length
            are padding.
        lengths: (B,) real steps.
        fits: True for the loss whose distance `decay` describes.
    """

    layer: LayerName
    loss: str
    norms: NDArray[np.float64]
    lengths: NDArray[np.int64]
    fits: bool

    def by_distance(self) -> NDArray[np.float64]:
        """Mean norm at each distance, (D,), over the sequences that reach it.

        Cut where fewer than half do: beyond, the mean would be of other sequences.
        """
        real = self.real()
        counts = real.sum(axis=0)
        D = int((counts >= max(1.0, len(self.norms) / 2)).sum())
        mean: NDArray[np.float64] = np.where(real, self.norms, 0.0).sum(axis=0)[:D] / counts[:D]
        return mean

    def real(self) -> NDArray[np.bool_]:
        """A mask (B, T), True at real steps."""
        mask: NDArray[np.bool_] = np.arange(self.norms.shape[1]) < self.lengths[:, None]
        return mask

    def decay(self) -> Decay:
        """The decay of the norms with the distance."""
        return decay_of(self.by_distance())


def through_time(copy: StepwiseCopy, task: Task, batch: SequenceBatch) -> list[ThroughTime]:
    """Norms of dL/dh_t for every recurrent layer and direction of a model.

    Args:
        copy: of the model.
        task: computes the loss.
        batch: on the model's device; floats in any precision.

    Returns:
        one for each layer and loss.
    """
    batch = in_precision(batch, copy.dtype)
    with torch.enable_grad(), torch.autocast(batch.y.device.type, enabled=False):
        outputs = copy.model(batch.x, batch.x_lengths, batch.y, batch.y_lengths)
        for layer in copy.layers:
            if layer.loop.stepped:  # as many steps as y has, and padding is among them
                layer.loop.lengths = batch.y_lengths
        layers = [layer for layer in copy.layers if _is_of(layer, batch)]
        found: list[ThroughTime] = []
        for loss, of in _losses(task, outputs, batch):  # the whole one last: it may overwrite
            wanted = [
                layer
                for layer in layers
                if loss == "whole" or loss.endswith("backwards") == layer.reverse
            ]
            if wanted:
                total = task.training_loss(*of) * len(batch)
                found += _measured(loss.split()[0], total, wanted, copy, task.by_step(batch))
    return sorted(found, key=lambda one: one.loss != "whole")


def _losses(
    task: Task, outputs: Tensor, batch: SequenceBatch
) -> Iterator[tuple[str, tuple[Tensor, SequenceBatch]]]:
    """The losses to differentiate: the whole one, and of one step where each step has its own.

    For the backward direction it is the first step's, which it reads last.
    """
    if task.by_step(batch):
        yield "last forwards", task.one_step(outputs, batch, first=False)
        yield "last backwards", task.one_step(outputs, batch, first=True)
    yield "whole", (outputs, batch)


def _is_of(layer: Recorded, batch: SequenceBatch) -> bool:
    """False for a layer that reads something else, such as the characters of each word."""
    return bool(layer.loop.states) and len(layer.loop.states[0][0]) == len(batch)


def _measured(
    loss: str, total: Tensor, layers: Sequence[Recorded], copy: StepwiseCopy, by_step: bool
) -> Iterator[ThroughTime]:
    before: Any = getattr(copy.model, "read_before_y", ())
    steps = [[parts[0] for parts in layer.loop.states] for layer in layers]
    gradients = iter(
        torch.autograd.grad(
            total,
            [h for over_time in steps for h in over_time],
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
    )
    for layer, over_time in zip(layers, steps, strict=True):
        by_time = torch.stack(list(islice(gradients, len(over_time))), dim=1)  # (B, T, H)
        norms, lengths = (
            by_time.to(widest(by_time.device)).norm(dim=-1).cpu().numpy(),
            layer.lengths().cpu().numpy(),
        )
        own_loss = by_step and layer.name.stack not in before
        yield ThroughTime(
            layer.name,
            loss,
            _by_distance(norms, lengths),
            lengths,
            fits=loss == ("last" if own_loss else "whole"),
        )


def _by_distance(norms: NDArray[np.float64], lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """Reorders (B, T) from reading order to last real step first, zeros at the end."""
    place = lengths[:, None] - 1 - np.arange(norms.shape[1])
    aligned = np.take_along_axis(norms, np.maximum(place, 0), axis=1)
    aligned[place < 0] = 0.0
    return aligned
