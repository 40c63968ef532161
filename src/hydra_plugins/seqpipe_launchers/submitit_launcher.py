"""Hydra's launchers of jobs by submitit: those of SLURM, and processes of this machine."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hydra_plugins.seqpipe_launchers._base import QueueLauncher

if TYPE_CHECKING:
    from pathlib import Path

    from seqpipe.launchers.workers import Workers


class SeqpipeLocalLauncher(QueueLauncher):
    """Runs jobs as SLURM would, in processes of this machine.

    Args:
        workers: jobs that run at the same time; None: one for each core.
        options: of submitit's executor.
    """

    def __init__(
        self, workers: int | None = None, options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(workers)
        self.options = dict(options or {})

    @classmethod
    def check(cls) -> None:
        """Refuses the launcher where submitit is not installed."""
        from seqpipe.data.optional_deps import need

        need("submitit", extra="slurm", what="launcher=submitit_local")

    def make_workers(self, folder: Path) -> Workers:
        """Makes what runs the jobs: a process for each."""
        from seqpipe.launchers.submitit_workers import LocalWorkers
        from seqpipe.processes import usable_cores

        return LocalWorkers(folder, self.workers or usable_cores(), self.options)


class SeqpipeSlurmLauncher(SeqpipeLocalLauncher):
    """Runs each job as a job of SLURM.

    Args:
        workers: jobs that are submitted at the same time; None: all.
        options: of submitit's executor.
    """

    @classmethod
    def check(cls) -> None:
        """Refuses the launcher where submitit is not installed, or SLURM is not there."""
        import shutil

        from seqpipe.data.optional_deps import need
        from seqpipe.errors import ConfigError

        need("submitit", extra="slurm", what="launcher=submitit_slurm")
        if missing := [name for name in ("sbatch", "srun") if shutil.which(name) is None]:
            missed = " and ".join(missing)
            text = f"no SLURM here ({missed} not found); allowed: on a machine that submits jobs"
            raise ConfigError(f"launcher=submitit_slurm: {text}, or launcher=submitit_local")

    def make_workers(self, folder: Path) -> Workers:
        """Makes what runs the jobs: SLURM."""
        from seqpipe.launchers.submitit_workers import SlurmWorkers

        return SlurmWorkers(folder, self.workers or sys.maxsize, self.options)
