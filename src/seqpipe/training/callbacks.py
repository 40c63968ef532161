"""Callbacks of every run: throughput, update count, teacher forcing, failure, progress bar."""

import sys
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from seqpipe.console import PlainConsole
from seqpipe.data.batching import ResumableLoader
from seqpipe.display import visible
from seqpipe.models.architecture import set_update
from seqpipe.training.lightning_internals import batch_index
from seqpipe.training.module import SequenceModule


class Throughput(Callback):
    """Logs `examples_per_second`: training examples over the time spent on training batches.

    That is the time from the start of a batch to the end of its update, and the time that the
    loader needs for the batch. Everything in between is not counted: validation, checkpoints,
    logging, other callbacks. Over all ranks; of a resumed epoch, over the rest of it.
    """

    def __init__(self) -> None:
        self._examples, self._seconds = 0, 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts an epoch's count."""
        self._examples, self._seconds = 0, 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Counts the batch."""
        loader = trainer.train_dataloader
        assert isinstance(pl_module, SequenceModule) and isinstance(loader, ResumableLoader)
        self._examples += len(batch)
        self._seconds += pl_module.batch_seconds + loader.seconds

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the epoch's mean."""
        rate = torch.tensor(self._examples / max(self._seconds, 1e-9), dtype=torch.float32)
        pl_module.log("examples_per_second", rate, reduce_fx="sum", sync_dist=True)


class CountedUpdates(Callback):
    """Makes loggers count finished updates, in training, validation and test.

    During training Lightning logs the number of updates before the present one. A logger with the
    attribute `unfinished` adds the present one.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Starts a training, or a validation or test by itself."""
        self._set(trainer, int(stage == "fit"))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nothing is unfinished between two batches of one update."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            batch = batch_index(trainer) + 1
            within = batch % trainer.accumulate_grad_batches and not trainer.is_last_batch
            self._set(trainer, int(not within))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The training continues."""
        self._set(trainer, int(trainer.state.fn == "fit"))

    def _set(self, trainer: Trainer, updates: int) -> None:
        for logger in trainer.loggers:
            if hasattr(logger, "unfinished"):
                logger.unfinished = updates


class ModelSchedule(Callback):
    """Sets the number of updates of a model that changes with it, as teacher forcing that falls.

    It has no state: such a model depends on the number of updates alone.
    """

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Before each batch, the same for all batches of one update."""
        assert isinstance(pl_module, SequenceModule)
        if changed := set_update(pl_module.model, trainer.global_step):
            pl_module.log_dict(changed)


class OneBar(ProgressBar):
    """One bar over all epochs with the newest loss and validation metrics.

    Without a terminal, one line an epoch instead.

    Args:
        monitor: the metric shown beside the losses.
    """

    def __init__(self, monitor: str) -> None:
        super().__init__()
        self._monitor = monitor
        self._enabled = True
        self._bar: Progress | None = None
        self._console = PlainConsole(file=sys.stderr)

    def disable(self) -> None:
        """Called by Lightning on all ranks but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Called by Lightning on the first rank."""
        self._enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Shows the bar."""
        if not (self._enabled and self._console.is_terminal):
            return
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),
            MofNCompleteColumn(table_column=Column(min_width=9)),
            TimeRemainingColumn(elapsed_when_finished=True, table_column=Column(min_width=7)),
            TextColumn("{task.fields[news]}", markup=False),
            console=self._console,
        )
        total = trainer.estimated_stepping_batches
        steps = None if total == float("inf") else int(total)
        self._task = self._bar.add_task("training", total=steps, news="")
        self._bar.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Moves the bar."""
        if self._bar is not None:
            description = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
            self._bar.update(self._task, completed=trainer.global_step, description=description)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Shows the numbers of the previous epoch, which are complete only now."""
        self._show(trainer, trainer.current_epoch)

    def _show(self, trainer: Trainer, epoch: int) -> None:
        shown = ("train/loss", "val/loss", self._monitor)
        metrics = trainer.callback_metrics
        news = "  ".join(
            f"{visible(name)} {metrics[name].item():.4g}"
            for name in dict.fromkeys(shown)
            if name in metrics
        )
        if self._bar is not None:
            self._bar.update(self._task, news=news)
        elif self._enabled and news:
            print(f"epoch {epoch}/{trainer.max_epochs}  {news}", file=sys.stderr, flush=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops the bar and leaves it on the screen."""
        self._show(trainer, trainer.current_epoch)
        self._stop()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Releases the terminal."""
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
