"""Decay of gradient norms with the distance: half-life, memory horizon, verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

HORIZON = 0.01  # of the peak
EXPLODES, STILL_GROWS = 100.0, 8.0  # growth in all, and over the farther half
SMALLEST = 1e-12  # of the peak; smaller norms are rounding, and not fitted
LONGEST_HALF_LIFE = 10  # times the measured distances: longer ones cannot be distinguished
TOO_SHORT, SHORTEST = "too short", 3
VERDICTS = {"vanishing": -1, "healthy": 0, "exploding": 1}


@dataclass(frozen=True)
class Decay:
    """The change of the gradient with the distance from the loss.

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
        """True if the half-life is longer than can be measured."""
        return self.half_life >= LONGEST_HALF_LIFE * self.distances

    def scalars(self) -> dict[str, float]:
        """The numbers to record: half-life, horizon, decay, verdict (-1, 0, 1).

        Empty for sequences that are too short.
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
        """The verdict with its numbers, for a person."""
        if self.peak == 0.0:
            return "no gradient at all: the loss does not depend on any step"
        if self.verdict == TOO_SHORT:
            steps = "step" if self.distances == 1 else "steps"
            return f"too short to tell: {self.distances} {steps}"
        seen = self.distances - 1
        if self.verdict == "exploding":
            if not math.isfinite(self.growth):
                return "exploding: the gradient is not finite"
            times = f"{self.growth:.2g} times as large {seen} steps before the loss as at the loss"
            return f"exploding: {times} (a factor of {self.decay:.3g} per step)"
        if self.verdict == "vanishing":
            reach = f"below 1 % of its peak from {self.horizon} of {seen} steps back"
        else:
            reach = f"above 1 % of its peak as far as {seen} steps back"
        half = f"half-life {self.half_life:.3g} steps"
        if self.without_end:
            half = "no measurable decay"
        return f"{self.verdict}: {reach}, {half}"


def decay_of(norms: Numbers) -> Decay:
    """Fits an exponential to norms by distance.

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
    """The decay of a whole model: it explodes if one layer does, else its longest memory counts.

    Args:
        decays: of its layers, at least one.
    """
    worst = [one for one in decays if one.verdict == "exploding"]
    if worst:
        return max(worst, key=lambda one: (one.growth, one.peak))
    long_enough = [one for one in decays if one.verdict != TOO_SHORT] or decays
    return max(long_enough, key=lambda one: (one.horizon / one.distances, one.half_life))


def _slope(norms: Numbers, peak: float) -> float:
    """Least-squares slope of the logarithm, from the peak on; of all norms if they grow."""
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
    """True for growth that does not slow down.

    Under mean pooling, or attention, a far step contributes to every later one: the gradient then
    grows in proportion to the distance, and only doubles over the farther half.
    """
    return len(norms) > 2 and bool(norms[-1] >= STILL_GROWS * norms[(len(norms) - 1) // 2])
