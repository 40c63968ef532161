"""What reading its own guesses costs a model that writes y: measured, drawn, put in words."""

from pathlib import Path

from omegaconf import DictConfig
from pytorch_lightning import Trainer
from torch import nn

from seqpipe.data.dataset import SequenceData
from seqpipe.diagnostics.free_running import FreeRunning, RunsFree, examples_of
from seqpipe.diagnostics.settings import Settings
from seqpipe.report.findings import Finding
from seqpipe.report.loss_by_position import (
    Position,
    draw_positions,
    positions_finding,
    write_positions,
)
from seqpipe.targets import instantiate
from seqpipe.training.module import SequenceModule


def make_free_running(cfg: DictConfig, model: nn.Module, data: SequenceData) -> FreeRunning | None:
    """What measures it at each validation; None where the model reads no y, or it is not asked.

    With `trainer.overfit_batches` validation is of the training split, and so is this.
    """
    settings: Settings = instantiate(cfg.diagnostics)
    if settings.free_running == 0 or not isinstance(model, RunsFree):
        return None
    split = "train" if cfg.trainer.overfit_batches > 0 else "valid"
    return FreeRunning(examples_of(data, settings.free_running, split=split))


def write(
    folder: Path,
    free_running: FreeRunning | None,
    trainer: Trainer,
    module: SequenceModule,
    title: str,
) -> tuple[Finding, ...]:
    """Draws and keeps the loss by position of the tested weights. Returns what is told of it."""
    if free_running is None:
        return ()
    found = free_running.found(trainer, module)
    columns = (found.count.tolist(), found.forced.tolist(), found.free.tolist())
    positions = [Position(t, *row) for t, row in enumerate(zip(*columns, strict=True), 1)]
    write_positions(folder, positions)
    path = draw_positions(folder, positions, title)
    return (positions_finding(positions, len(free_running.batch), path.name),)
