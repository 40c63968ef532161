"""The jobs of a sweep as its command line describes them, before any of them is started."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from seqpipe.config.config_view import Param, flat_params
from seqpipe.config.hydra_internals import BASIC_SWEEPER, grid_jobs
from seqpipe.config.loader import Composed, Loader, parse
from seqpipe.config.nested_groups import with_dots
from seqpipe.config.sweep_keys import of_job
from seqpipe.config.swept import merge_overrides, params_of

TO_BE_REMOVED = "to_be_removed"
"""The value that a key of null gets before it is deleted: Hydra refuses to delete null."""


@dataclass(frozen=True)
class SweepPlan:
    """A sweep before its first job.

    Args:
        first: the composed configuration of the first job.
        common: the parameters that all jobs share, flat.
        keys: those that the sweep varies, as they are typed.
        lines: the overrides of each job; None where the sweeper chooses them while it runs.
        loader: composes a job.
    """

    first: Composed
    common: Mapping[str, Param]
    keys: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...] | None
    loader: Loader

    @property
    def jobs(self) -> tuple[dict[str, str], ...] | None:
        """The overrides of each job, key by key; None where they are not known."""
        return None if self.lines is None else tuple(map(overrides_by_key, self.lines))

    def compose(self, number: int) -> DictConfig:
        """The configuration of a job of a plan that lists its jobs."""
        assert self.lines is not None
        return self.loader.compose(parse(self.lines[number])[0]).cfg

    def folder(self) -> tuple[Path, bool]:
        """The folder of the sweep as Hydra would make it now, and whether it was typed."""
        typed = [str(one) for one in self.first.hydra.overrides.hydra]
        is_named = any(one.lstrip("+").startswith("hydra.sweep.dir=") for one in typed)
        whole = OmegaConf.create({**self.first.cfg, "hydra": self.first.hydra})
        return Path(str(whole.hydra.sweep.dir)), is_named


class CommonParams:
    """The parameters that all jobs of a sweep share, collected job by job.

    Args:
        loader: that composes them.

    Attributes:
        first: the configuration of the first job; None before it.
        params: those that are equal in all jobs so far.
    """

    def __init__(self, loader: Loader) -> None:
        self.loader = loader
        self.first: Composed | None = None
        self.params: dict[str, Param] = {}

    def add(self, composed: Composed) -> None:
        """Take account of one more job."""
        params = flat_params(composed.cfg, composed.choices)
        if self.first is None:
            self.first, self.params = composed, params
        shared = [key for key in self.params if key in params and self.params[key] == params[key]]
        self.params = {key: params[key] for key in shared}


def plan_of(common: CommonParams, overrides: Sequence[str]) -> SweepPlan:
    """Return the plan of a sweep whose jobs were checked.

    Args:
        common: what its jobs share.
        overrides: of the command line that Hydra reads, with those of Hydra's own keys.
    """
    first = common.first
    assert first is not None, "a sweep of one job or more"
    typed = [one for one in parse(overrides)[0] if not one.is_hydra_override()]
    _, swept = merge_overrides(params_of(first.hydra), typed, first.loader)
    keys = tuple(with_dots(key).lstrip("+") for key in swept)
    jobs = None
    lines = [str(one.input_line) for one in typed]
    if str(first.hydra.sweeper.get("_target_")) == BASIC_SWEEPER:
        params = dict(first.hydra.sweeper.get("params") or {})
        jobs = tuple(tuple(job) for job in grid_jobs(first.loader, params, lines))
    shared = {key: value for key, value in common.params.items() if key not in keys}
    return SweepPlan(first, shared, keys, jobs, common.loader)


def overrides_by_key(lines: Sequence[str]) -> dict[str, str]:
    """The overrides of a job, key by key, as they are typed."""
    typed = [with_dots(line) for line in of_job(lines) if not line.endswith(f"={TO_BE_REMOVED}")]
    return {key: value for key, _, value in (line.lstrip("+").partition("=") for line in typed)}
