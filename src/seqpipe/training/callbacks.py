"""Callbacks: throughput, history, checkpoints that survive a resume, one line of progress."""

import math
import shutil
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint, ProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor


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


class History(Checkpoint):
    """Keeps every epoch's numbers, and those of the best validation; of equal ones, the last.

    A `Checkpoint` only so that Lightning calls it last, when the epoch's numbers are complete.

    Args:
        monitor: the metric that says which validation was best.
        mode: `min` or `max`.

    Attributes:
        series: name -> [(step, value), ...].
        best: the validation metrics of the best validation so far.
        best_epoch: its epoch, counted from 1; 0 before the first.
        best_step: its optimizer step.
    """

    def __init__(self, monitor: str, mode: str) -> None:
        self.monitor, self.sign = monitor, 1.0 if mode == "max" else -1.0
        self.series: dict[str, list[tuple[int, float]]] = {}
        self.best: dict[str, float] = {}
        self.best_epoch = self.best_step = 0
        self._training = True

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Notes what the run goes on to do."""
        self._training = stage == "fit"

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes the validation, and whether it is the best."""
        if trainer.sanity_checking:
            return
        now = {k: v.item() for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
        self._note(now, trainer.global_step)
        value, best = now.get(self.monitor, math.nan), self.best.get(self.monitor, math.nan)
        if math.isnan(best) or self.sign * value >= self.sign * best:
            self.best, self.best_step = now, trainer.global_step
            self.best_epoch = trainer.current_epoch + 1

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes the training numbers of the epoch."""
        metrics = trainer.callback_metrics.items()
        now = {k: v.item() for k, v in metrics if not k.startswith("val/")}
        self._note(now, trainer.global_step)

    def _note(self, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self.series.setdefault(name, []).append((step, value))

    def state_dict(self) -> dict[str, Any]:
        """Plain containers, for the checkpoint."""
        series = {name: [list(point) for point in points] for name, points in self.series.items()}
        where = {"best_epoch": self.best_epoch, "best_step": self.best_step}
        return {"series": series, "best": self.best, **where}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from a checkpoint; a test of the best one must not forget what came after it."""
        if not self._training:
            return
        saved = state_dict["series"].items()
        self.series = {name: [(int(s), v) for s, v in points] for name, points in saved}
        self.best = state_dict["best"]
        self.best_epoch, self.best_step = state_dict["best_epoch"], state_dict["best_step"]


class BestAndLast(ModelCheckpoint):
    """`best.ckpt` by the monitored metric, and `last.ckpt`, in the run's folder.

    Of equal values the last counts: a small validation split has few, and the weights that come
    later were trained longer, under a lower learning rate. (Lightning's own keeps the first.)

    A resumed run has a folder of its own: the best checkpoint so far is copied into it, so that
    a worse one does not take its place and the run it came from keeps what it has. (Lightning's
    own forgets the best score when the folder changes, and writes `last` only with a new best.)

    Args:
        dirpath: where checkpoints go.
        monitor: the metric.
        mode: `min` or `max`.
        save_last: keep `last.ckpt` as well, to resume from: where the last whole epoch ended, or
            where `max_steps` or `max_time` stopped inside one.
    """

    def __init__(self, *, dirpath: Path, monitor: str, mode: str, save_last: bool = True) -> None:
        super().__init__(
            dirpath=dirpath,
            filename="best",
            monitor=monitor,
            mode=mode,
            auto_insert_metric_name=False,
            enable_version_counter=False,
        )
        self.keep_last = save_last

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """As Lightning's, which warns of a folder that is not empty; ours may be resumed in."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Checkpoint directory .* is not empty")
            super().setup(trainer, pl_module, stage)

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Whether `current` is better than the best so far, or as good."""
        as_good = current is not None and bool(current == self.best_model_score)
        return trainer.strategy.reduce_boolean_decision(as_good) or super().check_monitor_top_k(
            trainer, current
        )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keeps where a training stands that stops inside an epoch."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        stops = trainer.should_stop or trainer.global_step == trainer.max_steps
        if stops and not trainer.is_last_batch:
            self._write_last(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keeps the best, and the last of a whole epoch."""
        if trainer.is_last_batch:
            super().on_train_epoch_end(trainer, pl_module)
            self._write_last(trainer)

    def _write_last(self, trainer: Trainer) -> None:
        assert self.dirpath is not None
        if self.keep_last:
            trainer.save_checkpoint(Path(self.dirpath) / "last.ckpt")

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over the best checkpoint of the run that is resumed."""
        old = Path(state_dict["best_model_path"])
        if not old.is_file():
            return
        assert self.dirpath is not None
        new = Path(self.dirpath) / "best.ckpt"
        if new != old:
            new.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(old, new)
        score = state_dict["best_model_score"]
        self.best_model_path = self.kth_best_model_path = str(new)
        self.best_model_score = self.kth_value = score
        self.best_k_models = {str(new): score}
        self.current_score = state_dict["current_score"]


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
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
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
