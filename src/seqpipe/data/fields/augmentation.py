"""Random changes of one encoded example, for training: noise, time warps, masks, other symbols.

Each returns a new array of the same shape and type. All random numbers come from `rng`.
"""

from typing import Annotated, Any

import numpy as np

from seqpipe.data.columns import Array
from seqpipe.data.number_precision import Floats
from seqpipe.rules import real

Noise = Annotated[float, real("[0, 1e+37]").because("as float32 holds it")]
"""A deviation in any units: numbers that are not standardised may be large."""
TimeWarp = Annotated[float, real("[0, 2]")]
"""The deviation of a logarithm: at 2 a typical part is seven times faster or slower."""

_KNOTS = 6  # random speeds of a time warp, evenly spaced, first and last step included
_LARGEST_SHARE = 0.2  # of the steps, that one mask may hide


def with_noise(values: Floats, deviation: float, rng: np.random.Generator) -> Floats:
    """Add independent Gaussian noise to every number.

    Args:
        values: (T, D).
        deviation: standard deviation of the noise, in the units of `values`.
        rng: the source of random numbers.

    Source: Um et al. (2017), "Data augmentation of wearable sensor data for Parkinson's disease
    monitoring using convolutional neural networks", "jittering"; Sietsma & Dow (1991).
    """
    noise = rng.standard_normal(values.shape, dtype=np.float32)
    return values + np.float32(deviation) * noise


def time_warped(values: Floats, strength: float, rng: np.random.Generator) -> Floats:
    """Speed a series up and slow it down along a smooth random curve; T and both ends stay.

    The logarithm of the speed is Gaussian at six steps, evenly spaced, and linear between them,
    so that time never runs backwards. Values between two steps are interpolated linearly.

    Args:
        values: (T, D).
        strength: standard deviation of the logarithm of the speed; 0.2 is a fifth faster or
            slower.
        rng: the source of random numbers.

    Source: Um et al. (2017), "time-warping"; there a cubic spline through speeds around 1.
    """
    T = len(values)
    knots = strength * rng.standard_normal(_KNOTS)
    if T < 3:  # both ends are fixed
        return values.copy()
    speeds = np.exp(np.interp(np.linspace(0, _KNOTS - 1, T - 1), np.arange(_KNOTS), knots))
    times = np.concatenate([[0.0], np.cumsum(speeds)])
    times *= (T - 1) / times[-1]
    before = np.minimum(times.astype(np.int64), T - 2)
    share = (times - before).astype(np.float32)[:, None]
    warped: Floats = (1 - share) * values[before] + share * values[before + 1]
    return warped


def masked_steps(values: Floats, count: int, longest: int, rng: np.random.Generator) -> Floats:
    """Set the numbers of some runs of steps to 0, the mean of normalised numbers.

    Args:
        values: (T, D).
        count: runs; they may overlap.
        longest: most steps of a run, and never more than a fifth of all.
        rng: the source of random numbers.

    Source: Park et al. (2019), "SpecAugment", section 2, time masking, with p = 0.2: a run has
    t steps, uniform in [0, longest], and starts at a step that is uniform in [0, T - t).
    """
    masked, T = values.copy(), len(values)
    for _ in range(count):
        start, end = _run(T, min(longest, int(_LARGEST_SHARE * T)), rng)
        masked[start:end] = 0
    return masked


def masked_bands(
    values: Floats, bands: int, count: int, widest: int, rng: np.random.Generator
) -> Floats:
    """Set some runs of neighbouring bands to 0 in every step, and what was derived from them.

    Args:
        values: (T, N * bands), the bands of one frame N times: its energies, their derivatives,
            and those of the other frames of the step.
        bands: of a frame.
        count: runs; they may overlap.
        widest: most bands of a run.
        rng: the source of random numbers.

    Source: Park et al. (2019), section 2, frequency masking: a run has f bands, uniform in
    [0, widest], and starts at a band that is uniform in [0, bands - f).
    """
    masked = values.copy()
    by_band = masked.reshape(len(values), -1, bands)  # a view
    for _ in range(count):
        start, end = _run(bands, min(widest, bands), rng)
        by_band[:, :, start:end] = 0
    return masked


def _run(size: int, longest: int, rng: np.random.Generator) -> tuple[int, int]:
    """A run of 0 to `longest` of `size` places: the first, and the one after the last."""
    length = int(rng.integers(0, longest + 1))
    start = int(rng.integers(0, max(1, size - length)))
    return start, start + length


def replaced(ids: Array, share: float, other: Any, rng: np.random.Generator) -> Array:
    """Replace each id with the given probability.

    Args:
        ids: (T,).
        share: the probability.
        other: the id to write, or one for each step, (T,).
        rng: the source of random numbers.

    Source: Iyyer et al. (2015), "Deep unordered composition rivals syntactic methods for text
    classification", section 3.1, word dropout; as <UNK>, Bowman et al. (2016), "Generating
    sentences from a continuous space", section 3.
    """
    chosen: Array = np.where(rng.random(len(ids)) < share, other, ids).astype(ids.dtype)
    return chosen
