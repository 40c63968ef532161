"""Learning-rate schedules, each told at run time how many optimizer steps there will be."""

import math
import sys
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau, StepLR

Schedule = dict[str, Any]  # what Lightning calls a lr_scheduler_config


def constant(optimizer: Optimizer, *, total_steps: float, monitor: str, mode: str) -> None:
    """The learning rate stays what it is."""


def cosine(
    optimizer: Optimizer,
    *,
    total_steps: float,
    monitor: str,
    mode: str,
    min_lr_ratio: float = 0.0,
) -> Schedule:
    """A half cosine from lr to `min_lr_ratio * lr`, updated every step.

    Args:
        optimizer: whose learning rate is scheduled.
        total_steps: optimizer steps of the whole run.
        monitor: not used.
        mode: not used.
        min_lr_ratio: where it ends, relative to lr.

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


def warmup_cosine(
    optimizer: Optimizer,
    *,
    total_steps: float,
    monitor: str,
    mode: str,
    warmup_ratio: float = 0.05,
    min_lr_ratio: float = 0.0,
) -> Schedule:
    """Linear up to lr over `warmup_ratio` of the run, then a half cosine; see `cosine`."""
    warmup = round(warmup_ratio * total_steps)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        progress = min(1.0, (step - warmup) / max(1.0, total_steps - warmup))
        return min_lr_ratio + (1 - min_lr_ratio) * 0.5 * (1 + math.cos(math.pi * progress))

    return {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}


def step(
    optimizer: Optimizer,
    *,
    total_steps: float,
    monitor: str,
    mode: str,
    step_size: int = 10,
    gamma: float = 0.5,
) -> Schedule:
    """Lr times `gamma` every `step_size` epochs."""
    return {"scheduler": StepLR(optimizer, step_size, gamma), "interval": "epoch"}


def plateau(
    optimizer: Optimizer,
    *,
    total_steps: float,
    monitor: str,
    mode: Any,
    factor: float = 0.5,
    patience: int = 3,
    min_lr: float = 0.0,
) -> Schedule:
    """Lr times `factor` after `patience` validations without a better `monitor`."""
    scheduler = ReduceLROnPlateau(
        optimizer, mode=mode, factor=factor, patience=patience, min_lr=min_lr
    )
    # Not moved by Lightning: SequenceModule shows it each validation.
    never = sys.maxsize
    return {"scheduler": scheduler, "interval": "epoch", "frequency": never, "monitor": monitor}
