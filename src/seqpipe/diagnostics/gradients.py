"""The gradient through time: its norm at each distance from the loss, half-life and horizon.

Shapes: B sequences, T steps, H = hidden_size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqpipe.data.base import SequenceBatch
from seqpipe.diagnostics.probe import LayerName, Recorded, StepwiseCopy, in_precision
from seqpipe.nn.precision import widest
from seqpipe.tasks.base import Task

Numbers = NDArray[np.float64]

HORIZON = 0.01  # of the peak
EXPLODES, STILL_GROWS = 100.0, 8.0  # growth in all, and over the farther half
SMALLEST = 1e-12  # of the peak; what is below is rounding, and not fitted
LONGEST_HALF_LIFE = 10  # times the distances seen: a longer one cannot be told from none
TOO_SHORT, SHORTEST = "too short", 3
VERDICTS = {"vanishing": -1, "healthy": 0, "exploding": 1}


@dataclass(frozen=True)
class Decay:
    """How the gradient changes with the distance from the loss.

    Args:
        decay: factor from one step to the step before it, of the fitted exponential; 1 is none.
        half_life: steps after which it is half, of the same fit; at most 10 times `distances`.
        horizon: distance from which on it stays under 1 % of its peak; `distances` if it never
            does.
        distances: how many were seen: 0 to `distances` - 1.
        growth: norm at the farthest distance over the largest of the nearest tenth.
        peak: the largest norm.
        verdict: `vanishing`: under 1 % of the peak within what was seen; `exploding`: 100 times
            as large far from the loss as at it, and still growing; `too short` to tell: fewer than
            three steps; else `healthy`.
    """

    decay: float
    half_life: float
    horizon: int
    distances: int
    growth: float
    peak: float
    verdict: str

    @property
    def without_end(self) -> bool:
        """Whether the half-life is longer than can be told."""
        return self.half_life >= LONGEST_HALF_LIFE * self.distances

    def scalars(self) -> dict[str, float]:
        """What is worth a column: half-life, horizon, decay, verdict (-1, 0, 1).

        Nothing where too few steps were seen to tell.
        """
        if self.verdict == TOO_SHORT:
            return {}
        return {
            "half_life": self.half_life,
            "horizon": float(self.horizon),
            "decay": self.decay,
            "verdict": float(VERDICTS[self.verdict]),
        }

    def words(self) -> str:
        """The verdict with the numbers behind it, for a person."""
        if self.peak == 0.0:
            return "no gradient at all: the loss does not depend on any step"
        if self.verdict == TOO_SHORT:
            steps = "step" if self.distances == 1 else "steps"
            return f"too short to tell: {self.distances} {steps}"
        seen = self.distances - 1
        if self.verdict == "exploding":
            if not math.isfinite(self.growth):
                return "exploding: the gradient is no longer a number"
            times = f"{self.growth:.2g} times as large {seen} steps from the loss as at it"
            return f"exploding: {times} (a factor of {self.decay:.3g} a step)"
        if self.verdict == "vanishing":
            reach = f"under 1 % of its peak from {self.horizon} of {seen} steps back on"
        else:
            reach = f"over 1 % of its peak as far as {seen} steps back"
        half = f"half-life {self.half_life:.3g} steps"
        if self.without_end:
            half = "no decay to speak of"
        return f"{self.verdict}: {reach}, {half}"


def decay_of(norms: Numbers) -> Decay:
    """Fits norms by distance.

    Args:
        norms: (D,), mean norm of dL/dh at distance 0, 1, ... from the loss; D at least 1.
    """
    D = len(norms)
    peak = float(norms.max())
    if not np.isfinite(norms).all():
        return Decay(math.nan, math.nan, D, D, math.inf, math.inf, "exploding")
    if peak == 0.0:
        return Decay(0.0, 0.0, 0, D, 0.0, 0.0, "vanishing")
    far = np.flatnonzero(norms >= HORIZON * peak)[-1] + 1
    slope = _slope(norms, peak)
    longest = float(LONGEST_HALF_LIFE * D)
    half_life = min(longest, math.log(2) / -slope) if slope < 0 else longest
    near = float(norms[: max(1, D // 10)].max())
    growth = float(norms[-1]) / near if near > 0 else math.inf
    verdict = "healthy" if D >= SHORTEST else TOO_SHORT
    if growth >= EXPLODES and _still_grows(norms):
        verdict = "exploding"
    elif far < D and D >= SHORTEST:
        verdict = "vanishing"
    return Decay(math.exp(slope), half_life, int(far), D, growth, peak, verdict)


def overall(decays: list[Decay]) -> Decay:
    """What holds of a model: it explodes where one layer does, and remembers as long as its best.

    Args:
        decays: of its layers, at least one.
    """
    worst = [one for one in decays if one.verdict == "exploding"]
    if worst:
        return max(worst, key=lambda one: (one.growth, one.peak))
    told = [one for one in decays if one.verdict != TOO_SHORT] or decays
    return max(told, key=lambda one: (one.horizon / one.distances, one.half_life))


def _slope(norms: Numbers, peak: float) -> float:
    """Of the logarithm, least squares, from where it is largest on; of all of it if it grows."""
    start = int(norms.argmax())
    if start > (len(norms) - 1) // 2:
        start = 0
    distances = np.arange(start, len(norms))
    counted = norms[start:] > SMALLEST * peak
    if counted.sum() < 2:
        return math.log(SMALLEST) if start == 0 < len(norms) - 1 and norms[0] > 0 else 0.0
    x, y = distances[counted], np.log(norms[start:][counted])
    return float(np.polyfit(x, y, 1)[0])


def _still_grows(norms: Numbers) -> bool:
    """Growth that does not slow down.

    Under mean pooling, or attention, a far step has its say in every later one: the gradient then
    grows in proportion to the distance, and only doubles over the farther half.
    """
    return len(norms) > 2 and bool(norms[-1] >= STILL_GROWS * norms[(len(norms) - 1) // 2])


@dataclass(frozen=True)
class ThroughTime:
    """Norms of dL/dh_t of one layer, the total derivative, of each sequence.

    Args:
        layer: which.
        loss: what L is. `whole`: the loss as trained, of the batch, times B, so that a sequence's
            gradient does not shrink with the number of sequences. `last`: likewise of one step of
            y only, the one that this layer comes to last (the first, for a backward one).
        norms: (B, T) float64 by distance from the loss, counted in steps as the layer reads:
            column 0 holds the last real step it read of each sequence; what is behind the length
            counts for nothing.
        lengths: (B,) real steps.
        fits: the loss by which the distance from it is what `decay` is about.
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
        """(B, T), True where a sequence reaches so far."""
        mask: NDArray[np.bool_] = np.arange(self.norms.shape[1]) < self.lengths[:, None]
        return mask

    def decay(self) -> Decay:
        """What the norms say."""
        return decay_of(self.by_distance())


def through_time(copy: StepwiseCopy, task: Task, batch: SequenceBatch) -> list[ThroughTime]:
    """Norms of dL/dh_t for every recurrent layer and direction of a model.

    Args:
        copy: of the model.
        task: says what L is.
        batch: where the model is; floats in any precision.

    Returns:
        one for each layer and loss.
    """
    batch = in_precision(batch, copy.dtype)
    with torch.enable_grad(), torch.autocast(batch.y.device.type, enabled=False):
        outputs = copy.model(batch.x, batch.x_lengths, batch.y, batch.y_lengths)
        layers = [layer for layer in copy.layers if _is_of(layer, batch)]
        found: list[ThroughTime] = []
        for loss, of in _losses(task, outputs, batch):
            wanted = [layer for layer in layers if _concerns(loss, layer)]
            if wanted:
                total = task.loss(*of, training=True) * len(batch)
                found += _measured(loss.split()[0], total, wanted, copy, task.by_step(batch))
    return found


def _losses(
    task: Task, outputs: Tensor, batch: SequenceBatch
) -> Iterator[tuple[str, tuple[Tensor, SequenceBatch]]]:
    """What is differentiated: the whole loss, and where each step has one of its own, one step's.

    For the backward direction it is the first step's, which it comes to last.
    """
    yield "whole", (outputs, batch)
    if task.by_step(batch):
        yield "last forwards", task.one_step(outputs, batch, first=False)
        yield "last backwards", task.one_step(outputs, batch, first=True)


def _concerns(loss: str, layer: Recorded) -> bool:
    return loss == "whole" or loss.endswith("backwards") == layer.reverse


def _is_of(layer: Recorded, batch: SequenceBatch) -> bool:
    """Whether its sequences are those of the batch, and not the characters of each word."""
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
    """(B, T) in the order of reading, to (B, T) with the last real step first, 0 behind."""
    place = lengths[:, None] - 1 - np.arange(norms.shape[1])
    aligned = np.take_along_axis(norms, np.maximum(place, 0), axis=1)
    aligned[place < 0] = 0.0
    return aligned
