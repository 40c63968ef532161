"""What the launchers of seqpipe share: jobs are taken from one queue as workers become free."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from pathlib import Path

    from seqpipe.launchers.workers import Workers


class QueueLauncher(Launcher):
    """Base of the launchers.

    Args:
        workers: jobs that run at the same time; None: as many as make sense.
    """

    def __init__(self, workers: int | None = None) -> None:
        super().__init__()
        self.workers = workers

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Called by Hydra before the first job."""
        self.context, self.task, self.config = hydra_context, task_function, config

    @classmethod
    def check(cls) -> None:
        """Refuses the launcher where it cannot work; called before anything is made.

        Raises:
            ConfigError: with the reason.
        """

    @abstractmethod
    def make_workers(self, folder: Path) -> Workers:
        """Makes what runs the jobs.

        Args:
            folder: of the sweep.
        """

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Runs jobs, and returns when all of them have ended."""
        total = initial_job_idx + len(job_overrides)
        values: dict[int, float] = {}
        from seqpipe.config.hydra_launch import returned, varied

        keys = varied(job_overrides)
        self.launch_each(job_overrides, values.__setitem__, initial_job_idx, total, keys)
        numbered = enumerate(job_overrides, initial_job_idx)
        return [returned(overrides, values[number]) for number, overrides in numbered]

    def launch_each(
        self,
        job_overrides: Iterable[Sequence[str]],
        ended: Callable[[int, float], None],
        first: int = 0,
        total: int | None = None,
        keys: Collection[str] | None = None,
    ) -> None:
        """Runs jobs that may be chosen by the results of those before.

        Args:
            job_overrides: of each job; the next are asked for as a worker becomes free.
            ended: called with the number of a job and its monitored value, NaN if it failed.
            first: number of the first job.
            total: how many jobs the sweep has, if that is known.
            keys: what distinguishes the jobs; None: all that they are given.
        """
        from seqpipe.config.hydra_launch import hydra_jobs, sweep_folder_of
        from seqpipe.launchers.job_queue import JobQueue
        from seqpipe.launchers.progress import Progress
        from seqpipe.launchers.workers import QueuedJob, variables_to_pass
        from seqpipe.report.sweep_jobs import log_of_job

        folder = sweep_folder_of(self.config)
        workers = self.make_workers(folder)
        passed = variables_to_pass()
        jobs = (
            QueuedJob(
                job.number, job.typed, job.title(keys), job, log_of_job(folder, job.number), passed
            )
            for job in hydra_jobs(self.context, self.task, self.config, job_overrides, first)
        )
        at_once = min(workers.capacity, total or workers.capacity)
        progress = Progress(total, at_once, in_place=workers.logs)
        JobQueue(workers, progress, folder, ended).run(jobs)
