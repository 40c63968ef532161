"""Throughput, history, checkpoints and the progress line."""

import time
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Callback

from seqpipe.training.callbacks import BestAndLast, History, OneBar, Throughput


class Pretend(Callback):
    """Puts numbers of our choice where the validation's loss would be."""

    def __init__(self, values):
        self.values = values

    def on_validation_epoch_end(self, trainer, pl_module):
        pl_module.log("val/mse", torch.tensor(self.values[trainer.current_epoch]))


@pytest.fixture
def unmeasured(module, monkeypatch):
    """A module whose validation logs nothing by itself."""

    def make(**options):
        made = module(**options)
        monkeypatch.setattr(made, "on_validation_epoch_end", lambda: None)
        return made

    return make


def test_throughput_counts_examples_over_the_time_of_training_alone(
    module, trainer, loader, monkeypatch
):
    class Slow(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            time.sleep(0.02)

        def on_validation_start(self, trainer, pl_module):
            time.sleep(0.5)

    run = trainer(Slow(), Throughput(), max_epochs=1, val_check_interval=2)
    run.fit(module(), loader(n=11), loader())  # three batches of 3 and one of 2
    rate = run.callback_metrics["examples_per_second"].item()
    assert 11 / 0.5 < rate <= 11 / (4 * 0.02)


@pytest.mark.parametrize(("mode", "best"), [("min", 4), ("max", 3)])
def test_history_keeps_every_epoch_and_the_best_one(unmeasured, trainer, loader, mode, best):
    values = [3.0, 1.0, 4.0, 1.0]
    history = History("val/mse", mode)
    run = trainer(Pretend(values), history, max_epochs=4)
    run.fit(unmeasured(), loader(), loader())
    assert history.series["val/mse"] == [(4, 3.0), (8, 1.0), (12, 4.0), (16, 1.0)]
    assert [step for step, _ in history.series["train/loss"]] == [4, 8, 12, 16]
    losses = [value for _, value in history.series["train/loss"]]
    assert losses == sorted(losses, reverse=True)
    assert len(set(losses)) == 4  # each epoch's own, not the one before
    assert (history.best_epoch, history.best_step) == (best, 4 * best)
    assert history.best == {"val/mse": values[best - 1]}
    other = History("val/mse", mode)
    other.load_state_dict(history.state_dict())
    assert other.state_dict() == history.state_dict()


def test_a_test_of_the_best_checkpoint_leaves_the_history_whole(
    unmeasured, trainer, loader, tmp_path
):
    history, made = History("val/mse", "min"), unmeasured()
    run = trainer(Pretend([3.0, 1.0, 4.0]), history, keeper(tmp_path), max_epochs=3)
    run.fit(made, loader(), loader())
    before = history.state_dict()
    run.test(made, loader(), ckpt_path=tmp_path / "best.ckpt", weights_only=True)
    assert history.state_dict() == before
    assert [step for step, _ in history.series["val/mse"]] == [4, 8, 12]


def test_a_validation_that_is_not_a_number_is_never_the_best(unmeasured, trainer, loader):
    history = History("val/mse", "min")
    run = trainer(Pretend([float("nan"), 2.0, float("nan"), 3.0]), history, max_epochs=4)
    run.fit(unmeasured(), loader(), loader())
    assert history.best_epoch == 2


def keeper(folder: Path) -> BestAndLast:
    return BestAndLast(dirpath=folder, monitor="val/mse", mode="min")


def epochs_of(path: Path) -> int:
    return torch.load(path, weights_only=True)["global_step"] // 4


def test_best_and_last_are_what_they_say(unmeasured, trainer, loader, tmp_path):
    checkpoints = keeper(tmp_path / "a")
    run = trainer(Pretend([3.0, 1.0, 4.0]), checkpoints, max_epochs=3)
    run.fit(unmeasured(), loader(), loader())
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["best.ckpt", "last.ckpt"]
    assert epochs_of(tmp_path / "a" / "best.ckpt") == 2
    assert epochs_of(tmp_path / "a" / "last.ckpt") == 3
    assert checkpoints.best_model_score == 1.0


def test_of_equal_validations_the_last_is_kept(unmeasured, trainer, loader, tmp_path):
    checkpoints, history = keeper(tmp_path), History("val/mse", "min")
    run = trainer(Pretend([3.0, 1.0, 1.0, 4.0]), checkpoints, history, max_epochs=4)
    run.fit(unmeasured(), loader(), loader())
    assert epochs_of(tmp_path / "best.ckpt") == history.best_epoch == 3


@pytest.mark.parametrize(("later", "best"), [([3.0, 2.0], 2), ([3.0, 0.5], 4)])
def test_a_resumed_run_keeps_the_old_best_and_leaves_the_old_folder_alone(
    unmeasured, trainer, loader, tmp_path, later, best
):
    old, new = tmp_path / "old", tmp_path / "new"
    values = [3.0, 1.0, *later]
    trainer(Pretend(values), keeper(old), max_epochs=2).fit(unmeasured(), loader(), loader())
    before = {path.name: path.read_bytes() for path in old.iterdir()}
    checkpoints = keeper(new)
    trainer(Pretend(values), checkpoints, max_epochs=4).fit(
        unmeasured(), loader(), loader(), ckpt_path=old / "last.ckpt", weights_only=True
    )
    assert {path.name: path.read_bytes() for path in old.iterdir()} == before
    assert checkpoints.best_model_path == str(new / "best.ckpt")
    assert checkpoints.best_model_score == min(values)
    assert epochs_of(new / "best.ckpt") == best
    assert epochs_of(new / "last.ckpt") == 4


def test_a_run_resumed_in_its_own_folder_goes_on_there(unmeasured, trainer, loader, tmp_path):
    values = [3.0, 1.0, 2.0, 0.5]
    trainer(Pretend(values), keeper(tmp_path), max_epochs=2).fit(unmeasured(), loader(), loader())
    trainer(Pretend(values), keeper(tmp_path), max_epochs=4).fit(
        unmeasured(), loader(), loader(), ckpt_path=tmp_path / "last.ckpt", weights_only=True
    )
    assert epochs_of(tmp_path / "best.ckpt") == 4
    assert sorted(path.name for path in tmp_path.glob("*.ckpt")) == ["best.ckpt", "last.ckpt"]


def test_a_checkpoint_holds_the_configuration_and_no_code(module, trainer, loader, tmp_path):
    run = trainer(keeper(tmp_path), max_epochs=1)
    run.fit(module(), loader(), loader())
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert saved["seqpipe"]["config"] == {"of": "the run"}


def test_where_nobody_watches_each_epoch_is_one_line(module, trainer, loader, capsys):
    run = trainer(OneBar("val/mae"), max_epochs=3, enable_progress_bar=True)
    run.fit(module(), loader(), loader())
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[:2] for line in lines] == [["epoch", f"{n}/3"] for n in (1, 2, 3)]
    for line in lines:
        assert line.split()[2::2] == ["train/loss", "val/loss", "val/mae"]
    shown = [float(line.split()[3]) for line in lines]
    assert shown == sorted(shown, reverse=True)
    assert shown[-1] == pytest.approx(run.callback_metrics["train/loss"].item(), abs=1e-4)
    assert len(set(shown)) == 3
