"""One job of a sweep as Hydra runs it, in whichever process: composed there, and pickled before."""

import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.singleton import Singleton
from hydra.core.utils import (
    JobReturn,
    JobStatus,
    configure_log,
    filter_overrides,
    run_job,
    setup_globals,
)
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from seqpipe.config.nested_groups import with_dots
from seqpipe.config.sweep_keys import of_job


@dataclass(frozen=True)
class HydraJob:
    """A job of a sweep.

    Args:
        context: of Hydra.
        task: the function that Hydra calls with the configuration of the job.
        config: of the sweep, with Hydra's own node.
        overrides: of the job, those of Hydra's own keys among them.
        number: of the job.
        argv: the command line of the sweep.
        singletons: of Hydra, for another process.
    """

    context: HydraContext
    task: TaskFunction
    config: DictConfig
    overrides: tuple[str, ...]
    number: int
    argv: tuple[str, ...]
    singletons: Any

    def __call__(self) -> float:
        """Composes the configuration, runs the job and returns the monitored value."""
        if not GlobalHydra.instance().is_initialized():  # the first job of this process
            Singleton.set_state(self.singletons)
            sys.argv = list(self.argv)
        setup_globals()
        config = self.context.config_loader.load_sweep_config(self.config, list(self.overrides))
        with open_dict(config):
            config.hydra.job.id = str(self.number)
            config.hydra.job.num = self.number
        done = run_job(
            hydra_context=self.context,
            task_function=self.task,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
        return float(done.return_value)

    @property
    def typed(self) -> tuple[str, ...]:
        """The overrides that say what the job is, as they are typed."""
        return tuple(map(with_dots, of_job(filter_overrides(self.overrides))))

    def title(self, keys: Collection[str] | None) -> str:
        """Return `#2 (cell=gru)`: number of the job, and its values of these keys (None: all)."""
        shown = [one for one in self.typed if keys is None or _key(one) in keys]
        return f"#{self.number} ({' '.join(shown)})"


def hydra_jobs(
    context: HydraContext,
    task: TaskFunction,
    config: DictConfig,
    job_overrides: Iterable[Sequence[str]],
    first: int,
) -> Iterator[HydraJob]:
    """Yield the jobs of a sweep, each as it is asked for.

    Args:
        context: see `HydraJob`.
        task: see `HydraJob`.
        config: see `HydraJob`.
        job_overrides: of each job.
        first: number of the first of them.
    """
    shared, argv = Singleton.get_state(), tuple(sys.argv)
    for number, overrides in enumerate(job_overrides, first):
        yield HydraJob(context, task, config, tuple(overrides), number, argv, shared)


def varied(job_overrides: Sequence[Sequence[str]]) -> set[str]:
    """The keys whose values differ between jobs; of a single job all."""
    first, *others = ({*map(with_dots, overrides)} for overrides in job_overrides)
    common = set.intersection(first, *others) if others else set()
    return {_key(one) for each in (first, *others) for one in each - common}


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def sweep_folder_of(config: DictConfig) -> Path:
    """Makes the folder of a sweep, and logs as a sweep does. Returns the folder, absolute."""
    setup_globals()
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    folder = Path(str(config.hydra.sweep.dir)).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def returned(overrides: Sequence[str], value: float) -> JobReturn:
    """A job as Hydra's sweepers expect it; its value is NaN if it failed.

    An exception in the place of that value would end the sweep.
    """
    job = JobReturn(overrides=overrides, status=JobStatus.COMPLETED)
    job.return_value = value
    return job
