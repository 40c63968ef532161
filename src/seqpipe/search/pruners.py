"""Pruners of Optuna, and its messages."""

from typing import NamedTuple

import optuna
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    SuccessiveHalvingPruner,
)


class PrunerSettings(NamedTuple):
    """How poor trials are stopped early.

    Args:
        name: `median`, `hyperband`, `successive_halving` or `none`.
        after: validations before a trial may be stopped.
        startup: of `median`: trials that must have finished before one may be stopped.
    """

    name: str
    after: int
    startup: int


def make_pruner(settings: PrunerSettings) -> BasePruner:
    """The pruner of Optuna; its steps are validations, counted from 1."""
    if settings.name == "median":
        return MedianPruner(n_startup_trials=settings.startup, n_warmup_steps=settings.after)
    if settings.name == "hyperband":
        return HyperbandPruner(min_resource=settings.after)
    if settings.name == "successive_halving":
        return SuccessiveHalvingPruner(min_resource=settings.after)
    assert settings.name == "none"
    return NopPruner()


def quiet() -> None:
    """Sends Optuna's warnings through our own logging, and drops its lines for each trial."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    optuna.logging.disable_default_handler()
    optuna.logging.enable_propagation()
