"""The checkpoints of a run: the best by validation, and the last to continue from."""

import contextlib
import logging
import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins import TorchCheckpointIO
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from seqpipe.bounds import MonitorOrAuto
from seqpipe.files import replacing
from seqpipe.training.archives import Outage, WholeFiles, read_archive, write_archive
from seqpipe.training.history import Validation, record, validation_of
from seqpipe.training.lightning_internals import (
    batch_index,
    metrics_to_be_logged,
    training_ends,
    validates_next,
)
from seqpipe.training.save_requests import SaveRequests

log = logging.getLogger(__name__)

TRAINED = "trained_state_dict"
"""Key of a checkpoint: the weights to continue with, if others were validated (averages)."""


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

    While `best.ckpt` is newer than `last.ckpt`, the best checkpoint that `last.ckpt` knows is kept
    beside them. So a process may be killed between the two.

    A checkpoint that the disk has no room for is left out: the one before stays, also as the best
    so far, and the next is tried.

    Args:
        dirpath: where checkpoints go.
        monitor: the metric.
        mode: `min` or `max`.
        save_last: also keep `last.ckpt`, to resume from: the end of the last whole epoch, or a
            later update at which `requests` asked for it, or `max_steps` or `max_time` stopped
            the training.

    Attributes:
        best: the validation of `best.ckpt`; None before the first.
        resumed_from: the checkpoint that the run continues, if any.
        requests: to save within an epoch.
        saved_step: number of updates at the newest `last.ckpt` of this process; None before it.
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
        self.requests = SaveRequests()
        self.saved_step: int | None = None
        self._training = self._first = True
        self._unsaved = False  # the best is of the end of this epoch, and is saved there
        self._validated: dict[str, Tensor] = {}  # weights of the best, until saved
        self._saving_best = False
        self._written: Validation | None = None  # that of the file
        self._outage = Outage()
        self._stopping = False  # a stop was requested in the middle of an update

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Note whether the run trains next, and whether this process writes files."""
        self._training, self._first = stage == "fit", trainer.is_global_zero
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:  # the user chose no other
            trainer.strategy.checkpoint_io = WholeFiles()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on a signal waits for the update and its checkpoint."""
        if self.save_last:
            self.requests.start(trainer.global_step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A signal that came after the last checkpoint ends the training here."""
        self.requests.stop()
        self.requests.end()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """From here on a signal ends the process at once."""
        self.requests.stop()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save `last.ckpt` within an epoch where that is due, after a complete update.

        No checkpoint holds accumulated gradients, so the update is finished first. If a validation
        follows, it comes before the checkpoint: Lightning would not repeat it in a resumed run.
        """
        within_update = (batch_idx + 1) % trainer.accumulate_grad_batches > 0
        self._stopping = self._stopping or trainer.should_stop
        trainer.should_stop = self._stopping and (trainer.is_last_batch or not within_update)
        if not (trainer.is_last_batch or within_update or validates_next(trainer)):
            self._save_within_epoch(trainer)

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
            else:
                self._save_within_epoch(trainer)

    def _save_within_epoch(self, trainer: Trainer) -> None:
        if not self.save_last:
            return
        asked = self.requests.after_update(trainer)
        if asked.save or training_ends(trainer):
            self._write_last(trainer)
        if asked.signal:
            self._end(trainer)

    def _end(self, trainer: Trainer) -> None:
        """Ends the training as the signal would have; Lightning would log these metrics next."""
        record(trainer, metrics_to_be_logged(trainer), trainer.global_step - 1, kept=False)
        self.requests.end()

    def _keep_closing(self, trainer: Trainer) -> None:
        """The validation after the training is the best: its checkpoint is the last one.

        Lightning already counts the epoch as finished.
        """
        # The process that writes the file also reads it.
        last_step = _step_of(self.last_path) if self._first else None
        if trainer.strategy.broadcast(last_step) != trainer.global_step:
            self._write_best(trainer)
            return
        saved: dict[str, Any] = {}
        with self._outage.tolerated(is_checkpoint=self._first):
            if self._first:
                saved = read_archive(self.last_path)
                saved["callbacks"][self.state_key] = self.state_dict()
                _put_weights(self._validated, saved)
                write_archive(self.best_path, saved)
        self._note_best(is_written := self._all_know(trainer))
        if self._first and is_written:
            with self._outage.tolerated():
                write_archive(self.last_path, saved)

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
        if trainer.is_last_batch and self.save_last:
            self._write_last(trainer)
            if self.requests.after_update(trainer).signal:
                self._end(trainer)

    @property
    def _before_path(self) -> Path:
        """The best checkpoint that `last.ckpt` knows, while `best.ckpt` is newer."""
        return self.best_path.with_name(".before-best.ckpt")

    def _write_best(self, trainer: Trainer) -> None:
        with self._outage.tolerated(is_checkpoint=False):
            if self.save_last and self._first and not self._before_path.exists():
                _keep(self.best_path, self._before_path)
        if self._all_know(trainer):
            self._saving_best = True
            self._save(trainer, self.best_path)
        self._note_best(self._all_know(trainer))
        self._saving_best, self._validated = False, {}

    def _note_best(self, is_written: bool) -> None:
        """Notes the validation of `best.ckpt`; of a file that was not written, that before."""
        if is_written:
            self._written = self.best
        else:
            self.best = self._written

    def _all_know(self, trainer: Trainer) -> bool:
        """True if the first process, which writes, has written; all processes must call it."""
        return bool(trainer.strategy.broadcast(not self._outage.failed))

    def _save(self, trainer: Trainer, path: Path) -> None:
        """Write a checkpoint that replaces the one before only once it is complete.

        All processes call it; the first one writes. What was logged before it is in the store by
        then: a run that is resumed from it does not log that again.
        """
        for logger in trainer.loggers:
            if hasattr(logger, "flush"):
                logger.flush()
        writer = trainer.strategy.checkpoint_io
        if isinstance(writer, WholeFiles):
            writer.outage = self._outage
        try:
            trainer.save_checkpoint(path)
        finally:
            if isinstance(writer, WholeFiles):
                writer.outage = None

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Store the validated weights; called after all callbacks that are not a `Checkpoint`."""
        if self._saving_best:
            _put_weights(self._validated, checkpoint)

    def _write_last(self, trainer: Trainer) -> None:
        self._save(trainer, self.last_path)
        self.requests.note_saved(trainer.global_step)  # the next attempt, too, comes when it is due
        if not self._all_know(trainer):
            return
        if self._first:
            self._before_path.unlink(missing_ok=True)
        self.saved_step = trainer.global_step

    def state_dict(self) -> dict[str, Any]:
        """Return plain containers for a checkpoint."""
        return {"best": None if self.best is None else asdict(self.best)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Find the best checkpoint of the resumed run beside its `last.ckpt`; copy it from there.

        If it is missing, only validations from now on count.
        """
        if not self._training or state_dict["best"] is None or self.resumed_from is None:
            return
        best, resumed = Validation(**state_dict["best"]), self.resumed_from
        beside = [resumed.with_name(path.name) for path in (self.best_path, self._before_path)]
        saved = next((path for path in (*beside, resumed) if _step_of(path) == best.step), None)
        if saved is None:
            log.warning(
                "the best checkpoint so far (%s %.4g) is missing in %s, so new checkpoints are not "
                "compared with it",
                self.monitor,
                best.metrics[self.monitor],
                beside[0],
            )
            return
        self.best = self._written = best
        if self._first and saved.resolve() != self.best_path.resolve():
            with replacing(self.best_path, sync=True) as made:
                shutil.copyfile(saved, made)


def _keep(path: Path, name: Path) -> None:
    """Give a file a second name, by which it is found after it has been replaced."""
    with contextlib.suppress(FileNotFoundError):
        try:
            os.link(path, name)
        except OSError:  # not on every file system
            with replacing(name, sync=True) as made:
                shutil.copyfile(path, made)


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
