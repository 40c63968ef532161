"""Metrics that Lightning holds between two logs, kept over a resume."""

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from seqpipe.training.history import record
from seqpipe.training.lightning_internals import metrics_to_be_logged, training_ends
from seqpipe.training.module import SequenceModule

REPORTED = "reported"
"""Key of a checkpoint: what this callback keeps."""


class Reported(Callback):
    """Keeps in checkpoints what is reported after them, so that a resumed run reports the same.

    These are the newest value of each metric, which the history takes at the end of an epoch; the
    metrics that are logged only after the checkpoint was written; whether the training ends with
    it; and which weights were validated.

    Attributes:
        validated: hash of the validated weights in the checkpoint that was resumed from; empty if
            the training did not end with it, or an update followed the validation.
    """

    def __init__(self) -> None:
        self.validated = ""
        self._resumed: Mapping[str, Any] = {}

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Adds them to a checkpoint of the training."""
        if trainer.state.fn != "fit":
            return
        assert isinstance(pl_module, SequenceModule)
        ended = training_ends(trainer)
        checkpoint[REPORTED] = {
            "metrics": {k: v.detach().cpu() for k, v in trainer.callback_metrics.items()},
            "unlogged": metrics_to_be_logged(trainer),
            "ended": ended,
            "validated": hash_of(pl_module.validated) if ended else "",
        }

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Takes them from a checkpoint; older ones have none."""
        self._resumed = checkpoint.get(REPORTED, {}) if trainer.state.fn == "fit" else {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restores them. The tracker knows which of the metrics were logged after all."""
        saved, self._resumed = self._resumed, {}
        self.validated = str(saved.get("validated", ""))
        trainer.callback_metrics.update(saved.get("metrics", {}))
        record(trainer, saved.get("unlogged", {}), trainer.global_step - 1, kept=False)


def hash_of(weights: Mapping[str, Tensor]) -> str:
    """Return a hash of the names and the bits of weights; empty without any."""
    found = hashlib.sha256()
    for name, part in sorted(weights.items()):
        found.update(f"{name} {part.dtype} {tuple(part.shape)}".encode())
        found.update(part.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest() if weights else ""
