"""The base of tasks with one symbol or tag for each step of y."""

import math
from typing import Any

from torch import Tensor

from seqpipe.data.base import SequenceBatch
from seqpipe.tasks.base import Pairs, Task
from seqpipe.tasks.class_weights import cross_entropy, cross_entropy_of_each, entropy_of
from seqpipe.tasks.metric_sums import sums_by_example


class StepTask(Task):
    """One symbol or tag for each step of y: cross entropy in nats per real step."""

    label_smoothing = 0.0
    weights: Tensor | None = None
    """Weights of the classes, (K,); like smoothing, they change only the training loss."""

    def loss(self, outputs: Tensor, batch: SequenceBatch, *, training: bool) -> Tensor:
        """Cross entropy in nats per real step. outputs: (B, T_y, K)."""
        mask = self.mask(batch)
        return cross_entropy(
            outputs[mask],
            batch.y[mask],
            label_smoothing=self.label_smoothing if training else 0.0,
            weights=self.weights if training else None,
        )

    def losses(self, outputs: Tensor, batch: SequenceBatch) -> tuple[Tensor, Tensor]:
        """See `Task`. outputs: (B, T_y, K)."""
        mask = self.mask(batch)
        of_steps = cross_entropy_of_each(outputs[mask], batch.y[mask])
        return sums_by_example(of_steps, batch), self.unit_counts(batch)

    def untrained_loss(self, batch: SequenceBatch) -> tuple[float, str]:
        """Ln K: every symbol or tag is as likely as any other."""
        return math.log(self.output_size), f"ln {self.output_size}"

    def marginal_loss(self, batch: SequenceBatch) -> tuple[float, str] | None:
        """The entropy of the symbols or tags of the training split, in nats."""
        return entropy_of(self.y)

    def pairs(self, predictions: Any, batch: SequenceBatch) -> Pairs:
        """predictions: (B, T_y) ids. Returns two (N,) tensors over the N real steps."""
        mask = self.mask(batch)
        return predictions[mask], batch.y[mask]
