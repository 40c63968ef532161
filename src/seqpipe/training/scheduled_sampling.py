"""Teacher forcing that decays with the updates."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from seqpipe.models.forcing import TeacherForced
from seqpipe.training.module import SequenceModule


class ForcingDecay(Callback):
    """Tells a model that is teacher-forced which update it is at, and logs `teacher_forcing`.

    It keeps nothing: a training that is resumed goes on with what its updates say.
    """

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Before each batch, those of one update alike."""
        assert isinstance(pl_module, SequenceModule)
        model = pl_module.model
        if isinstance(model, TeacherForced):
            model.update = trainer.global_step
            if model.decay.falls:
                pl_module.log("teacher_forcing", model.forced_share)
