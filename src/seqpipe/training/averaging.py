"""Averages of the weights: validated, tested, kept and exported in place of the newest weights."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from seqpipe.bounds import Count, MonitorOrAuto, Share, checked
from seqpipe.report.findings import Finding, Observer
from seqpipe.rules import either, null, whole
from seqpipe.training.checkpoints import TRAINED
from seqpipe.training.history import validation_of
from seqpipe.training.module import SequenceModule

log = logging.getLogger(__name__)


class WeightAverage(Callback, Observer):
    """Base: the model has an average of its parameters wherever it is measured.

    During a validation, and from the end of the training on, the model has the average; in
    between it trains with its own weights. Checkpoints hold both. An update that is skipped adds
    nothing to the average. Buffers are not averaged.

    Attributes:
        average: of each parameter, by name; empty before it begins.
        count: number of weights in it.
        begun: the update after which it began.
    """

    def __init__(self) -> None:
        self.average: dict[str, Tensor] = {}
        self.count = self.begun = 0
        self._trained: dict[str, Tensor] = {}  # weights that the average replaced at the end
        self._before = (0, 0)  # updates made and skipped before a batch

    def begins(self, trainer: Trainer) -> bool:
        """Return True if the average begins with the update that has just been made."""
        raise NotImplementedError

    def share(self, count: int) -> float:
        """Return the share of the newest weights in an average that holds `count` others."""
        raise NotImplementedError

    def waits_for(self) -> str:
        """Return why the average has not begun, in words."""
        return "no update was made"

    def begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the average with the present weights."""
        self.average = {name: part.detach().clone() for name, part in pl_module.named_parameters()}
        self.count, self.begun = 1, trainer.global_step

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Moves a restored average to the device of the weights.

        Raises:
            ValueError: it is one of other weights.
        """
        weights = dict(pl_module.named_parameters())
        if self.average and _shapes(self.average) != _shapes(weights):
            raise ValueError("the average in it is not of these weights")
        self.average = {name: part.to(weights[name]) for name, part in self.average.items()}

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Notes the updates so far."""
        self._before = _updates(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Adds the weights to the average, if an update has changed them."""
        made, skipped = _updates(trainer, pl_module)
        if made == self._before[0] or skipped > self._before[1]:
            return
        if self.average:
            newest = [part.detach() for part in pl_module.parameters()]
            torch._foreach_lerp_(list(self.average.values()), newest, self.share(self.count))
            self.count += 1
        elif self.begins(trainer):
            self.begin(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts the average into the model."""
        if trainer.state.fn == "fit":
            self._exchange(pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts the trained weights back."""
        if trainer.state.fn == "fit":
            self._exchange(pl_module)

    @torch.no_grad()
    def _exchange(self, pl_module: LightningModule) -> None:
        for name, part in pl_module.named_parameters() if self.average else ():
            held = part.clone()
            part.copy_(self.average[name])
            self.average[name].copy_(held)

    @torch.no_grad()
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts the average into the model for good."""
        if not self.average:
            text = "averaging: it never began, so the weights as they are count: %s"
            log.warning(text, self.waits_for())
        for name, part in pl_module.named_parameters() if self.average else ():
            self._trained[name] = part.clone()
            part.copy_(self.average[name])

    def state_dict(self) -> dict[str, Any]:
        """Return the average for a checkpoint."""
        return {"average": self.average, "count": self.count, "begun": self.begun}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the average of a checkpoint; `on_train_start` checks it."""
        self.average = dict(state_dict["average"])
        self.count, self.begun = int(state_dict["count"]), int(state_dict["begun"])

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Stores the average as the weights of the model, and those to continue with beside it."""
        if self.average:
            held = checkpoint["state_dict"]
            checkpoint[TRAINED] = {**held, **self._trained}
            checkpoint["state_dict"] = {**held, **self.average}

    def findings(self, folder: Path, title: str) -> tuple[Finding, ...]:
        """The number of weights in the average, and when it began."""
        text = f"The average never began: {self.waits_for()}."
        if self.average:
            text = "Validation, test and the saved model use the average of the weights since "
            text += f"update {self.begun}, {self.count} in number."
        return (Finding("Weight averaging", text),)


class MovingAverage(WeightAverage):
    """An exponential moving average: avg_t = d_t avg_{t-1} + (1 - d_t) w_t, from the first update.

    d_t = min(decay, (1 + t) / (10 + t)), where t is the number of weights in avg_{t-1}: the first
    weights of a short training do not stay in it.

    Args:
        decay: of the average in the long run; 0.999 is an average over about 1,000 updates.

    Source: Polyak & Juditsky (1992) for averages; d_t as in TensorFlow's ExponentialMovingAverage.
    """

    @checked("averaging.")
    def __init__(self, *, decay: Share = 0.999) -> None:
        super().__init__()
        self.decay = decay

    def begins(self, trainer: Trainer) -> bool:
        """Return True: the average begins with the first update."""
        return True

    def share(self, count: int) -> float:
        """Return 1 - d_t."""
        return 1 - min(self.decay, (1 + count) / (10 + count))


class TriggeredMean(WeightAverage):
    """The mean of all weights from the time when the validation stalls (NT-ASGD).

    It begins with the weights of a validation whose metric is worse than the best one before the
    last `patience` validations; with `start_epoch`, with the first update of that epoch (ASGD).

    Args:
        monitor: the metric.
        mode: `min` or `max`, what is better.
        patience: n, the interval of non-monotonicity.
        start_epoch: counted from 1; None: the validation decides.

    Source: Merity, Keskar & Socher (2018), section 3, algorithm 1; Polyak & Juditsky (1992).
    """

    @checked("averaging.")
    def __init__(
        self,
        *,
        monitor: MonitorOrAuto,
        mode: Literal["min", "max"],
        patience: Count = 5,
        start_epoch: Annotated[int | None, either(whole(1), null())] = None,
    ) -> None:
        super().__init__()
        self.monitor, self.sign = monitor, 1.0 if mode == "max" else -1.0
        self.patience, self.start_epoch = patience, start_epoch
        self.values: list[float] = []  # of the validations so far, more is better

    def begins(self, trainer: Trainer) -> bool:
        """Return True in the epoch that was chosen; a validation begins by itself."""
        return self.start_epoch is not None and trainer.current_epoch + 1 >= self.start_epoch

    def share(self, count: int) -> float:
        """Return that of a mean."""
        return 1 / (count + 1)

    def waits_for(self) -> str:
        """Return the condition that was not met."""
        if self.start_epoch is not None:
            return f"the training ended before epoch {self.start_epoch}"
        return f"{self.monitor} never stalled for {self.patience} validations"

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begins the average if the validation has stalled."""
        super().on_validation_end(trainer, pl_module)
        waits = trainer.state.fn == "fit" and not self.average and self.start_epoch is None
        if not waits or trainer.sanity_checking:
            return
        value = self.sign * validation_of(trainer).metrics[self.monitor]
        if any(value < earlier for earlier in self.values[: -self.patience]):
            self.begin(trainer, pl_module)
        self.values.append(value)

    def state_dict(self) -> dict[str, Any]:
        """Return the average and the validations so far."""
        return {**super().state_dict(), "values": self.values}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore them."""
        super().load_state_dict(state_dict)
        self.values = [float(value) for value in state_dict["values"]]


def _updates(trainer: Trainer, pl_module: LightningModule) -> tuple[int, int]:
    """Return the number of updates so far, and of those that were skipped."""
    assert isinstance(pl_module, SequenceModule)
    return trainer.global_step, pl_module.bad_steps.count


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: part.shape for name, part in weights.items()}
