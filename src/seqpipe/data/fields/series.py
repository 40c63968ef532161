"""Numbers measured at each step, or all at once."""

import json
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, TypedDict

import numpy as np
import torch
from torch import Tensor

from seqpipe.bounds import checked
from seqpipe.data.base import Field, FieldSpec, Record
from seqpipe.data.columns import Array
from seqpipe.data.fields.augmentation import Noise, TimeWarp, time_warped, with_noise
from seqpipe.data.number_precision import (
    DigitLoss,
    Doubles,
    Floats,
    LostDigitsError,
    check_exact,
    shown,
    to_float32,
)
from seqpipe.errors import ConfigError, DataError, counted
from seqpipe.rules import Problem, list_of, or_null, refusal, whole

_EPSILON = float(np.finfo(np.float64).eps)
_ROUNDING = 64  # times the epsilon of float64: how far the mean of equal numbers is off at most


def doubles(value: object) -> Doubles:
    """Numbers of a record in float64.

    Raises:
        TypeError: no number, nor an array of numbers.
        ValueError: text that is no number, or an array that is ragged or too deep.
        LostDigitsError: a whole number that float64 does not hold.
    """
    if value is None:  # NaN to numpy
        raise TypeError("nothing")
    if isinstance(value, (str, list, tuple)):
        raw = np.asarray(value)
        if raw.dtype.kind == "U" and (np.char.find(raw, "_") >= 0).any():
            raise ValueError("1_000 is a number to Python alone")
    try:
        numbers: Doubles = np.array(value, dtype=np.float64)
    except OverflowError:  # integers of Python may have more digits than any float
        raise ValueError("an integer that no float can hold") from None
    check_exact(value, numbers)
    return numbers


class Moments:
    """Mean and standard deviation of rows that come a few at a time, in float64.

    Source: Chan, Golub & LeVeque (1979), "Updating formulae and a pairwise algorithm for
    computing sample variances": two sets joined without losing digits to a large mean.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: Any = 0.0
        self._squares: Any = 0.0  # sum of squared distances to the mean

    def add(self, rows: Doubles | Floats) -> None:
        """rows: (N, D)."""
        if len(rows) == 0:
            return
        new = rows.astype(np.float64)
        mean, size = new.mean(axis=0), len(new)
        apart, count = mean - self.mean, self.count + size
        with np.errstate(over="ignore"):  # then the deviation is infinite
            squares = ((new - mean) ** 2).sum(axis=0)
            self._squares = self._squares + squares + apart**2 * (self.count * size / count)
        self.mean = self.mean + apart * (size / count)
        self.count = count

    @property
    def deviation(self) -> Doubles:
        """(D,), of the rows as a whole population."""
        return np.sqrt(np.asarray(self._squares) / max(1, self.count))

    @property
    def scale(self) -> Doubles:
        """(D,), the deviation to divide by; 1 for a number that never changes: it becomes 0."""
        deviation = self.deviation
        rounding = _ROUNDING * _EPSILON * np.abs(self.mean)
        return np.where(deviation > rounding, deviation, 1.0)


class _Units(TypedDict, total=False):
    """The mean and scale of standardised numbers, for a FieldSpec."""

    mean: tuple[float, ...]
    scale: tuple[float, ...]


def units(standardize: bool, mean: Doubles, scale: Doubles) -> _Units:
    """Mean and scale for a FieldSpec; nothing where numbers are not standardised."""
    if not standardize:
        return {}
    return {"mean": tuple(mean.tolist()), "scale": tuple(scale.tolist())}


class Standardized(Field):
    """The base of fields of finite numbers, of a width that the first record sets.

    They are standardised in float64, and given to the model in float32.

    Args:
        column: the key of the entry in a record.
        standardize: subtract a mean and divide by a standard deviation, of the training split.
    """

    fitted = ("size", "mean", "scale")
    digits: ClassVar[int] = 3
    """Digits of a number that is shown."""

    def __init__(self, column: str, *, standardize: bool = False) -> None:
        super().__init__(column)
        self.standardize = standardize
        self.size = 0
        self.mean: Doubles = np.zeros(1)
        self.scale: Doubles = np.ones(1)
        self._loss: DigitLoss | None = None

    def watch(self) -> None:
        """Watch the numbers encoded from now on, for `digit_loss`."""
        self._loss = DigitLoss()

    def digit_loss(self, role: str) -> str | None:
        """A warning if many different numbers became equal in float32 since `watch`.

        Raises:
            DataError: half of them did, or more, and the field does not standardize.
        """
        loss, self._loss = None if self._loss is None else self._loss.report(), None
        if loss is None:
            return None
        report, grave = loss
        if self.standardize:
            text = f"{report}, though standardised; numbers far from all others may be the cause"
            return f"data.{role}.column={self.column}: {text}"
        if grave:
            raise DataError(f"{self.column}: {report}; allowed: ++data.{role}.standardize=true")
        return f"data.{role}.standardize=false: of {self.column}, {report}; true keeps their digits"

    def typed(self, text: str) -> Any:
        """Numbers as typed on a command line: 3.5, or [0.3,1.0], or a list of lists."""
        listed = text.strip()
        try:
            value: list[Any] = json.loads(listed if listed.startswith("[") else f"[{listed}]")
            doubles(value)
        except (TypeError, ValueError):
            raise DataError(f"{text}: no numbers; allowed: 3.5, or a list [0.3,1.0]") from None
        return value

    def fit(self, records: Iterable[Record]) -> None:
        """Learn D and, to standardize, the mean and standard deviation of each of the D numbers."""
        total = Moments()
        for record in records:
            self.size = self.size or self._array(record).shape[-1]
            if not self.standardize:
                return
            total.add(self._checked(record).reshape(-1, self.size))
        if total.count:
            self.mean, self.scale = total.mean, total.scale

    def encode(self, record: Record) -> Tensor:
        """The numbers of the entry, standardised: (..., D) float32.

        Raises:
            DataError: not numbers, not finite, or not of width D.
        """
        numbers = self._checked(record)
        mean, scale = self._moments(numbers)
        kept = to_float32((numbers - mean) / scale)
        if not np.isfinite(kept).all():
            allowed = "below 3e38" if self.standardize else "below 3e38, or standardize=true"
            text = f"holds numbers too large for float32; allowed: {allowed}"
            self.refuse(self.value(record), text)
        if self._loss is not None:
            self._loss.add(numbers.reshape(-1, self.size), kept.reshape(-1, self.size))
        return torch.from_numpy(kept)

    def decode(self, values: Tensor | Sequence[Any]) -> str:
        """The numbers as they were, to a few digits, a line for each step."""
        scales = np.broadcast_to(self.scale, self.size).tolist() if self.standardize else None
        numbers = np.asarray(values, dtype=np.float64) * self.scale + self.mean
        rows = np.atleast_2d(numbers).tolist()
        if scales is None:
            return "\n".join(" ".join(f"{value:.{self.digits}g}" for value in row) for row in rows)
        lines = (map(partial(shown, digits=self.digits), row, scales) for row in rows)
        return "\n".join(map(" ".join, lines))

    @property
    def spec(self) -> FieldSpec:
        """Size: D."""
        return FieldSpec(self.kind, self.size, **units(self.standardize, self.mean, self.scale))

    @abstractmethod
    def _array(self, record: Record) -> Doubles:
        """The entry, finite, with its D numbers along the last axis."""

    def _moments(self, numbers: Doubles) -> tuple[Doubles, Doubles]:
        """The mean to subtract from an entry, and the scale to divide it by, each (D,)."""
        return self.mean, self.scale

    def _checked(self, record: Record) -> Doubles:
        array = self._array(record)
        if array.shape[-1] != self.size:
            width = self._sized(array.shape[-1])
            self.refuse(self.value(record), f"{width}; the training split starts with {self.size}")
        return array

    def _sized(self, count: int) -> str:
        """Say how many numbers an entry has that has too few or too many."""
        return f"is {count} wide"

    def _finite(self, value: object) -> Doubles:
        try:
            array = doubles(value)
        except LostDigitsError as error:
            self.refuse(value, str(error))
        except (TypeError, ValueError):
            self.refuse(value, "not an array of numbers; allowed: numbers as 12, -0.5 or 1e-3")
        if not np.isfinite(array).all():
            self.refuse(value, "holds NaN or infinity")
        return array


class Series(Standardized):
    """D numbers for each step, (T, D) float32; as x, or as y one row for each step of x.

    The reference is subtracted first, then differences are taken, then they are standardised. Noise
    and time warps change training batches only, others in each epoch.

    Args:
        column: the key of the entry in a record; an array (T, D), or (T,) for D = 1.
        standardize: subtract from each of the D numbers a mean and divide by a standard deviation:
            of all steps of the training split (`true`), or of the steps of the series itself
            (`example`, x only), which forgets its level and its size.
        difference: x_t - x_{t-1} in place of x_t, and 0 at the first step; x only. A forecast
            stays in the units of the series: its source has `relative_to_last`.
        reference: channels of one point, counted from 0, whose numbers are subtracted from those
            of every point at the same step: [0, 1] for points x1, y1, x2, y2, ... and the first of
            them; [0, 21] for x1, ..., x21, y1, ..., y21. x only. None: nothing is subtracted.
        noise: standard deviation of noise that is added in training, in units of the numbers that
            the model reads; see `augmentation.with_noise`.
        time_warp: strength of random changes of speed in training, see
            `augmentation.time_warped`; not with a y for each step.

    Raises:
        ConfigError: an option out of its range.
    """

    kind = "values"
    augmentations = ("noise", "time_warp")

    @checked()
    def __init__(
        self,
        column: str,
        *,
        standardize: bool | Literal["example"] = False,
        difference: bool = False,
        reference: Annotated[list[int] | None, or_null(list_of(whole(0)))] = None,
        noise: Noise = 0.0,
        time_warp: TimeWarp = 0.0,
    ) -> None:
        super().__init__(column, standardize=standardize is True)
        self.by_example = standardize == "example"
        self.difference, self.reference = difference, reference
        self.noise, self.time_warp = noise, time_warp

    def misplaced(self, role: str, aligned: bool) -> Iterable[Problem]:
        """See `Field`; a warped x does not fit a y for each step."""
        yield from super().misplaced(role, aligned)
        if aligned and role == "x" and self.time_warp:
            text = "moves x, and the y of each step stays; allowed: 0"
            yield Problem("time_warp", self.time_warp, text)
        if role == "y":
            text = "answers could not be returned in the units of the data; allowed:"
            if self.by_example:
                yield Problem("standardize", "example", f"{text} true or false")
            if self.difference:
                yield Problem("difference", True, f"{text} false")
            if self.reference is not None:
                yield Problem("reference", self.reference, f"{text} null")

    @property
    def keeps_values(self) -> bool:
        """False of differences, of numbers relative to a point, and of units of each example."""
        return not (self.by_example or self.difference or self.reference is not None)

    def watch(self) -> None:
        """See `Standardized`; in a series of its own units no digits are lost."""
        if not self.by_example:
            super().watch()

    def augment(self, values: Array, rng: np.random.Generator) -> Array:
        """A copy with another speed and with noise; values: (T, D) float32."""
        if self.time_warp:
            values = time_warped(values, self.time_warp, rng)
        return with_noise(values, self.noise, rng) if self.noise else values

    def _array(self, record: Record) -> Doubles:
        value = self.value(record)
        array = self._finite(value)
        if array.ndim not in (1, 2):
            self.refuse(value, f"has shape {array.shape}; expected (steps, numbers) or (steps,)")
        array = array[:, None] if array.ndim == 1 else array
        if self.reference is not None and array.shape[1] == (self.size or array.shape[1]):
            array = array - array[:, point_of_each(self.reference, array.shape[1])]
        return np.diff(array, axis=0, prepend=array[:1]) if self.difference else array

    def _moments(self, numbers: Doubles) -> tuple[Doubles, Doubles]:
        if not self.by_example or len(numbers) == 0:
            return super()._moments(numbers)
        total = Moments()
        total.add(numbers)
        return total.mean, total.scale

    def describe(self, counts: object) -> str:
        """The width of a step."""
        return f"{counted(self.size, 'number')} a step"


def point_of_each(reference: Sequence[int], width: int) -> list[int]:
    """Return the channel of the reference that is subtracted from each channel, (D,).

    Args:
        reference: channels of one point, one for each of its k coordinates: neighbours where
            points follow each other, D / k apart where coordinates do.
        width: D.

    Raises:
        ConfigError: no such point, or no other one.

    >>> point_of_each([2, 3], 6), point_of_each([0, 3], 6)
    ([2, 3, 2, 3, 2, 3], [0, 0, 0, 3, 3, 3])
    """
    k, points = len(reference), width // max(1, len(reference))
    if sorted(reference) == list(range(width)):
        wrong = (
            f"x has {counted(width, 'channel')}, these alone, and relative to themselves all are 0"
        )
        allowed = "null, or the channels of one point of several"
        raise ConfigError(refusal("data.x.reference", list(reference), wrong, allowed))
    first = reference[0] if reference else width
    if width % max(1, k) == 0 and first < width:
        by_point = [first + place for place in range(k)]
        by_coordinate = [first + place * points for place in range(k)]
        if first % k == 0 and list(reference) == by_point:
            return [reference[channel % k] for channel in range(width)]
        if first < points and list(reference) == by_coordinate:
            return [reference[channel // points] for channel in range(width)]
    wrong = f"no point of {width} channels"
    allowed = "null, [0] for one coordinate a point, [0,1] for x1, y1, x2, y2, ..."
    raise ConfigError(refusal("data.x.reference", list(reference), wrong, allowed))


class Vector(Standardized):
    """All numbers at once, flattened: (D,) float32, without time.

    Args:
        column: the key of the entry in a record; an array of any shape.
        standardize: as in `Series`, over the examples of the training split.
    """

    kind = "vector"

    def _array(self, record: Record) -> Doubles:
        return self._finite(self.value(record)).reshape(-1)

    def describe(self, counts: object) -> str:
        """The width."""
        return f"{counted(self.size, 'number')} at once"
