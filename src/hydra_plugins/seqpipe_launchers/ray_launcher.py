"""Hydra's launcher of jobs by Ray."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hydra_plugins.seqpipe_launchers._base import QueueLauncher

if TYPE_CHECKING:
    from pathlib import Path

    from seqpipe.launchers.workers import Workers


class SeqpipeRayLauncher(QueueLauncher):
    """Runs each job as a task of Ray.

    Args:
        workers: jobs that run at the same time; None: as many as Ray has room for.
        init: arguments of `ray.init`.
        options: of `ray.remote`.
    """

    def __init__(
        self,
        workers: int | None = None,
        init: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(workers)
        self.init, self.options = dict(init or {}), dict(options or {})

    @classmethod
    def check(cls) -> None:
        """Refuses the launcher where Ray is not installed."""
        from seqpipe.data.optional_deps import need

        need("ray", extra="ray", what="launcher=ray")

    def make_workers(self, folder: Path) -> Workers:
        """Makes what runs the jobs: Ray."""
        from seqpipe.launchers.ray_workers import RayWorkers

        return RayWorkers(self.workers, self.init, self.options)
