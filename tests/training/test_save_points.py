"""When checkpoints are written, and what a process that is killed between two of them leaves."""

import os
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Callback

from seqpipe.training.checkpoints import BestAndLast
from seqpipe.training.history import History
from seqpipe.training.save_requests import SaveRequests


class Killed(BaseException):
    """Stands for the end of the process: nothing of ours runs after it."""


def keeper(folder: Path, every: int | str | None = None) -> BestAndLast:
    made = BestAndLast(dirpath=folder, monitor="val/loss", mode="min")
    made.requests = SaveRequests(every)
    return made


def step_of(path: Path) -> int:
    return torch.load(path, weights_only=True)["global_step"]


class Saved(Callback):
    """The update of each `last.ckpt`, as the next batch finds it."""

    def __init__(self, path: Path) -> None:
        self.path, self.steps = path, []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if self.path.exists() and step_of(self.path) not in self.steps:
            self.steps.append(step_of(self.path))


@pytest.fixture
def synced(monkeypatch):
    """What reached the disk, and names that were given, in their order."""
    seen, replace = [], Path.replace

    def sync(number):
        seen.append(f"sync {Path(os.readlink(f'/proc/self/fd/{number}')).name}")

    def rename(self, target):
        seen.append(f"rename to {Path(target).name}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", rename)
    return seen


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no /proc")
def test_the_disk_has_a_checkpoint_before_it_gets_its_name(
    module, trainer, loader, tmp_path, synced
):
    folder = tmp_path / "kept"
    trainer(keeper(folder), max_epochs=1).fit(module(), loader(), loader())
    written = ["sync .new-{}", "rename to {}", "sync kept"]
    names = ("best.ckpt", "last.ckpt")
    assert synced == [step.format(name) for name in names for step in written]


@pytest.mark.parametrize("after", ["best.ckpt", "last.ckpt"])
def test_a_process_killed_between_best_and_last_leaves_two_that_agree(
    module, trainer, loader, tmp_path, monkeypatch, after
):
    """Every epoch is the best so far: both are written at each end, of four updates each."""
    folder, replace = tmp_path / "kept", Path.replace

    def rename(self, target):
        replace(self, target)
        if Path(target) == folder / after and step_of(folder / after) == 8:
            raise Killed

    monkeypatch.setattr(Path, "replace", rename)
    with pytest.raises(Killed):
        trainer(keeper(folder), max_epochs=3).fit(module(), loader(), loader())
    monkeypatch.undo()
    assert step_of(folder / "best.ckpt") == 8
    assert (folder / ".before-best.ckpt").exists()
    again = keeper(folder)
    again.resumed_from = folder / "last.ckpt"
    before = step_of(folder / "last.ckpt")
    seen = Best(folder)
    run = trainer(again, seen, max_epochs=3)
    run.fit(module(), loader(), loader(), ckpt_path=folder / "last.ckpt", weights_only=True)
    assert seen.step == (before, before)
    assert {path.name for path in folder.iterdir()} == {"best.ckpt", "last.ckpt"}
    assert step_of(folder / "best.ckpt") == step_of(folder / "last.ckpt") == 12


class Best(Callback):
    """The best validation as a resumed training starts, in memory and on the disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_start(self, trainer, pl_module):
        kept = next(c for c in trainer.callbacks if isinstance(c, BestAndLast))
        self.step = kept.best.step, step_of(self.folder / "best.ckpt")


@pytest.mark.parametrize(
    ("every", "options", "steps"),
    [
        (None, {}, [4]),
        (3, {}, [3, 4, 7]),
        (1, {"accumulate_grad_batches": 2}, [1, 2, 3]),
        ("1s", {}, [1, 2, 3, 4, 5, 6, 7]),
    ],
    ids=["ends of epochs", "updates", "whole updates", "time"],
)
def test_a_checkpoint_within_an_epoch_comes_when_it_is_due(
    module, trainer, loader, tmp_path, monkeypatch, every, options, steps
):
    clock = iter(range(10**6))
    monkeypatch.setattr("seqpipe.training.save_requests.time.monotonic", lambda: next(clock))
    seen = Saved(tmp_path / "last.ckpt")
    run = trainer(keeper(tmp_path, every), History(), seen, max_epochs=2, **options)
    run.fit(module(), loader(), loader())
    assert seen.steps == steps


def test_a_checkpoint_that_is_due_waits_for_the_validation(module, trainer, loader, tmp_path):
    """Lightning would not repeat a validation that follows the checkpoint."""
    keeps, history = keeper(tmp_path, 1), History()
    held = []

    class Look(Callback):
        def on_validation_start(self, trainer, pl_module):
            path = tmp_path / "last.ckpt"
            held.append(step_of(path) if path.exists() else 0)

    run = trainer(keeps, history, Look(), max_epochs=1, val_check_interval=2)
    run.fit(module(), loader(), loader())
    assert held == [1, 3]  # of the validations after updates 2 and 4
    assert step_of(tmp_path / "last.ckpt") == 4
