"""The callback by which `benchmarks/training.py` times our training, one turn an epoch."""

from typing import Any

import torch
from pytorch_lightning import Callback
from turns import Turns


class TurnCallback(Callback):
    """Waits for its turn before every epoch but the first, which is the warm-up.

    A turn is from the start of an epoch to the end of its last update: loading of batches, logging,
    tracking and diagnostics are within it, the validation that follows is not.
    """

    def __init__(self) -> None:
        self.turns = Turns()
        self.started, self.tokens, self.updates = 0.0, 0, 0

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Counts what was trained on; after the last batch of an epoch reports its time."""
        lengths = batch.y_lengths if batch.x_lengths is None else batch.x_lengths
        self.tokens += int(lengths.sum())
        self.updates += 1
        if batch_idx + 1 == trainer.num_training_batches:
            self.turns.report(
                seconds=self.turns.now() - self.started,
                tokens=self.tokens,
                updates=self.updates,
                parameters=sum(p.numel() for p in module.parameters()),
                threads=torch.get_num_threads(),
            )

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        """Waits for the turn of the next epoch."""
        self.tokens = self.updates = 0
        self.turns.wait()
        self.started = self.turns.now()
