"""Baselines of numbers: their mean, and a value of x again."""

import numpy as np
import torch
from torch import Tensor

from seqpipe.baselines.base import ByOutputs, Judge, Skipped
from seqpipe.baselines.linear import Inputs
from seqpipe.baselines.previous import all_steps
from seqpipe.data.base import FieldSpec, SequenceBatch
from seqpipe.data.columns import Array, Integers
from seqpipe.data.dataset import SequenceData

LONGEST_SEASON = 400
"""Steps of x among which a season is looked for."""
SEASONAL = 0.7
"""The correlation from which on there is a season."""
USEFUL = 1.2
"""A value of x is a forecast of y if its error in training is at most so many times the mean's."""


class Mean(ByOutputs):
    """The mean of training, for each of the K numbers."""

    phrase = "the mean of training"

    def __init__(self, task: Judge) -> None:
        super().__init__(task, "mean")

    def fit(self, data: SequenceData) -> None:
        """Take the mean."""
        chunks = [chunk.values for chunk in data.columns("train").y.chunks]
        count = sum(map(len, chunks))
        total = sum(values.sum(axis=0, dtype=np.float64) for values in chunks)
        self._mean = torch.from_numpy(np.asarray(total / count))

    def outputs(self, batch: SequenceBatch) -> Tensor:
        """Return (B, K) or (B, T, K)."""
        return self._mean.expand(batch.y.shape)


class Last(ByOutputs):
    """The last value of x again, in the channel that is closest to y in training.

    Args:
        task: with numbers for a whole x, a series.
    """

    phrase = "the last value of x"

    def __init__(self, task: Judge, name: str = "last") -> None:
        super().__init__(task, name)

    def fit(self, data: SequenceData) -> None:
        """Choose the value of x that each of the K numbers repeats, see `chosen`."""
        self._x, self._y, train = _values_of_x(data), self.task.y, Inputs(data, "train")
        y = self._y.in_units(train.y.astype(np.float64))
        steps = min(LONGEST_SEASON, max(values.shape[1] for values, _ in train.blocks))
        x = np.concatenate([self._ends(*block, steps) for block in train.blocks])
        self._back, self._channel = self.chosen(x, y)

    def chosen(self, x: Array, y: Array) -> tuple[Integers, Integers]:
        """Return how many steps before its end x is read, from 1, and in which channel: (K,) each.

        Args:
            x: its last steps, (N, steps, D), in units of the data.
            y: (N, K), in units of the data.

        Raises:
            Skipped: no value of x is close to y.
        """
        errors = np.abs(x[:, -1, None] - y[:, :, None]).mean(axis=0)  # (K, D)
        _check_close(errors.min(axis=1), y)
        return np.ones(y.shape[1], dtype=np.int64), errors.argmin(axis=1)

    def outputs(self, batch: SequenceBatch) -> Tensor:
        """Return (B, K)."""
        assert batch.x is not None and batch.x_lengths is not None
        rows = torch.arange(len(batch)).unsqueeze(1)
        places = (batch.x_lengths.unsqueeze(1) - torch.from_numpy(self._back)).clamp(min=0)
        values = self._x.in_units(batch.x.double())[rows, places, torch.from_numpy(self._channel)]
        return _encoded(values, self._y)

    def _ends(self, values: Array, lengths: Integers | None, steps: int) -> Array:
        """The last steps of each x in units of the data, (N, steps, D).

        Where x is shorter, its first step fills the front.
        """
        assert lengths is not None
        places = (lengths[:, None] - np.arange(steps, 0, -1)).clip(min=0)
        ends = values[np.arange(len(values))[:, None], places].astype(np.float64)
        found: Array = self._x.in_units(ends)
        return found


class Seasonal(Last):
    """The value of x a season ago, for each step of a horizon.

    The season is found in training: the step of x whose difference to the last step correlates
    most with that of y. Without a season that correlation is 0 (a random walk) to 0.5 (noise).

    Args:
        task: as of `Last`.

    Source: Hyndman & Athanasopoulos (2021), "Forecasting: principles and practice", section 5.2,
        the seasonal naive method.
    """

    def __init__(self, task: Judge) -> None:
        super().__init__(task, "seasonal")

    def chosen(self, x: Array, y: Array) -> tuple[Integers, Integers]:
        """See `Last`.

        Raises:
            Skipped: there is no season.
        """
        last, places = x[:, -1], []
        behind = _standard(x - last[:, None])  # (N, steps, D)
        for number in range(y.shape[1]):
            ahead = _standard(y[:, number : number + 1] - last)  # (N, D)
            alike = (ahead[:, None] * behind).mean(axis=0)
            if alike.max() < SEASONAL:
                raise Skipped("no season in the steps of x")
            places.append(np.unravel_index(int(alike.argmax()), alike.shape))
        steps, channel = np.array(places).T
        back: Integers = x.shape[1] - steps
        self.phrase = f"the value of x {int(back.max())} steps before its end"
        return back, channel


def _standard(values: Array) -> Array:
    """To mean 0 and deviation 1 over the first axis; constants to 0."""
    apart = values - values.mean(axis=0)
    deviation = apart.std(axis=0)
    standard: Array = apart / np.where(deviation > 0, deviation, 1.0)
    return standard


class Present(ByOutputs):
    """The value of x at the same step: of a forecast for each step, the last one known.

    Args:
        task: with numbers for each step of x, as many as x has.
    """

    phrase = "the value of x at the same step"

    def __init__(self, task: Judge) -> None:
        super().__init__(task, "last")

    def fit(self, data: SequenceData) -> None:
        """Compare x with y.

        Raises:
            Skipped: x is not like y.
        """
        examples, self._x = data.columns("train"), _values_of_x(data)
        assert examples.x is not None
        if self._x.size != self.task.y.size:
            raise Skipped("x and y have different sizes")
        x = self._x.in_units(all_steps(examples.x)[0].astype(np.float64))
        y = self.task.y.in_units(all_steps(examples.y)[0].astype(np.float64))
        _check_close(np.abs(x - y).mean(axis=0), y)

    def outputs(self, batch: SequenceBatch) -> Tensor:
        """Return (B, T, K)."""
        assert batch.x is not None
        return _encoded(self._x.in_units(batch.x.double()), self.task.y)


def _values_of_x(data: SequenceData) -> FieldSpec:
    """The spec of x.

    Raises:
        Skipped: x does not hold the values of the data.
    """
    assert data.x is not None and data.spec.x is not None
    if not data.x.keeps_values:
        raise Skipped("x is read as differences, relative to a point, or in units of each example")
    return data.spec.x


def _check_close(errors: Array, y: Array) -> None:
    """Refuses values of x as forecasts of y where the mean of training is closer.

    Args:
        errors: mean distance of x to each of the K numbers, (K,).
        y: (N, K).

    Raises:
        Skipped: see `USEFUL`.
    """
    if (errors > USEFUL * np.abs(y - y.mean(axis=0)).mean(axis=0)).any():
        raise Skipped("no value of x is close to y")


def _encoded(values: Tensor, y: FieldSpec) -> Tensor:
    """Numbers in units of the data, as the field of y encodes them."""
    if y.mean is None or y.scale is None:
        return values
    return (values - values.new_tensor(y.mean)) / values.new_tensor(y.scale)
