"""Hydra's launcher of jobs one after another, in the process of the command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hydra_plugins.seqpipe_launchers._base import QueueLauncher

if TYPE_CHECKING:
    from pathlib import Path

    from seqpipe.launchers.workers import Workers


class SeqpipeBasicLauncher(QueueLauncher):
    """Runs one job after another in this process."""

    def make_workers(self, folder: Path) -> Workers:
        """Makes what runs the jobs: this process."""
        from seqpipe.launchers.workers import InThisProcess

        return InThisProcess()
