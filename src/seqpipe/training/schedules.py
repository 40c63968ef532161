"""Learning-rate schedules; the number of updates of the run is passed at run time."""

import math
import sys
from collections.abc import Callable
from typing import Annotated, Any, ParamSpec, TypeVar

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau, StepLR

from seqpipe.bounds import Count, NotNegative, Probability, WholeNumber, checked
from seqpipe.rules import real

P = ParamSpec("P")
T = TypeVar("T")
Schedule = dict[str, Any]  # what Lightning calls a lr_scheduler_config


def _needs_total_steps(schedule: Callable[P, T]) -> Callable[P, T]:
    """Declare that a schedule cannot be made for a training whose number of steps is not known."""
    schedule.__dict__["needs_total_steps"] = True
    return schedule


def constant(optimizer: Optimizer, *, total_steps: float, monitor: str, mode: str) -> None:
    """Keep the learning rate constant."""


@_needs_total_steps
@checked("scheduler.")
def cosine(
    optimizer: Optimizer,
    *,
    total_steps: float,
    monitor: str,
    mode: str,
    min_lr_ratio: Probability = 0.0,
) -> Schedule:
    """Half a cosine from lr to `min_lr_ratio * lr`, updated at every step.

    Args:
        optimizer: with the learning rate.
        total_steps: updates of the whole run.
        monitor: not used.
        mode: not used.
        min_lr_ratio: final learning rate, relative to lr.

    Source: Loshchilov & Hutter (2017), equation 5, without restarts.
    """
    return warmup_cosine(
        optimizer,
        total_steps=total_steps,
        monitor=monitor,
        mode=mode,
        warmup_ratio=0.0,
        min_lr_ratio=min_lr_ratio,
    )


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
    warmup = round(warmup_ratio * total_steps)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        progress = min(1.0, (step - warmup) / max(1.0, total_steps - warmup))
        return min_lr_ratio + (1 - min_lr_ratio) * 0.5 * (1 + math.cos(math.pi * progress))

    return {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}


@checked("scheduler.")
def step(
    optimizer: Optimizer,
    *,
    total_steps: float,
    monitor: str,
    mode: str,
    step_size: Count = 10,
    gamma: Annotated[float, real("(0, 1]")] = 0.5,
) -> Schedule:
    """Multiply the learning rate by `gamma` every `step_size` epochs."""
    return {"scheduler": StepLR(optimizer, step_size, gamma), "interval": "epoch"}


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
) -> Schedule:
    """Multiply lr by `factor` after `patience` validations without a better `monitor`."""
    scheduler = ReduceLROnPlateau(
        optimizer, mode=mode, factor=factor, patience=patience, min_lr=min_lr
    )
    # Not stepped by Lightning: SequenceModule steps it after each validation.
    never = sys.maxsize
    return {"scheduler": scheduler, "interval": "epoch", "frequency": never, "monitor": monitor}
