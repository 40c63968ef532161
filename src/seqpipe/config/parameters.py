"""The space of a search: parameters, each a key of the configuration and its possible values."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

Value = str | int | float
"""A word as typed on the command line, or a number."""
_DIGITS = 4  # of a number that is drawn: more would only make the names of runs long


@dataclass(frozen=True)
class Choice:
    """One of a few values.

    Args:
        key: as typed: `cell`, `+optim.eps`.
        values: as typed, each different.
    """

    key: str
    values: tuple[str, ...]

    def draw(self, generator: random.Random) -> Value:
        """A value, each with the same probability."""
        return self.values[generator.randrange(len(self.values))]

    def extremes(self) -> list[str]:
        """The overrides that show whether the key allows all values: here every one."""
        return [self.override(value) for value in self.values]

    def rounded(self, value: Value) -> Value:
        """The value itself."""
        return value

    def override(self, value: Value) -> str:
        """The override that gives the key a value."""
        return f"{self.key}={value}"


@dataclass(frozen=True)
class Numbers:
    """A number between two ends, both included.

    Args:
        key: as typed.
        low: the smallest.
        high: the largest; with steps a whole number of them above the smallest.
        step: between two neighbours; None: any number.
        log: each magnitude is drawn as often as the others. Its steps are None or 1.
        is_whole: integers, which always have a step.
    """

    key: str
    low: int | float
    high: int | float
    step: int | float | None = None
    log: bool = False
    is_whole: bool = False

    def draw(self, generator: random.Random) -> Value:
        """A value, each (with `log` each magnitude) with the same probability."""
        if not self.log:
            if self.step is None:
                return generator.uniform(self.low, self.high)
            found = self.low + self.step * generator.randint(0, self.steps)
            return found if self.is_whole else round(found, 12)
        room = 0.5 if self.is_whole else 0.0  # else the ends would be drawn half as often
        exponent = generator.uniform(math.log(self.low - room), math.log(self.high + room))
        drawn = math.exp(exponent)
        return min(max(round(drawn) if self.is_whole else drawn, self.low), self.high)

    @property
    def steps(self) -> int:
        """The number of steps from the lowest to the highest value."""
        assert self.step is not None
        return round((self.high - self.low) / self.step)

    def extremes(self) -> list[str]:
        """The overrides that show whether the key allows all values: those of both ends."""
        return list(dict.fromkeys([self.override(self.low), self.override(self.high)]))

    def rounded(self, value: Value) -> Value:
        """A value without digits that make no difference."""
        number = float(value)
        if self.is_whole:
            return int(number)
        if self.step is not None:
            shown = round(number, 12)
        elif self.log:
            shown = float(f"{number:.{_DIGITS}g}")
        else:
            shown = round(number, _DIGITS - 1 - math.floor(math.log10(self.high - self.low)))
        return shown if self.low <= shown <= self.high else number

    def override(self, value: Value) -> str:
        """The override that gives the key a value, rounded."""
        return f"{self.key}={self.rounded(value)}"


Parameter = Choice | Numbers


def draw(space: Sequence[Parameter], seed: int, place: int) -> dict[str, Value]:
    """The values of a trial by their keys, which depend on the seed and its place alone.

    Args:
        space: the parameters.
        seed: of the search.
        place: of the trial in the search, from 0.
    """
    # A generator for each key, so that a parameter keeps its values if others are added.
    return {one.key: one.draw(random.Random(f"{seed} {place} {one.key}")) for one in space}
