"""Keys and groups about how the jobs of a sweep are started: they are no part of a job."""

from collections.abc import Iterator, Sequence

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, open_dict

from seqpipe.config.hydra_internals import BASIC_SWEEPER
from seqpipe.config.nested_groups import with_dots
from seqpipe.config.schema import OF_SWEEPS, RULES
from seqpipe.config.signatures import found_target
from seqpipe.errors import ConfigError
from seqpipe.rules import Problem

LAUNCHER, WORKERS, SKIP_DONE = "launcher", "workers", "skip_done"
BASIC = "basic"  # the launcher of jobs one after another
OURS = "hydra_plugins.seqpipe_launchers."
"""Launchers whose jobs return a value in any case; others recognise a failure by an exception."""
_WITH_M = "allowed: with -m, or leave it out"


def take_sweep_keys(cfg: DictConfig) -> dict[str, object]:
    """Remove the keys from a composed configuration. Returns them with their values."""
    with open_dict(cfg):
        return {key: cfg.pop(key) for key in OF_SWEEPS if key in cfg}


def of_job(overrides: Sequence[str]) -> list[str]:
    """The overrides that say what the job is."""
    names = (LAUNCHER, *OF_SWEEPS)
    return [one for one in overrides if one.lstrip("+~").partition("=")[0] not in names]


def launcher_problems(
    hydra: DictConfig, taken: dict[str, object], typed: Sequence[Override], *, sweep: bool
) -> Iterator[str]:
    """Yield what is wrong with the launcher of a command and its workers.

    Args:
        hydra: its own node of the composed configuration.
        taken: see `take_sweep_keys`.
        typed: overrides of the command line.
        sweep: whether the command starts several jobs.
    """
    for override in typed:
        if override.key_or_group in (LAUNCHER, *OF_SWEEPS) and override.is_sweep_override():
            text = "the jobs of one sweep are started in one way; allowed: one value"
            yield f"{with_dots(str(override.input_line))}: {text}"
            return
    launcher, workers = str(hydra.runtime.choices.get(LAUNCHER)), taken.get(WORKERS)
    if fault := RULES[WORKERS].fault(workers):
        yield str(Problem(WORKERS, workers, fault))
        return
    yield from _skip_problems(hydra, taken.get(SKIP_DONE), sweep=sweep)
    ours = str(hydra.launcher.get("_target_")).startswith(OURS)
    if not sweep:
        text = f"is about the jobs of a sweep, and this is one run; {_WITH_M}"
        yield from [f"{LAUNCHER}={launcher}: {text}"] if launcher != BASIC else []
        yield from [f"{WORKERS}={workers}: {text}"] if workers is not None else []
    elif workers not in (None, 1) and launcher == BASIC:
        text = "launcher=basic runs one job after another"
        yield f"{WORKERS}={workers}: {text}; allowed: launcher=joblib, or leave it out"
    elif workers is not None and not ours:
        text = "hydra/launcher has options of its own; allowed: leave it out"
        yield f"{WORKERS}={workers}: {text}, or launcher=joblib"


def _skip_problems(hydra: DictConfig, skip_done: object, *, sweep: bool) -> Iterator[str]:
    """Yield why the jobs of a sweep that are done cannot be skipped."""
    if fault := RULES[SKIP_DONE].fault(skip_done):
        yield str(Problem(SKIP_DONE, skip_done, fault))
    if skip_done is not True:
        return
    key = f"{SKIP_DONE}=true"
    if not sweep:
        yield f"{key}: finishes a sweep, and this is one run; {_WITH_M}"
    elif str(hydra.sweeper.get("_target_")) != BASIC_SWEEPER:
        text = "finishes a grid, and a search continues its own study; allowed: leave it out"
        yield f"{key}: {text}"
    elif not str(hydra.launcher.get("_target_")).startswith(OURS):
        text = "hydra/launcher starts every job; allowed: leave it out, or launcher=joblib"
        yield f"{key}: {text}"


def check_launcher(hydra: DictConfig, other: str | None) -> None:
    """Refuse a launcher that cannot work here, before anything is made.

    Args:
        hydra: its own node of the composed configuration.
        other: the command, if it does not train; None if it does.

    Raises:
        ConfigError: with the reason.
    """
    name, target = hydra.runtime.choices.get(LAUNCHER), str(hydra.launcher.get("_target_"))
    if target.startswith(OURS) and name != BASIC and other is not None:
        text = f"jobs of {other} print one after another; allowed: leave it out"
        raise ConfigError(f"{LAUNCHER}={name}: {text}")
    if target.startswith(OURS):
        found_target(target).check()
