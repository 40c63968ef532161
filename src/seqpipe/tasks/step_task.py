"""The base of tasks with one symbol or tag for each step of y."""

import math
from typing import Any

from torch import Tensor

from seqpipe.data.base import SequenceBatch
from seqpipe.tasks.base import Pairs, Task, entropy_of, examples_of
from seqpipe.tasks.class_weights import cross_entropy, cross_entropy_of_each
from seqpipe.tasks.metric_sums import added_up


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
        assert batch.y_lengths is not None
        mask = self.mask(batch)
        of_steps = cross_entropy_of_each(outputs[mask], batch.y[mask])
        return added_up(of_steps, examples_of(len(of_steps), batch), len(batch)), batch.y_lengths

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
