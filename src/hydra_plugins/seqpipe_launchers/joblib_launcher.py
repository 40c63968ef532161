"""Hydra's launcher of jobs in processes of this machine, by the library of joblib."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hydra_plugins.seqpipe_launchers._base import QueueLauncher

if TYPE_CHECKING:
    from pathlib import Path

    from seqpipe.launchers.workers import Workers


class SeqpipeJoblibLauncher(QueueLauncher):
    """Runs jobs in processes that each live for many jobs."""

    def make_workers(self, folder: Path) -> Workers:
        """Makes the processes: one for each core, if their number is not given."""
        from seqpipe.launchers.loky_workers import LokyWorkers
        from seqpipe.processes import usable_cores

        return LokyWorkers(self.workers or usable_cores())
