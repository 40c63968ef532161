"""The base of tasks with one symbol or tag for each step of y."""

import math
from typing import Any

import torch
from torch import Tensor

from seqpipe.data.base import SequenceBatch
from seqpipe.nn.cross_entropy import (
    is_measured_only,
    may_be_overwritten,
    overwriting_cross_entropy,
)
from seqpipe.tasks.base import Pairs, Task
from seqpipe.tasks.class_weights import (
    cross_entropy,
    cross_entropy_of_each,
    entropy_of,
    of_classes,
)
from seqpipe.tasks.metric_sums import sums_by_example
from seqpipe.tasks.real_steps import real_steps


class StepTask(Task):
    """One symbol or tag for each step of y: cross entropy in nats per real step."""

    label_smoothing = 0.0
    weights: Tensor | None = None
    """Weights of the classes, (K,); like smoothing, they change only the training loss."""

    def loss(self, outputs: Tensor, batch: SequenceBatch, *, training: bool) -> Tensor:
        """Cross entropy in nats per real step. outputs: (B, T_y, K)."""
        if not training and is_measured_only(outputs):
            return self._of_real_steps(outputs, batch).mean()
        mask = self.mask(batch)
        logits, y = real_steps(mask, outputs, batch.y)
        return cross_entropy(
            logits,
            y,
            label_smoothing=self.label_smoothing if training else 0.0,
            weights=self.weights if training else None,
            mask=mask,
        )

    def training_loss(self, outputs: Tensor, batch: SequenceBatch) -> Tensor:
        """As `loss`; writes the gradient over a large vocabulary's logits. outputs: (B, T_y, K)."""
        if not may_be_overwritten(outputs):
            return super().training_loss(outputs, batch)
        mask = self.mask(batch)
        y = batch.y.where(mask, 0)
        shares = mask.to(torch.promote_types(outputs.dtype, torch.float32)) / mask.sum()
        if self.weights is not None:
            shares = shares * of_classes(self.weights, y)
        return overwriting_cross_entropy(
            outputs.flatten(0, 1),
            y.flatten(),
            shares.flatten(),
            label_smoothing=self.label_smoothing,
        )

    def losses(self, outputs: Tensor, batch: SequenceBatch) -> tuple[Tensor, Tensor]:
        """See `Task`. outputs: (B, T_y, K)."""
        of_steps = self._of_real_steps(outputs, batch)
        return sums_by_example(of_steps, batch), self.unit_counts(batch)

    def _of_real_steps(self, outputs: Tensor, batch: SequenceBatch) -> Tensor:
        """Cross entropies of the N real steps, (N,). outputs: (B, T_y, K)."""
        mask = self.mask(batch)
        if not is_measured_only(outputs):
            return cross_entropy_of_each(outputs[mask], batch.y[mask])
        nats = cross_entropy_of_each(outputs.flatten(0, 1), batch.y.where(mask, 0).flatten())
        return nats[mask.flatten()]

    def untrained_loss(self, batch: SequenceBatch) -> tuple[float, str]:
        """Ln K: every symbol or tag is as likely as any other."""
        return math.log(self.output_size), f"ln {self.output_size}"

    def marginal_loss(self, batch: SequenceBatch) -> tuple[float, str] | None:
        """The entropy of the symbols or tags of the training split, in nats."""
        return entropy_of(self.y)

    def outputs_of(self, probabilities: Tensor) -> Tensor:
        """Return the logits of a model with these probabilities, (B, T_y, K) both."""
        return probabilities.log()

    def pairs(self, predictions: Any, batch: SequenceBatch) -> Pairs:
        """predictions: (B, T_y) ids. Returns two (N,) tensors over the N real steps."""
        mask = self.mask(batch)
        return predictions[mask], batch.y[mask]
