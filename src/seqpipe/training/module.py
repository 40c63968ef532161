"""The one LightningModule: any model, any task."""

from collections.abc import Callable
from typing import Any, Literal, cast

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, distributed, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchmetrics import Metric

from seqpipe.data.base import SequenceBatch
from seqpipe.errors import TrainingError
from seqpipe.tasks.base import Task
from seqpipe.tasks.metrics import WeightedMean
from seqpipe.training.carrying import Carried, Carries

Stage = Literal["train", "val", "test"]


class SequenceModule(LightningModule):
    """Trains `model` on `task`: losses, metrics, clipping, optimizer and schedule.

    Logged: `<stage>/loss` and the task's metrics, each over the whole split and weighted by what
    it counts; `grad_norm/total`, the norm of the whole gradient before clipping;
    `grad_norm/clipped_fraction`, the share of the epoch's updates in which clipping changed the
    gradient; `lr`.

    Args:
        model: called with (x, x_lengths, y, y_lengths), answers logits.
        task: loss, predictions and metrics.
        make_optimizer: from parameters.
        make_schedule: from the optimizer, `total_steps`, `monitor` and `mode`.
        saved_config: plain containers kept in every checkpoint.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        make_optimizer: Callable[..., Optimizer],
        make_schedule: Callable[..., Any],
        saved_config: dict[str, Any],
    ) -> None:
        super().__init__()
        self.model, self.task = model, task
        self.make_optimizer, self.make_schedule = make_optimizer, make_schedule
        self.saved_config = saved_config
        stages: tuple[Stage, ...] = ("train", "val", "test")
        self.losses = nn.ModuleDict({f"{stage}_loss": WeightedMean() for stage in stages})
        self.metrics = nn.ModuleDict({f"{stage}_metrics": task.metrics(stage) for stage in stages})
        self.clipped = WeightedMean()
        self.test_report: dict[str, Tensor] = {}
        self.carried = {stage: Carried() for stage in stages}
        self._resumed: dict[str, Any] = {}  # of the checkpoint that is resumed from

    def forward(self, batch: SequenceBatch) -> Tensor:
        """Logits of a batch: (B, K) or (B, T, K)."""
        logits: Tensor = self.model(batch.x, batch.x_lengths, batch.y, batch.y_lengths)
        return logits

    def training_step(self, batch: SequenceBatch, batch_idx: int) -> Tensor:
        """One update's mean loss."""
        return self._shared_step(batch, "train")

    def validation_step(self, batch: SequenceBatch, batch_idx: int) -> None:
        """Updates the validation's loss and metrics."""
        self._shared_step(batch, "val")

    def test_step(self, batch: SequenceBatch, batch_idx: int) -> None:
        """Updates the test's loss and metrics."""
        self._shared_step(batch, "test")

    def _shared_step(self, batch: SequenceBatch, stage: Stage) -> Tensor:
        outputs = self(batch) if batch.lane is None else self._carry(batch, stage)
        loss = self.task.loss(outputs, batch, training=stage == "train")
        mean = cast(WeightedMean, self.losses[f"{stage}_loss"])
        mean.update(loss.detach(), self.task.units(batch))
        metrics = cast(Any, self.metrics[f"{stage}_metrics"])
        if len(metrics):
            with torch.no_grad():
                predictions = self.task.predict(self.model, outputs, batch)
                metrics.update(*self.task.pairs(predictions, batch))
        return loss

    def _carry(self, batch: SequenceBatch, stage: Stage) -> Tensor:
        """Logits of a batch that goes on where the one before it ended."""
        assert isinstance(self.model, Carries) and batch.fresh is not None
        assert batch.lane is not None and batch.y_lengths is not None
        carried = self.carried[stage]
        state = carried.enter(self.model.start(len(batch)), batch.lane, batch.fresh)
        logits, state = self.model.carry(batch.x, batch.x_lengths, batch.y, batch.y_lengths, state)
        carried.leave(state, batch.lane)
        return logits

    def on_train_epoch_end(self) -> None:
        """Logs the epoch's training loss and metrics, and how often clipping acted."""
        self._log_stage("train")
        if self.trainer.gradient_clip_val is not None:
            self.log("grad_norm/clipped_fraction", self.clipped.compute(), sync_dist=True)
            self.clipped.reset()

    def on_validation_epoch_end(self) -> None:
        """Logs the validation, and shows it to a schedule that waits for better ones.

        Lightning would show it only after the checkpoint of the epoch is written, and an old one
        in epochs without a validation.
        """
        _, scalars = self._log_stage("val")
        schedule = self.lr_schedulers() if self.trainer.state.fn == "fit" else None
        if isinstance(schedule, ReduceLROnPlateau) and not self.trainer.sanity_checking:
            schedule.step(scalars[self.task.monitor.removeprefix("val/")])

    def on_test_epoch_end(self) -> None:
        """Logs the test's loss and metrics, and keeps what a figure needs."""
        self.test_report, _ = self._log_stage("test")

    def _log_stage(self, stage: Stage) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Logs the scalars of a finished split; returns all its metrics computed, and those."""
        mean = cast(WeightedMean, self.losses[f"{stage}_loss"])
        metrics = cast(Any, self.metrics[f"{stage}_metrics"])
        loss, computed = mean.compute(), metrics.compute() if len(metrics) else {}
        scalars = {"loss": loss, **self.task.scalars(computed), **self.task.derived(loss)}
        for name, value in scalars.items():
            # torchmetrics has made it the same on every rank; sync_dist keeps Lightning quiet.
            self.log(f"{stage}/{name}", value.float(), sync_dist=True)
        mean.reset()
        metrics.reset()
        return computed, scalars

    def configure_optimizers(self) -> Any:
        """The optimizer, and the schedule over the run's estimated steps."""
        optimizer = self.make_optimizer(self.parameters())
        schedule = self.make_schedule(
            optimizer,
            total_steps=self.trainer.estimated_stepping_batches,
            monitor=self.task.monitor,
            mode=self.task.mode,
        )
        if schedule is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Measures the gradient before clipping, clips it, and says how often that did anything.

        Called by Lightning once per update, after unscaling and before the optimizer step. The
        norm is computed once and reused for the clip.

        Raises:
            TrainingError: the gradient is not finite.
        """
        grads = [p.grad for p in self.parameters() if p.grad is not None]
        total = nn.utils.get_total_norm(grads)
        every = cast(Any, self.trainer).log_every_n_steps
        logging_now = (self.global_step + 1) % every == 0
        self._refuse_infinite(total, logging_now)
        if gradient_clip_val is not None:
            acted = self._clip(grads, total, gradient_clip_val, gradient_clip_algorithm)
            # An update that is not finite is none: the scaler of 16-mixed skips it.
            finite = torch.isfinite(total)
            self.clipped.update(torch.where(finite, acted, 0.0), finite.float())
        if logging_now:
            self.log("grad_norm/total", total)
            self.log("lr", optimizer.param_groups[0]["lr"])

    def _refuse_infinite(self, total: Tensor, logging_now: bool) -> None:
        """Asking a GPU costs a synchronisation, so there it is asked only when numbers are logged.

        The scaler of precision=16-mixed skips such an update and halves its scale by itself.
        """
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        asked = logging_now or total.device.type == "cpu"
        if asked and not scaled and not torch.isfinite(total):
            raise TrainingError(
                f"the gradient of update {self.global_step + 1} is not finite; a lower optim.lr,"
                " trainer.gradient_clip_val (1.0 is usual), or trainer.precision=32 may help;"
                " trainer.detect_anomaly=true names the operation"
            )

    def _clip(
        self, grads: list[Tensor], total: Tensor, limit: float, algorithm: str | None
    ) -> Tensor:
        """Clips in place. Returns 1.0 where that changed anything, else 0.0."""
        parameters = [p for p in self.parameters() if p.grad is not None]
        if algorithm == "value":
            largest = torch.stack([grad.abs().max() for grad in grads]).max()
            nn.utils.clip_grad_value_(parameters, limit)
            return (largest > limit).float()
        assert algorithm in (None, "norm"), algorithm
        nn.utils.clip_grads_with_norm_(parameters, limit, total)
        return (total > limit).float()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the configuration, the random numbers' state and the epoch's sums; no code."""
        here: dict[str, Any] = {"cpu": torch.get_rng_state(), "sums": self._epoch_sums()}
        here["carried"] = self.carried["train"].lanes
        if self.device.type == "cuda":
            here["cuda"] = torch.cuda.get_rng_state(self.device)
        everywhere: list[Any] = [here]
        if distributed.is_available() and distributed.is_initialized():
            everywhere = [None] * self.trainer.world_size
            distributed.all_gather_object(everywhere, here)
        checkpoint["seqpipe"] = {**self.saved_config, "processes": everywhere}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remembers what `on_train_start` goes on with."""
        saved = checkpoint["seqpipe"]["processes"]
        rank = self.global_rank
        self._resumed = saved[rank] if len(saved) == self.trainer.world_size else {}

    def on_train_start(self) -> None:
        """Dropout goes on with the numbers that would have come next, the epoch with its sums.

        Processes that train together each draw their own numbers.
        """
        if not self._resumed:
            if self.global_rank > 0:
                torch.manual_seed(torch.initial_seed() + self.global_rank)
            return
        torch.set_rng_state(self._resumed["cpu"].cpu())
        if "cuda" in self._resumed and self.device.type == "cuda":
            torch.cuda.set_rng_state(self._resumed["cuda"].cpu(), self.device)
        self.carried["train"].restore(self._resumed["carried"], self.device)
        metrics = self._epoch_metrics()
        for name, sums in self._resumed["sums"].items():
            metric = metrics[name]
            for part, value in sums.items():
                setattr(metric, part, value.to(self.device))
            metric._update_count = 1  # else torchmetrics warns that there is nothing to compute

    def _epoch_metrics(self) -> dict[str, Metric]:
        """The metrics that are summed up over a training epoch, by name."""
        metrics = cast(dict[str, Metric], dict(cast(Any, self.metrics["train_metrics"]).items()))
        mean = cast(WeightedMean, self.losses["train_loss"])
        return {**metrics, "loss": mean, "clipped_fraction": self.clipped}

    def _epoch_sums(self) -> dict[str, dict[str, Tensor]]:
        """Where they stand, in this process; nothing of those that have seen no batch."""
        return {
            name: {part: torch.as_tensor(v).cpu() for part, v in metric.metric_state.items()}
            for name, metric in self._epoch_metrics().items()
            if metric.update_called
        }
