"""The logger of Lightning's Trainer, which passes all metrics to a tracker."""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only

from seqpipe.tracking.base import Tracker


def writes_here() -> bool:
    """True in the process that records, the first of those that train together."""
    return int(getattr(rank_zero_only, "rank", 0)) == 0


class TrackerLogger(Logger):
    """Forwards Lightning's metrics to a tracker.

    Hyperparameters are not logged: the tracker was started with all of them. `save` and
    `finalize` do nothing: Lightning saves after every single metric and finalizes before the test.

    Args:
        tracker: where the metrics go.
        save_dir: the run's folder.

    Attributes:
        unfinished: updates that Lightning's step does not count yet: during training it is the
            number of updates before the present one, and epochs count from 0.
    """

    def __init__(self, tracker: Tracker, save_dir: Path) -> None:
        super().__init__()
        self.unfinished = 0
        self._tracker = tracker
        self._save_dir = save_dir

    @property
    def name(self) -> str:
        """Empty: the run's folder is not divided by experiment."""
        return ""

    @property
    def version(self) -> str:
        """The id of the run."""
        return self._tracker.run_id or ""

    @property
    def save_dir(self) -> str:
        """The run's folder."""
        return str(self._save_dir)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Records the metrics at the number of updates made, and the epoch counted from 1."""
        if self.unfinished and "epoch" in metrics:
            metrics = {**metrics, "epoch": metrics["epoch"] + 1}
        self._tracker.log_metrics(metrics, (step or 0) + self.unfinished)

    @rank_zero_only
    def flush(self) -> None:
        """Writes what the tracker still holds, before a checkpoint."""
        if hasattr(self._tracker, "flush"):  # a tracker of the user's own may hold nothing
            self._tracker.flush()

    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Does nothing: they were recorded when the run started."""
