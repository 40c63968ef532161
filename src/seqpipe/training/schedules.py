"""Learning-rate schedules; the number of updates of the run is passed at run time."""

import logging
import math
import sys
from collections.abc import Callable
from typing import Annotated, Any, ParamSpec, TypeVar

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    LambdaLR,
    LRScheduler,
    MultiplicativeLR,
    ReduceLROnPlateau,
    StepLR,
)

from seqpipe.bounds import Count, NotNegative, Probability, WholeNumber, checked
from seqpipe.rules import real

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger(__name__)
Schedule = dict[str, Any]  # what Lightning calls a lr_scheduler_config
Schedules = Schedule | list[Schedule]


class Warmup(LRScheduler):
    """Linear warm-up: update k of n is made at k / (n + 1) of the learning rate.

    It multiplies whatever another schedule makes of the learning rate in the meantime.

    Args:
        optimizer: with the learning rate.
        updates: n, of the warm-up; the update after it is the first at the whole rate.

    Source: Goyal et al. (2017), section 2.2.
    """

    def __init__(self, optimizer: Optimizer, updates: int) -> None:
        self.updates = updates
        self.full: list[float] = [group["lr"] for group in optimizer.param_groups]
        super().__init__(optimizer)

    def get_lr(self) -> list[Any]:
        """Return the learning rate of each group for the next update."""
        groups = self.optimizer.param_groups
        if self.last_epoch > self.updates:
            return [group["lr"] for group in groups]
        if self.last_epoch > 0:  # another schedule may have changed the rate since
            parts = zip(self.full, groups, self._last_lr, strict=True)
            self.full = [full * (group["lr"] / before) for full, group, before in parts]
        return [full * _risen(self.last_epoch, self.updates) for full in self.full]


def _risen(update: int, warmup: int) -> float:
    """Return the share of the learning rate at an update, counted from 0, of a warm-up."""
    return (update + 1) / (warmup + 1)


def _warn_of_long_warmup(warmup_steps: int, total_steps: float) -> None:
    """Say it where a run ends before its learning rate has risen."""
    if warmup_steps >= total_steps > 0:
        text = "a warm-up of %d updates: the run has %d and never reaches optim.lr"
        log.warning(text, warmup_steps, total_steps)


def _warmed(
    optimizer: Optimizer, warmup_steps: int, total_steps: float, schedule: Schedule
) -> Schedules:
    """Return a schedule, together with its warm-up if it has one."""
    if warmup_steps == 0:
        return schedule
    _warn_of_long_warmup(warmup_steps, total_steps)
    return [schedule, {"scheduler": Warmup(optimizer, warmup_steps), "interval": "step"}]


def step_plateau(schedulers: Any, value: Any) -> None:
    """Step a schedule that depends on validations.

    Args:
        schedulers: of a training: one, a list of them, or None.
        value: of the monitored metric.
    """
    for one in schedulers if isinstance(schedulers, list) else [schedulers]:
        if isinstance(one, ReduceLROnPlateau):
            one.step(value)


def _needs_total_steps(schedule: Callable[P, T]) -> Callable[P, T]:
    """Declare that a schedule cannot be made for a training whose number of steps is not known."""
    schedule.__dict__["needs_total_steps"] = True
    return schedule


@checked("scheduler.")
def constant(
    optimizer: Optimizer,
    *,
    total_steps: float,
    monitor: str,
    mode: str,
    warmup_steps: WholeNumber = 0,
) -> Schedule | None:
    """Keep the learning rate constant, after a linear warm-up of `warmup_steps` updates."""
    if warmup_steps == 0:
        return None
    _warn_of_long_warmup(warmup_steps, total_steps)
    return {"scheduler": Warmup(optimizer, warmup_steps), "interval": "step"}


@_needs_total_steps
@checked("scheduler.")
def cosine(
    optimizer: Optimizer,
    *,
    total_steps: float,
    monitor: str,
    mode: str,
    warmup_steps: WholeNumber = 0,
    min_lr_ratio: Probability = 0.0,
) -> Schedule:
    """Half a cosine from lr to `min_lr_ratio * lr` over the whole run, updated at every step.

    Args:
        optimizer: with the learning rate.
        total_steps: updates of the whole run.
        monitor: not used.
        mode: not used.
        warmup_steps: updates of a linear warm-up, from which on the cosine falls.
        min_lr_ratio: final learning rate, relative to lr.

    Source: Loshchilov & Hutter (2017), equation 5, without restarts.
    """
    _warn_of_long_warmup(warmup_steps, total_steps)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return _risen(step, warmup_steps)
        progress = min(1.0, (step - warmup_steps) / max(1.0, total_steps - warmup_steps))
        return min_lr_ratio + (1 - min_lr_ratio) * 0.5 * (1 + math.cos(math.pi * progress))

    return {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}


@_needs_total_steps
@checked("scheduler.")
def warmup_cosine(
    optimizer: Optimizer,
    *,
    total_steps: float,
    monitor: str,
    mode: str,
    warmup_ratio: Probability = 0.05,
    min_lr_ratio: Probability = 0.0,
) -> Schedule:
    """Linear warm-up over `warmup_ratio` of the run, then half a cosine; see `cosine`."""
    return cosine(
        optimizer,
        total_steps=total_steps,
        monitor=monitor,
        mode=mode,
        warmup_steps=round(warmup_ratio * total_steps),
        min_lr_ratio=min_lr_ratio,
    )


@checked("scheduler.")
def step(
    optimizer: Optimizer,
    *,
    total_steps: float,
    monitor: str,
    mode: str,
    step_size: Count = 10,
    gamma: Annotated[float, real("(0, 1]")] = 0.5,
    warmup_steps: WholeNumber = 0,
) -> Schedules:
    """Multiply the learning rate by `gamma` every `step_size` epochs, see `constant`."""
    schedule = {"scheduler": StepLR(optimizer, step_size, gamma), "interval": "epoch"}
    return _warmed(optimizer, warmup_steps, total_steps, schedule)


@checked("scheduler.")
def decay(
    optimizer: Optimizer,
    *,
    total_steps: float,
    monitor: str,
    mode: str,
    start_epoch: Count = 4,
    gamma: Annotated[float, real("(0, 1)")] = 0.5,
    warmup_steps: WholeNumber = 0,
) -> Schedules:
    """Keep the learning rate up to `start_epoch`, then multiply it by `gamma` at every epoch.

    Epoch e, counted from 1, has lr * gamma ** max(0, e - start_epoch): with `start_epoch=1` an
    exponential.

    Source: Zaremba, Sutskever & Vinyals (2014), section 4.1: 4 and 1/2 (small), 6 and 1/1.2
    (medium), 14 and 1/1.15 (large).
    """

    def factor(epoch: int) -> float:
        return gamma if epoch >= start_epoch else 1.0  # epochs are counted from 0 here

    schedule = {"scheduler": MultiplicativeLR(optimizer, factor), "interval": "epoch"}
    return _warmed(optimizer, warmup_steps, total_steps, schedule)


@checked("scheduler.")
def plateau(
    optimizer: Optimizer,
    *,
    total_steps: float,
    monitor: str,
    mode: Any,
    factor: Annotated[float, real("(0, 1)")] = 0.5,
    patience: WholeNumber = 3,
    min_lr: NotNegative = 0.0,
    warmup_steps: WholeNumber = 0,
) -> Schedules:
    """Multiply lr by `factor` after more than `patience` validations without a better `monitor`.

    `patience=0` reacts to the first one. Better is better by 0.01 % at least.
    """
    scheduler = ReduceLROnPlateau(
        optimizer, mode=mode, factor=factor, patience=patience, min_lr=min_lr
    )
    # Not stepped by Lightning: SequenceModule steps it after each validation.
    never = sys.maxsize
    schedule = {"scheduler": scheduler, "interval": "epoch", "frequency": never}
    return _warmed(optimizer, warmup_steps, total_steps, {**schedule, "monitor": monitor})
