"""A model that writes y, once more as it is used: reading its own guesses, not the true y.

Trained with the truth before each step (teacher forcing), a model never sees where its own
mistakes lead; what that costs is called exposure bias.

Source: Williams & Zipser (1989) for teacher forcing; Bengio et al. (2015), section 2.2, and Ranzato
et al. (2016) for what it leaves out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from seqpipe.data.base import SequenceBatch
from seqpipe.data.batching import pad
from seqpipe.data.dataset import SequenceData
from seqpipe.data.sampling import evenly_spread
from seqpipe.diagnostics.tracing import chance_kept
from seqpipe.models.decoding import log_probabilities
from seqpipe.nn.masks import length_mask
from seqpipe.nn.precision import widest

MOST_STEPS = 256
"""Of each example; what comes after is not looked at: a step waits for the one before it."""
OFTEN = (128, 2048)
"""Of each example, and of all with their padding, where it is measured again and again: 64 pieces
of 256 steps would take half a second of each validation, a tenth of an epoch of a small model."""
MOST_NUMBERS = 2**25  # in the logits at one time


@runtime_checkable
class RunsFree(Protocol):
    """A model that can read its own guesses."""

    def free_running(
        self, x: Tensor | None, x_lengths: Tensor | None, y: Tensor, y_lengths: Tensor
    ) -> Tensor:
        """Logits as from `forward`, each step reading the guess at the step before it."""


@dataclass(frozen=True)
class ByPosition:
    """The loss at each step of y, over the sequences that reach it, in nats.

    Args:
        forced: (T,) mean, the true y_{t-1} read.
        free: (T,) mean, the model's own guess read.
        count: (T,) sequences that have that step.
    """

    forced: NDArray[np.float64]
    free: NDArray[np.float64]
    count: NDArray[np.int64]

    def mean(self, losses: NDArray[np.float64]) -> float:
        """Over real steps."""
        return float((losses * self.count).sum() / self.count.sum())

    def scalars(self) -> dict[str, float]:
        """Both losses, and by how much the second is higher, in nats per real step."""
        forced, free = self.mean(self.forced), self.mean(self.free)
        return {
            "teacher_forced_loss": forced,
            "free_running_loss": free,
            "exposure_gap": free - forced,
        }


def losses_by_step(outputs: Tensor, y: Tensor) -> Tensor:
    """Nats at each step, padding included: of a symbol, or of all notes together.

    outputs: (B, T, V) or (B, T, K); y: (B, T) ids, or (B, T, K) of 0 and 1. Returns (B, T).
    """
    return -log_probabilities(outputs, y)


@torch.no_grad()
def by_position(model: Any, batch: SequenceBatch) -> ByPosition:
    """Both losses at each step of y; the model is evaluated, and left as it was.

    Args:
        model: see `RunsFree`.
        batch: where the model is.
    """
    T = batch.y.shape[1]
    sums = torch.zeros(2, T, dtype=torch.float64)
    count = torch.zeros(T, dtype=torch.int64)
    with _evaluated(model):
        for part in _parts(model, batch):
            assert part.y_lengths is not None
            given = (part.x, part.x_lengths, part.y, part.y_lengths)
            mask = length_mask(part.y_lengths, T)
            for row, run in enumerate((model, model.free_running)):
                losses = losses_by_step(run(*given), part.y).to(widest(part.y.device))
                sums[row] += losses.masked_fill(~mask, 0.0).sum(dim=0).cpu()
            count += mask.sum(dim=0).cpu()
    reached = count > 0
    forced, free = (sums[:, reached] / count[reached]).numpy()
    return ByPosition(forced, free, count[reached].numpy())


@contextmanager
def _evaluated(model: nn.Module) -> Iterator[None]:
    training = [part for part in model.modules() if part.training]
    model.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def _parts(model: nn.Module, batch: SequenceBatch) -> Iterator[SequenceBatch]:
    """The batch in pieces of rows whose logits fit in memory."""
    width = batch.y.shape[2] if batch.y.ndim == 3 else int(getattr(model, "y_size", 0)) or 1
    rows = max(1, MOST_NUMBERS // (batch.y.shape[1] * width))
    for first in range(0, len(batch), rows):
        chosen = slice(first, first + rows)
        lengths = None if batch.x_lengths is None else batch.x_lengths[chosen]
        x = None if batch.x is None else batch.x[chosen]
        if lengths is not None and x is not None:
            x = x[:, : int(lengths.max())]
        assert batch.y_lengths is not None
        index = batch.index[chosen]
        yield SequenceBatch(x, lengths, batch.y[chosen], batch.y_lengths[chosen], index)


def examples_of(data: SequenceData, count: int, *, split: str = "valid") -> SequenceBatch:
    """Examples evenly spread over a split, the first `MOST_STEPS` steps of y of each.

    Where texts are cut in windows or read in lanes, pieces of them, each as if it began a text.
    """
    examples = data.columns(split)
    chosen = evenly_spread(count, len(examples))
    x, x_lengths = None, None
    if examples.x is not None and data.spec.x is not None:
        x, x_lengths = pad([examples.x.array(i) for i in chosen], data.spec.x)
    y, y_lengths = pad([examples.y.array(i)[:MOST_STEPS] for i in chosen], data.spec.y)
    return SequenceBatch(x, x_lengths, y, y_lengths, torch.tensor(chosen))


def cut(batch: SequenceBatch, steps: int, total: int) -> SequenceBatch:
    """The first `steps` steps of y, of rows evenly spread; with padding at most `total`."""
    assert batch.y_lengths is not None
    longest = min(steps, batch.y.shape[1])
    chosen = torch.tensor(evenly_spread(max(1, total // longest), len(batch)))
    lengths = batch.y_lengths[chosen].clamp(max=longest)
    return SequenceBatch(
        None if batch.x is None else batch.x[chosen],
        None if batch.x_lengths is None else batch.x_lengths[chosen],
        batch.y[chosen, : int(lengths.max())],
        lengths,
        batch.index[chosen],
    )


class FreeRunning(Callback):
    """Logs at each validation what reading its own guesses costs a model, on a few examples.

    `val/free_running_loss`, `val/teacher_forced_loss` of the same examples, and their difference
    `val/exposure_gap`, in nats per real step. Measured and logged by the first process alone,
    which waits for no other; it draws no random numbers and touches no metric. Of long y only some
    is read, see `OFTEN`.

    Args:
        batch: the examples, always the same.
    """

    def __init__(self, batch: SequenceBatch) -> None:
        self.batch, self._often = batch, cut(batch, *OFTEN)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measures and logs."""
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        with trainer.precision_plugin.forward_context():
            found = self._found(trainer, pl_module, self._often)
        for name, value in found.scalars().items():
            pl_module.log(f"val/{name}", value, rank_zero_only=True)

    def found(self, trainer: Trainer, module: Any) -> ByPosition:
        """Both losses by position, of the weights as they are and of all the examples."""
        return self._found(trainer, module, self.batch)

    @staticmethod
    def _found(trainer: Trainer, module: Any, batch: SequenceBatch) -> ByPosition:
        batch = trainer.precision_plugin.convert_input(batch.to(module.device))
        with chance_kept():
            return by_position(module.model, batch)
