"""The one LightningModule: any model, any task."""

import functools
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast

import torch
from pytorch_lightning import Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from seqpipe.data.base import SequenceBatch
from seqpipe.report.classes import class_findings
from seqpipe.report.findings import Finding, Observer
from seqpipe.tasks.base import Task
from seqpipe.tasks.computed import classes_of, warn_of_undefined
from seqpipe.training.accumulation import Accumulation, penalty_of
from seqpipe.training.carried_state import Carried, answer
from seqpipe.training.checkpoints import TRAINED
from seqpipe.training.epoch_sums import Counted, EpochSums
from seqpipe.training.gradient_stats import WINDOWS, GradientFlow, by_name
from seqpipe.training.history import record
from seqpipe.training.lean import LeanModule
from seqpipe.training.nonfinite_guard import BadSteps, run_backward
from seqpipe.training.optimizers import keep_speed, make_for, unscale_fused
from seqpipe.training.process_state import gather, random_state, restore_random_state
from seqpipe.training.schedules import step_plateau

Stage = Literal["train", "val", "test"]


class SequenceModule(LeanModule, Observer):
    """Trains `model` on `task`: losses, metrics, clipping, optimizer and schedule.

    The gradient of an update is that of the mean over all that the task counts (`Task.units`) in
    all batches and processes of the update.

    Logged: `<stage>/loss` and the task's metrics, each over the whole split and weighted by what
    it counts; `train/penalty`, which the training loss gets besides. Of the gradient before
    clipping `grad_norm/total` and `grad_norm/<part>`, and `grad_norm/window_max` and
    `grad_norm/window_p99` of all updates of a window; `grad_norm/clipped_fraction`, the share of
    the epoch's updates in which clipping changed the gradient, and `grad_norm/clip_scale`, the mean
    of its norm after over its norm before; `update_ratio/<part>`, the norm of the step over the
    norm of the weights; `lr`; `bad_steps`.

    Args:
        model: called with (x, x_lengths, y, y_lengths), returns logits.
        task: loss, predictions and metrics.
        make_optimizer: called with the parameters.
        make_schedule: called with the optimizer, `total_steps`, `monitor` and `mode`.
        saved_config: plain containers kept in every checkpoint.
        max_bad_steps: number of updates that may be skipped because they are not finite.
        decay_all: weight decay shrinks all parameters; False: those of `seqpipe.nn.weight_decay`.

    Attributes:
        flow: the gradient's norms, and advice on its clipping.
        bad_steps: skips updates that are not finite.
        batch_seconds: time from the start of the last training batch to the end of its update.
        validated: weights of the newest validation, as they were in it, until the next batch.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        make_optimizer: Callable[..., Optimizer],
        make_schedule: Callable[..., Any],
        saved_config: dict[str, Any],
        max_bad_steps: int = 10,
        decay_all: bool = False,
    ) -> None:
        super().__init__()
        self.model, self.task = model, task
        self.make_optimizer, self.make_schedule = make_optimizer, make_schedule
        self.saved_config, self.decay_all = saved_config, decay_all
        stages: tuple[Stage, ...] = ("train", "val", "test")
        self.sums = nn.ModuleDict(
            {f"{stage}_sums": EpochSums(task.metrics(stage)) for stage in stages}
        )
        self._tested: dict[str, Tensor] = {}  # the metrics of the test
        self.validated: dict[str, Tensor] = {}
        self.carried = {stage: Carried() for stage in stages}
        self.flow = GradientFlow(by_name(self))
        self._optimizer: Optimizer | None = None  # until the training takes it
        self.bad_steps = BadSteps(model, task, max_bad_steps)
        self.batch_seconds = self._batch_started = 0.0
        self._uncounted: list[Counted] = []  # batches of the present update
        self._accumulation = Accumulation()
        self._last_batch = False  # of the present update
        self._resumed: dict[str, Any] = {}  # of the checkpoint that is resumed from

    def forward(self, batch: SequenceBatch) -> Tensor:
        """Logits of a batch: (B, K) or (B, T, K)."""
        logits: Tensor = self.model(batch.x, batch.x_lengths, batch.y, batch.y_lengths)
        return logits

    def training_step(self, batch: SequenceBatch, batch_idx: int) -> Tensor:
        """The mean loss of a batch; it enters the epoch's sums when the update is made."""
        self._batch_started = time.perf_counter()
        self.validated = {}  # its memory serves the update
        self.bad_steps.keep_batch(batch, self.carried["train"], self.device)
        loss, counted = self._run(batch, "train")
        penalty = penalty_of(self.bad_steps.parts(), self.task, batch)
        if penalty is not None:
            loss, counted = loss + penalty, counted._replace(penalty=penalty.detach())
        self._uncounted.append(counted)
        return self.bad_steps.mark_loss(loss)

    def validation_step(self, batch: SequenceBatch, batch_idx: int) -> None:
        """Updates the validation's loss and metrics."""
        self.sums_of("val").add(self._run(batch, "val")[1])

    def test_step(self, batch: SequenceBatch, batch_idx: int) -> None:
        """Updates the test's loss and metrics."""
        self.sums_of("test").add(self._run(batch, "test")[1])

    def _run(self, batch: SequenceBatch, stage: Stage) -> tuple[Tensor, Counted]:
        """The mean loss of a batch, and its contribution to the epoch's sums."""
        outputs = answer(self.model, batch, self.carried[stage])
        pairs, scores, units = None, None, self.task.units(batch)
        if len(self.sums_of(stage).metrics) and batch.repeated is None:
            with torch.no_grad():
                predictions = self.task.predict(self.model, outputs, batch)
                pairs = self.task.pairs(predictions, batch)
                if self.sums_of(stage).takes_scores:
                    scores = self.task.scores(outputs, batch)
        if stage == "train" and pairs is None and not self._watched():
            loss = self.task.training_loss(outputs, batch)  # which may overwrite the outputs
        else:
            loss = self.task.loss(outputs, batch, training=stage == "train")
        if batch.repeated is not None:
            units = torch.zeros_like(units)
        return loss, Counted(loss.detach(), units, pairs, scores)

    def _watched(self) -> bool:
        """True where a hook sees what a part returns, and may read it later."""
        return any(part._forward_hooks for part in self.bad_steps.parts())

    def sums_of(self, stage: Stage) -> EpochSums:
        """The loss and the metrics of a stage so far."""
        return cast(EpochSums, self.sums[f"{stage}_sums"])

    def _count_update(self) -> None:
        for counted in self._uncounted:
            self.sums_of("train").add(counted)
        self._uncounted = []
        self.bad_steps.forget_update()

    def on_train_epoch_end(self) -> None:
        """Logs the epoch's training loss and metrics, and the effect of clipping."""
        self._count_update()  # of an update that the end of the training cut short
        if self.sums_of("train").loss.update_called:  # else all were bad
            if (penalty := self.sums_of("train").penalty).update_called:
                self.log("train/penalty", penalty.compute().float(), sync_dist=True)
            self._log_stage("train")
        if self.trainer.gradient_clip_val is not None:
            for name, value in self.flow.epoch_metrics().items():
                self.log(name, value, sync_dist=True)  # it is the same in every process

    def on_train_end(self) -> None:
        """Records the last window of gradient norms, full or not.

        Raises:
            TrainingError: the last update made weights that are not finite.
        """
        self.bad_steps.check_weights(self.global_step)
        self.record_last_window(self.trainer)

    def record_last_window(self, trainer: Trainer) -> None:
        """Records the gradient norms of a window that the end of the training cut short."""
        record(trainer, self.flow.window_metrics(ended=True), max(0, trainer.global_step - 1))

    def findings(self, folder: Path, title: str) -> tuple[Finding, ...]:
        """The norms of the gradient, the effect of clipping, and the scores of classes."""
        tested = classes_of(self._tested, self.task.y.names, self.task.positive)
        return (*self.flow.findings(), *class_findings(folder, title, **tested))

    def scalars(self) -> dict[str, float]:
        """The number of updates that were not finite, if there were any."""
        return {"bad_steps": float(self.bad_steps.count)} if self.bad_steps.count else {}

    def on_validation_start(self) -> None:
        """Weights that are not finite are never the best."""
        self.bad_steps.check_weights(self.global_step)

    def on_validation_epoch_start(self) -> None:
        """Keeps the weights that are validated, after callbacks have exchanged them."""
        self.validated = {name: part.detach().clone() for name, part in self.state_dict().items()}

    def on_validation_epoch_end(self) -> None:
        """Logs the validation, and steps a schedule that depends on it.

        Lightning would step it after the epoch's checkpoint, or with an older validation.
        """
        _, scalars = self._log_stage("val")
        if self.trainer.state.fn == "fit" and not self.trainer.sanity_checking:
            step_plateau(self.lr_schedulers(), scalars[self.task.monitor.removeprefix("val/")])

    def on_test_epoch_end(self) -> None:
        """Logs the test's loss and metrics, and keeps the confusion matrix for its figure."""
        self._tested, _ = self._log_stage("test")

    def _log_stage(self, stage: Stage) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Logs the scalars of a finished split; returns all its metrics computed, and those."""
        loss, computed = self.sums_of(stage).take()
        scalars = {"loss": loss, **self.task.scalars(computed), **self.task.derived(loss)}
        warn_of_undefined(stage, computed)
        for name, value in scalars.items():
            # torchmetrics has made it the same on every rank; sync_dist keeps Lightning quiet.
            self.log(f"{stage}/{name}", value.float(), sync_dist=True)
        return computed, scalars

    def optimizer(self) -> Optimizer:
        """The optimizer of the next training, see `make_for`.

        Made at the first call, which is the check before the run; the training then takes it.
        """
        if self._optimizer is None:
            self._optimizer = make_for(self, self.make_optimizer, decay_all=self.decay_all)
        return self._optimizer

    def __getstate__(self) -> dict[str, Any]:
        """A copy of the module makes an optimizer of its own, for its own parameters."""
        return {**super().__getstate__(), "_optimizer": None}

    def configure_optimizers(self) -> Any:
        """The optimizer, and the schedule over the run's estimated steps."""
        optimizer, self._optimizer = self.optimizer(), None
        if optimizer.state:  # made of weights on another device, or in another precision
            optimizer, self._optimizer = self.optimizer(), None
        updates = self.trainer.estimated_stepping_batches
        shown = math.ceil(updates / WINDOWS) if math.isfinite(updates) else 1
        self.flow.window = max(self._log_every, shown)
        schedule = self.schedule(optimizer, updates)
        if schedule is None:
            return optimizer
        return [optimizer], schedule if isinstance(schedule, list) else [schedule]

    def schedule(self, optimizer: Optimizer, total_steps: float) -> Any:
        """The schedule of the learning rate, or a list of them; None for a constant one."""
        goal = {"monitor": self.task.monitor, "mode": self.task.mode}
        return self.make_schedule(optimizer, total_steps=total_steps, **goal)

    @property
    def _log_every(self) -> int:
        return int(cast(Any, self.trainer).log_every_n_steps)

    @property
    def _logging_now(self) -> bool:
        return (self.global_step + 1) % self._log_every == 0

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Backpropagates; with `trainer.detect_anomaly` names the operation that gives NaN.

        Args:
            loss: of a batch, divided by `trainer.accumulate_grad_batches`, and scaled by a scaler.
            args: of Lightning.
            kwargs: of Lightning.

        Raises:
            TrainingError: with that operation.
        """
        total = functools.partial(self.trainer.strategy.reduce, reduce_op="sum")
        together = (self.trainer.world_size, total)
        loss = self._accumulation.weighted(
            loss * self.trainer.accumulate_grad_batches,
            self._uncounted[-1].units,
            self.parameters(),
            over_processes=together if self._last_batch and together[0] > 1 else None,
        )
        backwards = functools.partial(super().backward, loss, *args, **kwargs)
        if torch.is_anomaly_enabled():
            run_backward(backwards, loss, self.global_step + 1)
        else:
            backwards()
        self.batch_seconds = time.perf_counter() - self._batch_started

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Any,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Steps, and records each part's gradient and step, without `log`, which costs more."""
        update = self.global_step
        assert optimizer_closure is not None
        closure = functools.partial(self._unscaled, optimizer, optimizer_closure)
        self._last_batch = True
        try:
            super().optimizer_step(epoch, batch_idx, optimizer, closure)
        finally:
            self._last_batch = False
            self._accumulation.start()
        self.batch_seconds = time.perf_counter() - self._batch_started
        record(self.trainer, self.flow.update_metrics(), update, kept=False)

    def _unscaled(self, optimizer: Any, closure: Callable[[], Any]) -> Any:
        """Computes the gradient, and unscales that of a fused optimizer."""
        result = closure()
        unscale_fused(optimizer, self._scaler)
        return result

    @property
    def _scaler(self) -> Any:
        """The gradient scaler of 16-mixed; None in other precisions."""
        return getattr(self.trainer.precision_plugin, "scaler", None)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Measures the gradient, and clips it, or skips the update if it is not finite.

        Called once per update, after unscaling and before the optimizer step.

        Raises:
            TrainingError: too many updates were not finite.
        """
        total = self.flow.measure()
        if not math.isfinite(total):
            self._skip()
            return
        self._count_update()
        if self._logging_now:
            self.log("grad_norm/total", total)
            self.log("lr", optimizer.param_groups[0]["lr"])
        if gradient_clip_val is not None:
            self.flow.clip(gradient_clip_val, gradient_clip_algorithm)
        self.flow.count_update()
        if self._logging_now:
            self.flow.keep_weights()
        record(self.trainer, self.flow.window_metrics(), self.global_step)

    def _skip(self) -> None:
        """Skips an update: optimizers ignore weights without a gradient.

        A scaler of 16-mixed skips the step by itself and needs the gradients. It finds the largest
        scale by overflow, so that only a loss that is not finite counts as bad there.
        """
        if self._scaler is not None and not self.bad_steps.has_bad_loss():
            self._count_update()
            return
        self._uncounted = []
        if self._scaler is None:
            for parameter in self.parameters():
                parameter.grad = None
        folder = Path(self.trainer.default_root_dir)
        context = self.trainer.precision_plugin.train_step_context
        try:
            self.bad_steps.skip(self.global_step + 1, self.carried["train"], folder, context)
        finally:
            record(self.trainer, {"bad_steps": float(self.bad_steps.count)}, self.global_step)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the configuration and the state of the training in each process; no code."""
        checkpoint["seqpipe"] = {**self.saved_config, "processes": gather(self.progress())}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps the state for `on_train_start`; a training continues with its own weights."""
        checkpoint["state_dict"] = checkpoint.get(TRAINED, checkpoint["state_dict"])
        if self.trainer.state.fn == "fit":
            for state in checkpoint["optimizer_states"]:
                keep_speed(state, self.optimizer())
        saved, rank = checkpoint["seqpipe"]["processes"], self.global_rank
        self._resumed = saved[rank] if len(saved) == self.trainer.world_size else {}

    def on_train_start(self) -> None:
        """Restores the random state and the epoch's sums of a resumed training."""
        self._accumulation.start()  # a gradient accumulated so far is in no checkpoint
        self._uncounted = []  # here and below: of a training that an exception ended
        self.bad_steps.forget_update()
        self.sums_of("train").reset()
        saved, self._resumed = self._resumed, {}  # for this training only
        if not saved:
            if self.global_rank > 0:  # processes that train together draw numbers of their own
                torch.manual_seed(torch.initial_seed() + self.global_rank)
            return
        restore_random_state(saved, self.device)
        self.sums_of("train").load_states(saved["sums"])
        self.carried["train"].load_state_dict(saved["carried"], self.device)
        if "flow" in saved:  # not in the checkpoints of older versions
            self.flow.load_state_dict(saved["flow"])
            self.bad_steps.count = saved["bad_steps"]

    def progress(self) -> dict[str, Any]:
        """The state of this process, besides the weights, that a resumed training needs."""
        return {
            **random_state(self.device),
            "sums": self.sums_of("train").states(),
            "carried": self.carried["train"].state_dict(),
            "flow": self.flow.state_dict(),
            "bad_steps": self.bad_steps.count,
            "threads": torch.get_num_threads(),  # another number rounds differently
        }
