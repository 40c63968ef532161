import csv
import json

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch.utils.data import DataLoader

from seqpipe.tracking.base import recording
from seqpipe.tracking.csv import CsvTracker


class _Line(LightningModule):
    """Fits y = w x, and can be interrupted."""

    def __init__(self, error=None):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(1))
        self.error = error
        self.save_hyperparameters({"a": 1})

    def training_step(self, x, index):
        if self.error and self.global_step == 3:
            raise self.error
        loss = (self.w - 1).square().sum()
        self.log("train/loss", loss, on_step=True, on_epoch=False)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.25)


def _fit(tracker, folder, error=None):
    trainer = Trainer(
        logger=tracker.logger,
        max_epochs=2,
        log_every_n_steps=1,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=folder,
    )
    trainer.fit(_Line(error), DataLoader(torch.zeros(4, 1), num_workers=0))
    return trainer


# Lightning advises worker processes and deprecates a part of torch that it uses itself.
@pytest.mark.filterwarnings("ignore::Warning")
def test_what_lightning_logs_arrives_under_its_name_and_step(tmp_path, a_run):
    with recording(CsvTracker(tmp_path, tmp_path)) as tracker:
        tracker.start(**a_run)
        trainer = _fit(tracker, tmp_path)
    assert trainer.log_dir == str(tmp_path)
    with (tmp_path / "metrics.csv").open() as file:
        rows = [
            (row["metric"], int(row["step"]), float(row["value"])) for row in csv.DictReader(file)
        ]
    losses = [(step, value) for name, step, value in rows if name == "train/loss"]
    assert losses == [(step, 0.25**step) for step in range(8)]
    epochs = [(step, value) for name, step, value in rows if name == "epoch"]
    assert epochs == [(step, step // 4) for step in range(8)]
    assert {name for name, _, _ in rows} == {"train/loss", "epoch"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.csv", "run.json"]


@pytest.mark.filterwarnings("ignore::Warning")
@pytest.mark.parametrize(
    ("error", "raised", "status"),
    [
        (KeyboardInterrupt(), SystemExit, "KILLED"),  # as Lightning turns it
        (RuntimeError("planted"), RuntimeError, "FAILED"),
    ],
)
def test_a_training_that_lightning_breaks_off_has_its_status(
    tmp_path, a_run, error, raised, status
):
    tracker = CsvTracker(tmp_path, tmp_path)
    tracker.start(**a_run)
    with pytest.raises(raised), recording(tracker):
        _fit(tracker, tmp_path, error)
    assert json.loads((tmp_path / "run.json").read_text())["status"] == status
