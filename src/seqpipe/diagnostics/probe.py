"""The gradient probe: a callback that measures a model in training and changes nothing of it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from seqpipe.allocator import give_back_freed_memory
from seqpipe.data.base import SequenceBatch
from seqpipe.diagnostics.cell_stats import stats_of
from seqpipe.diagnostics.gradients import through_time
from seqpipe.diagnostics.probe_findings import probe_findings
from seqpipe.diagnostics.settings import Settings
from seqpipe.diagnostics.snapshot import Snapshot, packed, unpacked
from seqpipe.diagnostics.stepwise import StepwiseCopy
from seqpipe.diagnostics.tracing import random_state_kept
from seqpipe.errors import first_line
from seqpipe.nn.recurrent import recurrent_layers
from seqpipe.report.findings import Finding, Observer
from seqpipe.report.gradients import ThroughTimePicture
from seqpipe.tasks.base import Task
from seqpipe.tracking.base import Tracker

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

MOST_KEPT = 32  # snapshots; beyond it every second one is dropped, the first and the last stay


class Probe(Callback, Observer):
    """Measures the gradient through time, and what the cells hold, on a few examples.

    At the start, every `settings.every` updates, and at the end; in the first process only. It
    works on a copy in float64, so that a training with it and without it are the same.

    Args:
        task: computes the loss.
        batch: the examples, always the same.
        settings: how often.
        tracker: records the scalars and a picture of each snapshot.

    Attributes:
        snapshots: at most 32, the first and the last among them.
    """

    def __init__(
        self, task: Task, batch: SequenceBatch, settings: Settings, tracker: Tracker
    ) -> None:
        self.task, self.batch, self.settings, self.tracker = task, batch, settings, tracker
        self.snapshots: list[Snapshot] = []
        self._packed: dict[int, Tensor] = {}
        self._copy: StepwiseCopy | None = None
        self._picture: ThroughTimePicture | None = None
        self._training, self._gave_up = True, False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Notes whether the run trains or tests."""
        self._training = stage == "fit"

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the first snapshot; what it and the pre-flight have freed is given back."""
        self._take(trainer, pl_module)
        give_back_freed_memory()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Takes a snapshot every `every` updates."""
        every = self.settings.every
        if every is not None and trainer.global_step % every == 0:
            self._take(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the last snapshot."""
        self._take(trainer, pl_module)

    def _take(self, trainer: Trainer, module: Any) -> None:
        step = trainer.global_step
        taken = bool(self.snapshots) and self.snapshots[-1].step == step
        if not trainer.is_global_zero or self._gave_up or taken:
            return
        try:
            with random_state_kept():
                snapshot = self._measured(step, module.model, module.device)
        except Exception as error:  # of a user's model: a diagnosis never ends a training
            self._gave_up, self._copy = True, None
            log.warning(
                "diagnostics: the gradient through time of %s cannot be measured (%s), which runs"
                " it step by step in float64; training continues, and diagnostics=none is silent",
                type(module.model).__name__,
                f"{type(error).__name__}: {first_line(error)}",
            )
            log.debug("diagnostics", exc_info=True)
            return
        if snapshot is None:
            return
        self.snapshots.append(snapshot)
        self._packed[step] = packed(snapshot)
        if len(self.snapshots) > MOST_KEPT:
            self.snapshots = [*self.snapshots[:-1:2], snapshot]
        self.tracker.log_metrics(snapshot.scalars(), step)
        self.tracker.log_image("gradient_through_time", lambda: self._drawn(snapshot), step)

    def _measured(self, step: int, model: nn.Module, device: torch.device) -> Snapshot | None:
        """None where no recurrent layer reads the batch."""
        if not recurrent_layers(model):
            return None
        if self._copy is None:
            self._copy = StepwiseCopy(model)
        self._copy.update(model)
        gradients = through_time(self._copy, self.task, self.batch.to(device))
        measured = {one.layer for one in gradients}
        cells = [stats_of(layer) for layer in self._copy.layers if layer.name in measured]
        self._copy.forget()
        examples = self.batch.index.cpu().numpy()
        return Snapshot(step, examples, gradients, cells) if gradients else None

    def _drawn(self, snapshot: Snapshot) -> NDArray[np.uint8]:
        profiles = snapshot.profiles()
        if self._picture is None:
            longest = max(len(norms) for norms in profiles.values())
            self._picture = ThroughTimePicture([*profiles], longest)
        title = f"step {snapshot.step:,}: {snapshot.overall().words()}"
        return self._picture.draw(profiles, title)

    def findings(self, folder: Path, title: str) -> tuple[Finding, ...]:
        """Gradients and cells of all snapshots."""
        return probe_findings(folder, self.snapshots, title) if self.snapshots else ()

    def scalars(self) -> dict[str, float]:
        """Those of the last snapshot: of the weights that the training ended with."""
        return self.snapshots[-1].scalars() if self.snapshots else {}

    def state_dict(self) -> dict[str, Any]:
        """Plain containers and tensors, for the checkpoint."""
        return {"looks": [self._packed[one.step] for one in self.snapshots]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over the snapshots of a resumed training; a test keeps those of this run."""
        if not self._training:
            return
        self.snapshots = [unpacked(saved) for saved in state_dict["looks"]]
        steps = [one.step for one in self.snapshots]
        self._packed = dict(zip(steps, state_dict["looks"], strict=True))
