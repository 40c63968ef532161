"""Looks into a model while it is trained: a callback that changes nothing of the training."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from seqpipe.data.base import SequenceBatch
from seqpipe.diagnostics.cell_stats import InsideCell, inside
from seqpipe.diagnostics.decay import Decay, overall
from seqpipe.diagnostics.gradients import ThroughTime, through_time
from seqpipe.diagnostics.serialization import (
    cells_of,
    gradients_of,
    packed,
    plain_cells,
    plain_gradients,
    unpacked,
)
from seqpipe.diagnostics.settings import Settings
from seqpipe.diagnostics.stepwise import LayerName, StepwiseCopy
from seqpipe.diagnostics.tracing import chance_kept
from seqpipe.nn.recurrent import RecurrentLayer
from seqpipe.tasks.base import Task

log = logging.getLogger(__name__)

MOST_KEPT = 32  # looks; one more, and every second is let go: first, last and an even grid stay


@dataclass(frozen=True)
class Look:
    """What was found at one moment of a training.

    Args:
        step: optimizer updates before it.
        examples: (B,) of the training split, which were looked at.
        gradients: of each layer and loss.
        cells: of each layer.
    """

    step: int
    examples: NDArray[np.int64]
    gradients: list[ThroughTime]
    cells: list[InsideCell]

    def decays(self) -> dict[LayerName, Decay]:
        """Of each layer, by the loss that its distance is counted from."""
        return {one.layer: one.decay() for one in self.gradients if one.fits}

    def profiles(self) -> dict[str, NDArray[np.float64]]:
        """Mean norm by distance of each layer, (D,), by the same loss."""
        return {str(one.layer): one.by_distance() for one in self.gradients if one.fits}

    def scalars(self) -> dict[str, float]:
        """`gradient/...` of the model and of each layer, `cell/...` of each layer."""
        decays = self.decays()
        if not decays:
            return {}
        numbers = {f"gradient/{k}": v for k, v in overall([*decays.values()]).scalars().items()}
        for layer, decay in decays.items():
            numbers |= {f"gradient/{layer}/{k}": v for k, v in decay.scalars().items()}
        for cell in self.cells:
            numbers |= {f"cell/{cell.layer}/{k}": v for k, v in cell.scalars().items()}
        return numbers


class Probe(Callback):
    """Measures the gradient through time, and what the cells hold, on a few examples.

    At the start, every `settings.every` updates, and at the end; in the first process only. It
    works on a copy in float64, so that a training with it and without it are the same.

    Args:
        task: says what the loss is.
        batch: the examples, always the same.
        settings: how often.
        record: told the scalars and the step.
        show: told of each look, to draw it.

    Attributes:
        looks: at most 32, the first and the last among them.
    """

    def __init__(
        self,
        task: Task,
        batch: SequenceBatch,
        settings: Settings,
        *,
        record: Callable[[Mapping[str, float], int], None],
        show: Callable[[Look], None],
    ) -> None:
        self.task, self.batch, self.settings = task, batch, settings
        self.record, self.show = record, show
        self.looks: list[Look] = []
        self._packed: dict[int, Tensor] = {}
        self._copy: StepwiseCopy | None = None
        self._training, self._gave_up = True, False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Notes what the run goes on to do."""
        self._training = stage == "fit"

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The first look."""
        self._look(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """A look every `every` updates."""
        every = self.settings.every
        if every is not None and trainer.global_step % every == 0:
            self._look(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The last look."""
        self._look(trainer, pl_module)

    def _look(self, trainer: Trainer, module: Any) -> None:
        step = trainer.global_step
        seen = bool(self.looks) and self.looks[-1].step == step
        if not trainer.is_global_zero or self._gave_up or seen:
            return
        try:
            with chance_kept():
                look = self._found(step, module.model, module.device)
        except Exception as error:  # of a model of one's own; what only looks ends no training
            self._gave_up = True
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            log.warning(
                "diagnostics: the gradient through time of %s cannot be measured (%s), which runs"
                " it step by step in float64; training goes on, and diagnostics=none is silent",
                type(module.model).__name__,
                reason,
            )
            log.debug("diagnostics", exc_info=True)
            return
        if look.gradients:
            self.looks.append(look)
            self._packed[step] = packed(_plain(look))
            if len(self.looks) > MOST_KEPT:
                self.looks = [*self.looks[:-1:2], look]
            self.record(look.scalars(), step)
            self.show(look)

    def _found(self, step: int, model: nn.Module, device: torch.device) -> Look:
        if not any(isinstance(part, RecurrentLayer) for part in model.modules()):
            return Look(step, np.zeros(0, dtype=np.int64), [], [])
        if self._copy is None:
            self._copy = StepwiseCopy(model)
        self._copy.update(model)
        gradients = through_time(self._copy, self.task, self.batch.to(device))
        measured = {one.layer for one in gradients}
        cells = [inside(layer) for layer in self._copy.layers if layer.name in measured]
        self._copy.forget()
        return Look(step, self.batch.index.cpu().numpy(), gradients, cells)

    def state_dict(self) -> dict[str, Any]:
        """Plain containers and tensors, for the checkpoint."""
        return {"looks": [self._packed[look.step] for look in self.looks]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from a checkpoint; a test of the best one must not forget what came after it."""
        if not self._training:
            return
        self.looks = [_look_of(unpacked(saved)) for saved in state_dict["looks"]]
        steps = [look.step for look in self.looks]
        self._packed = dict(zip(steps, state_dict["looks"], strict=True))


def _plain(look: Look) -> dict[str, Any]:
    return {
        "step": look.step,
        "examples": look.examples,
        "gradients": plain_gradients(look.gradients),
        "cells": plain_cells(look.cells),
    }


def _look_of(saved: dict[str, Any]) -> Look:
    gradients, cells = gradients_of(saved["gradients"]), cells_of(saved["cells"])
    return Look(saved["step"], saved["examples"], gradients, cells)
