"""Free running: a model that writes y reads its own predictions, not the true y.

In training with teacher forcing the true y is the input, so a model never sees where its own
mistakes lead; the difference in loss is called exposure bias.

Source: Williams & Zipser (1989) for teacher forcing; Bengio et al. (2015), section 2.2, and Ranzato
et al. (2016) for exposure bias.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from seqpipe.data.base import SequenceBatch
from seqpipe.data.batching import pad
from seqpipe.data.dataset import SequenceData
from seqpipe.data.sampling import evenly_spread
from seqpipe.diagnostics.tracing import random_state_kept
from seqpipe.models.decoding import log_probabilities
from seqpipe.nn.masks import length_mask
from seqpipe.nn.precision import widest
from seqpipe.report.findings import Finding, Observer
from seqpipe.report.loss_by_position import (
    Position,
    draw_positions,
    positions_finding,
    write_positions,
)

MOST_STEPS = 256
"""Steps of y that are read of each example: each step waits for the one before it."""
OFTEN = (128, 2048)
"""Steps of each example, and of all with their padding, in the measurement at each validation: 64
pieces of 256 steps would take half a second of it, a tenth of an epoch of a small model."""
MOST_NUMBERS = 2**25  # in the logits at one time


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
        """The mean over real steps."""
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
    """The loss in nats at each step, padding included: of a symbol, or of all notes together.

    outputs: (B, T, V) or (B, T, K); y: (B, T) ids, or (B, T, K) of 0 and 1. Returns (B, T).
    """
    return -log_probabilities(outputs, y)


@torch.no_grad()
def by_position(model: Any, batch: SequenceBatch) -> ByPosition:
    """Both losses at each step of y, in evaluation mode; the model's own mode is restored.

    Args:
        model: see `RunsFree`.
        batch: on the model's device.
    """
    T = batch.y.shape[1]
    sums = torch.zeros(2, T, dtype=torch.float64)
    count = torch.zeros(T, dtype=torch.int64)
    with _evaluated(model):
        for part in _parts(model, batch):
            assert part.y_lengths is not None
            inputs = (part.x, part.x_lengths, part.y, part.y_lengths)
            mask = length_mask(part.y_lengths, T)
            for row, run in enumerate((model, model.free_running)):
                losses = losses_by_step(run(*inputs), part.y).to(widest(part.y.device))
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
    """The batch in groups of rows whose logits fit in memory."""
    width = batch.y.shape[2] if batch.y.ndim == 3 else int(getattr(model, "y_size", 0)) or 1
    rows = max(1, MOST_NUMBERS // (batch.y.shape[1] * width))
    for first in range(0, len(batch), rows):
        part = batch.rows(slice(first, first + rows))
        if part.x is not None and part.x_lengths is not None:
            part.x = part.x[:, : int(part.x_lengths.max())]
        yield part


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
    longest = min(steps, batch.y.shape[1])
    part = batch.rows(torch.tensor(evenly_spread(max(1, total // longest), len(batch))))
    assert part.y_lengths is not None
    part.y_lengths = part.y_lengths.clamp(max=longest)
    part.y = part.y[:, : int(part.y_lengths.max())]
    return part


class FreeRunning(Callback, Observer):
    """Logs at each validation what reading its own guesses costs a model, on a few examples.

    `val/free_running_loss`, `val/teacher_forced_loss` of the same examples, and their difference
    `val/exposure_gap`, in nats per real step. Measured and logged by the first process alone,
    which waits for no other; it draws no random numbers and touches no metric. Of long y only the
    beginning is read, see `OFTEN`. After the test, all examples are measured with the tested
    weights, by position.

    Args:
        batch: the examples, always the same.
    """

    def __init__(self, batch: SequenceBatch) -> None:
        self.batch, self._often = batch, cut(batch, *OFTEN)
        self._tested: ByPosition | None = None

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measures and logs."""
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        for name, value in self._measured(trainer, pl_module, self._often).scalars().items():
            pl_module.log(f"val/{name}", value, rank_zero_only=True)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measures the loss by position of the tested weights."""
        if trainer.is_global_zero:
            self._tested = self._measured(trainer, pl_module, self.batch)

    @staticmethod
    def _measured(trainer: Trainer, module: Any, batch: SequenceBatch) -> ByPosition:
        precision = trainer.precision_plugin
        with precision.forward_context(), random_state_kept():
            return by_position(module.model, precision.convert_input(batch.to(module.device)))

    def findings(self, folder: Path, title: str) -> tuple[Finding, ...]:
        """The loss by position, once the model was tested."""
        if self._tested is None:
            return ()
        columns = (self._tested.count, self._tested.forced, self._tested.free)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        positions = [Position(t, *row) for t, row in enumerate(rows, 1)]
        write_positions(folder, positions)
        path = draw_positions(folder, positions, title)
        return (positions_finding(positions, len(self.batch), path.name),)
