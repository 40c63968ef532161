"""The history of a run, epoch by epoch, and its checkpoints: the best and the last."""

import io
import logging
import math
import pickle
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from seqpipe.bounds import MonitorOrAuto
from seqpipe.files import replacing
from seqpipe.records import check_archive
from seqpipe.training.lightning_internals import batch_index

log = logging.getLogger(__name__)

UNREADABLE = (OSError, RuntimeError, EOFError, ValueError, LookupError, pickle.UnpicklingError)
"""Errors of `read_archive` for a file that torch did not write, or that is damaged."""


def read_archive(path: Path) -> Any:
    """Load a file of `torch.save` onto the CPU: tensors and plain values. No code in it can run.

    Raises:
        UNREADABLE: not such a file, damaged, or smaller than it claims.
    """
    check_archive(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def write_archive(path: Path, content: Any) -> None:
    """Write a file of `torch.save`, which replaces an older one only when it is complete.

    Raises:
        OSError: the place cannot be written to; torch has an error of its own for a full disk.
    """
    held = io.BytesIO()
    torch.save(content, held)
    with replacing(path) as made:
        made.write_bytes(held.getbuffer())


TRAINED = "trained_state_dict"
"""Key of a checkpoint: the weights to continue with, if others were validated (averages)."""


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


class BestAndLast(Checkpoint):
    """`best.ckpt` by the monitored metric, and `last.ckpt`, in the run's folder.

    Of equal values the last counts: a small validation split has few different values, and the
    later weights were trained longer, with a lower learning rate.

    A resumed run has a folder of its own. The best checkpoint so far is copied into it, so that a
    worse one cannot replace it, and the earlier run keeps its files. (Lightning's own callback
    forgets the best score when the folder changes, keeps the first of equal values, and saves
    nothing for a validation in an epoch that `max_time` ends.)

    `best.ckpt` holds the weights that were validated; a callback that averages weights validates
    the averages.

    Args:
        dirpath: where checkpoints go.
        monitor: the metric.
        mode: `min` or `max`.
        save_last: also keep `last.ckpt`, to resume from: the end of the last whole epoch, or the
            update at which `max_steps` or `max_time` stopped the training.

    Attributes:
        best: the validation of `best.ckpt`; None before the first.
        resumed_from: the checkpoint that the run continues, if any.
    """

    def __init__(
        self,
        *,
        dirpath: Path,
        monitor: MonitorOrAuto,
        mode: Literal["min", "max"],
        save_last: bool = True,
    ) -> None:
        self.best_path, self.last_path = Path(dirpath) / "best.ckpt", Path(dirpath) / "last.ckpt"
        self.monitor, self.sign = monitor, 1.0 if mode == "max" else -1.0
        self.save_last = save_last
        self.best: Validation | None = None
        self.resumed_from: Path | None = None
        self._training = self._first = True
        self._unsaved = False  # the best is of the end of this epoch, and is saved there
        self._validated: dict[str, Tensor] = {}  # weights of the best, until saved
        self._saving_best = False
        self._stopping = False  # a stop was requested in the middle of an update

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Note whether the run trains next, and whether this process writes files."""
        self._training, self._first = stage == "fit", trainer.is_global_zero

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save `last.ckpt` if the training stops within an epoch, after a complete update.

        No checkpoint holds accumulated gradients, so the update is finished first.
        """
        within_update = (batch_idx + 1) % trainer.accumulate_grad_batches > 0
        self._stopping = self._stopping or trainer.should_stop
        trainer.should_stop = self._stopping and (trainer.is_last_batch or not within_update)
        if not trainer.is_last_batch and not within_update and _stops(trainer):
            self._write_last(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the weights if they are the best; at an epoch's end only after it."""
        if trainer.sanity_checking:
            return
        now = validation_of(trainer)
        training = trainer.state.fn == TrainerFn.FITTING
        if trainer.strategy.reduce_boolean_decision(self._is_best(now)):
            self.best = now
            self._validated = getattr(pl_module, "validated", {})
            self._unsaved = training and trainer.is_last_batch
            if not training:
                self._keep_closing(trainer)
            elif not self._unsaved:
                self._write_best(trainer)
        if training and not trainer.is_last_batch:
            if (batch_index(trainer) + 1) % trainer.accumulate_grad_batches:
                self._stopping = self._stopping or trainer.should_stop
                trainer.should_stop = False
            elif _stops(trainer):
                self._write_last(trainer)

    def _keep_closing(self, trainer: Trainer) -> None:
        """The validation after the training is the best: its checkpoint is the last one.

        Lightning already counts the epoch as finished.
        """
        # The process that writes the file also reads it.
        last_step = _step_of(self.last_path) if self._first else None
        if trainer.strategy.broadcast(last_step) != trainer.global_step:
            self._write_best(trainer)
            return
        if self._first:
            saved = read_archive(self.last_path)
            saved["callbacks"][self.state_key] = self.state_dict()
            _put_weights(self._validated, saved)
            for path in (self.best_path, self.last_path):
                write_archive(path, saved)
        trainer.strategy.barrier()

    def _is_best(self, now: Validation) -> bool:
        value = now.metrics.get(self.monitor, math.nan)
        if self.best is None:  # a value that is not finite is never the best
            return math.isfinite(value)
        better = self.sign * value >= self.sign * self.best.metrics[self.monitor]
        return better and math.isfinite(value)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the best, and the last of a whole epoch."""
        if self._unsaved:
            self._unsaved = False
            self._write_best(trainer)
        if trainer.is_last_batch:
            self._write_last(trainer)

    def _write_best(self, trainer: Trainer) -> None:
        self._saving_best = True
        _save(trainer, self.best_path)
        self._saving_best, self._validated = False, {}

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Store the validated weights; called after all callbacks that are not a `Checkpoint`."""
        if self._saving_best:
            _put_weights(self._validated, checkpoint)

    def _write_last(self, trainer: Trainer) -> None:
        if self.save_last:
            _save(trainer, self.last_path)

    def state_dict(self) -> dict[str, Any]:
        """Return plain containers for a checkpoint."""
        return {"best": None if self.best is None else asdict(self.best)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Copy the best checkpoint of the resumed run, which lies beside its `last.ckpt`.

        If it is missing, only validations from now on count.
        """
        if not self._training or state_dict["best"] is None or self.resumed_from is None:
            return
        best, old = Validation(**state_dict["best"]), self.resumed_from.with_name("best.ckpt")
        saved = self.resumed_from if _step_of(self.resumed_from) == best.step else old
        if _step_of(saved) != best.step:
            log.warning(
                "the best checkpoint so far (%s %.4g) is missing in %s, so new checkpoints are not "
                "compared with it",
                self.monitor,
                best.metrics[self.monitor],
                old,
            )
            return
        self.best = best
        if self._first and saved.resolve() != self.best_path.resolve():
            with replacing(self.best_path) as made:
                shutil.copyfile(saved, made)


def _save(trainer: Trainer, path: Path) -> None:
    """Write a checkpoint that replaces the one before only once it is complete.

    All processes call it; the first one writes.
    """
    if trainer.is_global_zero:
        with replacing(path) as made:
            trainer.save_checkpoint(made)
    else:
        trainer.save_checkpoint(path)  # takes part and writes nothing
    trainer.strategy.barrier("checkpoint")  # no process reads the previous one


def _put_weights(validated: Mapping[str, Tensor], checkpoint: dict[str, Any]) -> None:
    """Put the validated weights into a checkpoint, and keep its own to continue training.

    Args:
        validated: the weights; empty if unknown.
        checkpoint: on any device.
    """
    held = checkpoint["state_dict"]
    if validated and not same_weights(validated, held):
        checkpoint.setdefault(TRAINED, held)
        checkpoint["state_dict"] = {k: v.to(held[k].device) for k, v in validated.items()}


def same_weights(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Return True if two sets of weights are equal, on any device."""
    return one.keys() == other.keys() and all(
        torch.equal(part, other[name].to(part.device)) for name, part in one.items()
    )


def _step_of(path: Path) -> int | None:
    """Return the number of updates at a checkpoint; None if there is no such file."""
    if not path.is_file():
        return None
    return int(read_archive(path)["global_step"])


def _stops(trainer: Trainer) -> bool:
    """Return True if Lightning leaves the training loop after this batch."""
    if trainer.global_step == trainer.max_steps:
        return True
    epochs, steps = trainer.min_epochs or 0, trainer.min_steps or 0
    return trainer.should_stop and trainer.current_epoch >= epochs and trainer.global_step >= steps
