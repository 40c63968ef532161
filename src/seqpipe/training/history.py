"""The history of a run: its metrics, epoch by epoch and validation by validation."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.trainer.states import TrainerFn


@dataclass(frozen=True)
class Validation:
    """The result of one validation.

    Args:
        metrics: `val/...`.
        epoch: the epoch it ended or interrupted, counted from 1.
        step: number of updates before it.
    """

    metrics: dict[str, float]
    epoch: int
    step: int


def validation_of(trainer: Trainer) -> Validation:
    """Return the validation that has just ended."""
    metrics = {k: v.item() for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
    training = trainer.state.fn == TrainerFn.FITTING  # otherwise the epoch is already counted
    return Validation(metrics, trainer.current_epoch + training, trainer.global_step)


class History(Checkpoint):
    """Keeps the metrics of every epoch and validation.

    It is a `Checkpoint` so that Lightning calls it last, when all metrics of an epoch are known.

    Attributes:
        series: name -> [(step, value), ...].
        last: the newest validation; None before the first.
        started: whether the training began, after a checkpoint was restored.
    """

    def __init__(self) -> None:
        self.series: dict[str, list[tuple[int, float]]] = {}
        self.last: Validation | None = None
        self.started = False
        self._training = True

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Note whether the run trains, validates or tests next."""
        self._training = stage == "fit"

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that the training begins."""
        self.started = True

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the validation."""
        if not trainer.sanity_checking:
            self.last = validation_of(trainer)
            self.add_points(self.last.metrics, self.last.step)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the training metrics of the epoch."""
        metrics = trainer.callback_metrics.items()
        now = {k: v.item() for k, v in metrics if not k.startswith("val/")}
        self.add_points(now, trainer.global_step)

    def add_points(self, values: Mapping[str, float], step: int) -> None:
        """Add points to the series, at the number of updates made so far."""
        for name, value in values.items():
            self.series.setdefault(name, []).append((step, value))

    def state_dict(self) -> dict[str, Any]:
        """Return plain containers for a checkpoint."""
        series = {name: [list(point) for point in points] for name, points in self.series.items()}
        return {"series": series, "last": None if self.last is None else asdict(self.last)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the history to continue a training; a test keeps the history it has."""
        if not self._training:
            return
        saved, last = state_dict["series"].items(), state_dict["last"]
        self.series = {name: [(int(s), v) for s, v in points] for name, points in saved}
        self.last = None if last is None else Validation(**last)


def record(
    trainer: Trainer, metrics: Mapping[str, float], update: int, *, kept: bool = True
) -> None:
    """Log metrics at this update. Lightning logs only every few updates, and none after the end.

    Args:
        trainer: with the loggers.
        metrics: name -> value.
        update: number of updates before it.
        kept: also add them to the history.
    """
    if not metrics:
        return
    for logger in trainer.loggers:
        logger.log_metrics(dict(metrics), step=update)
    for callback in trainer.checkpoint_callbacks if kept else ():
        if isinstance(callback, History):
            callback.add_points(metrics, update + 1)
