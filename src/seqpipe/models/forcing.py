"""Decays of teacher forcing during training (scheduled sampling).

Source: Bengio, Vinyals, Jaitly & Shazeer (2015), "Scheduled sampling for sequence prediction with
recurrent neural networks", section 2.4. There epsilon_i starts at 1; here at `teacher_forcing`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

from torch import nn

from seqpipe.bounds import Count, Probability, checked
from seqpipe.rules import real

KEY = "architecture.teacher_forcing_decay"


class Decay(nn.Module, ABC):
    """A schedule: from the initial probability and the number of updates to the present one.

    It has no state: a resumed training computes the probability from its number of updates.
    """

    falls: ClassVar[bool] = True

    @abstractmethod
    def forward(self, start: float, update: int) -> float:
        """Probability at an update. start: at update 0, in [0, 1]; update: made before it."""


class Constant(Decay):
    """The probability stays the same."""

    falls = False

    def __init__(self) -> None:
        super().__init__()

    def forward(self, start: float, update: int) -> float:
        """See `Decay`."""
        return start


class Linear(Decay):
    """epsilon_i = max(end, start - c i), with c such that `end` is reached after `updates`.

    Args:
        updates: that it takes.
        end: probability where it ends.

    Raises:
        ConfigError: less than one update, an end outside [0, 1].
    """

    @checked(f"{KEY}.")
    def __init__(self, *, updates: Count = 2000, end: Probability = 0.0) -> None:
        super().__init__()
        self.updates, self.end = updates, end

    def forward(self, start: float, update: int) -> float:
        """See `Decay`."""
        gone = min(1.0, update / self.updates)
        return start + (self.end - start) * gone


class Exponential(Decay):
    """epsilon_i = start * base^i.

    Args:
        base: k of the source.

    Raises:
        ConfigError: a base outside (0, 1).
    """

    @checked(f"{KEY}.")
    def __init__(self, *, base: Annotated[float, real("(0, 1)")] = 0.999) -> None:
        super().__init__()
        self.base = base

    def forward(self, start: float, update: int) -> float:
        """See `Decay`."""
        return float(start * self.base**update)


class InverseSigmoid(Decay):
    """epsilon_i = start * k / (k + exp(i / k)).

    Args:
        k: the larger, the later and slower.

    Raises:
        ConfigError: k below 1.
    """

    @checked(f"{KEY}.")
    def __init__(self, *, k: Annotated[float, real("[1, inf)")] = 200.0) -> None:
        super().__init__()
        self.k = k

    def forward(self, start: float, update: int) -> float:
        """See `Decay`."""
        # 1 / (1 + exp(z)), where exp(z) may be larger than any number
        z = update / self.k - math.log(self.k)
        return start / (1 + math.exp(z)) if z < 700 else 0.0


def forcing_faults(
    teacher_forcing: int | float, teacher_forcing_decay: Any
) -> Iterator[tuple[str, str]]:
    """Yield a decay that has nothing to do, or ends no lower than it starts: (argument, text).

    Args:
        teacher_forcing: the probability it starts from.
        teacher_forcing_decay: a `Decay`, or something with the same attributes; None: none.
    """
    if teacher_forcing_decay is None or not teacher_forcing_decay.falls:
        return
    if teacher_forcing == 0:
        text = f"is 0 from the start, so {KEY} would do nothing"
        yield "teacher_forcing", f"{text}; allowed: above 0, or {KEY}=none"
    elif getattr(teacher_forcing_decay, "end", 0) >= teacher_forcing:
        start = f"architecture.teacher_forcing={teacher_forcing}"
        yield "teacher_forcing_decay.end", f"is no less than {start}; allowed: less than that"


class TeacherForced(nn.Module):
    """A model whose training steps read the true y_{t-1} or its own guess, by chance.

    Attributes:
        teacher_forcing: probability of the truth at the first update.
        decay: how that probability falls.
        update: how many updates were made before the present one.
    """

    teacher_forcing: float
    decay: Decay
    update: int

    def start_forcing(self, teacher_forcing: float, decay: Decay | None) -> None:
        """Set the probability at the first update. decay: None: it stays the same."""
        self.teacher_forcing, self.update = teacher_forcing, 0
        self.decay = Constant() if decay is None else decay

    def set_update(self, update: int) -> dict[str, float]:
        """See `seqpipe.models.architecture.Scheduled`; logs the probability where it falls."""
        self.update = update
        return {"teacher_forcing": self.forced_share} if self.decay.falls else {}

    @property
    def forced_share(self) -> float:
        """Probability that a training step of the present update reads the truth."""
        share: float = self.decay(self.teacher_forcing, self.update)
        return share
