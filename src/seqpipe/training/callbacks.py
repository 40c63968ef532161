"""Callbacks: throughput, and one line of progress."""

import sys
import time
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column


class Throughput(Callback):
    """Logs `examples_per_second`: training examples over the time spent on training batches.

    Validation, checkpoints and logging between batches are not counted, loading the batches is.
    Over all ranks.
    """

    def __init__(self) -> None:
        self._examples, self._seconds, self._started = 0, 0.0, 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock."""
        self._examples, self._seconds, self._started = 0, 0.0, time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Counts the batch."""
        now = time.perf_counter()
        self._examples += len(batch)
        self._seconds, self._started = self._seconds + now - self._started, now

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The time of a validation inside an epoch is not training time."""
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the epoch's mean."""
        rate = torch.tensor(self._examples / max(self._seconds, 1e-9), dtype=torch.float32)
        pl_module.log("examples_per_second", rate, reduce_fx="sum", sync_dist=True)


class OneBar(ProgressBar):
    """One bar over all epochs with the newest loss and validation metrics.

    Where nobody watches (no terminal), one line an epoch instead.

    Args:
        monitor: the metric shown beside the losses.
    """

    def __init__(self, monitor: str) -> None:
        super().__init__()
        self._monitor = monitor
        self._enabled = True
        self._bar: Progress | None = None
        self._console = Console(file=sys.stderr)

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
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            MofNCompleteColumn(table_column=Column(min_width=9)),
            TimeRemainingColumn(elapsed_when_finished=True, table_column=Column(min_width=7)),
            TextColumn("{task.fields[news]}"),
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
        """Shows the numbers of the epoch before, which are complete only now."""
        self._tell(trainer, trainer.current_epoch)

    def _tell(self, trainer: Trainer, epoch: int) -> None:
        shown = ("train/loss", "val/loss", self._monitor)
        metrics = trainer.callback_metrics
        news = "  ".join(
            f"{name} {metrics[name].item():.4g}" for name in dict.fromkeys(shown) if name in metrics
        )
        if self._bar is not None:
            self._bar.update(self._task, news=news)
        elif self._enabled and news:
            print(f"epoch {epoch}/{trainer.max_epochs}  {news}", file=sys.stderr, flush=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leaves the finished bar standing."""
        self._tell(trainer, trainer.current_epoch)
        self._stop()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Gives the terminal back."""
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
