"""The numbers of a run, and the checkpoints it keeps."""

from pathlib import Path

import pytest
import torch
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import StochasticWeightAveraging

from seqpipe.training.checkpoints import TRAINED, BestAndLast, same_weights
from seqpipe.training.history import History


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


def keeper(folder: Path, mode: str = "min") -> BestAndLast:
    return BestAndLast(dirpath=folder, monitor="val/mse", mode=mode)


def step_of(path: Path) -> int:
    return torch.load(path, weights_only=True)["global_step"]


def test_history_keeps_every_epoch(unmeasured, trainer, loader):
    history = History()
    run = trainer(Pretend([3.0, 1.0, 4.0, 1.0]), history, max_epochs=4)
    run.fit(unmeasured(), loader(), loader())
    assert history.series["val/mse"] == [(4, 3.0), (8, 1.0), (12, 4.0), (16, 1.0)]
    assert [step for step, _ in history.series["train/loss"]] == [4, 8, 12, 16]
    losses = [value for _, value in history.series["train/loss"]]
    assert losses == sorted(losses, reverse=True)
    assert len(set(losses)) == 4  # each epoch's own, not the one before
    assert (history.last.metrics, history.last.epoch, history.last.step) == (
        {"val/mse": 1.0},
        4,
        16,
    )
    other = History()
    other.load_state_dict(history.state_dict())
    assert other.state_dict() == history.state_dict()


def test_a_test_of_the_best_checkpoint_leaves_the_history_whole(
    unmeasured, trainer, loader, tmp_path
):
    history, checkpoints, made = History(), keeper(tmp_path), unmeasured()
    run = trainer(Pretend([3.0, 1.0, 4.0]), history, checkpoints, max_epochs=3)
    run.fit(made, loader(), loader())
    before = history.state_dict()
    run.test(made, loader(), ckpt_path=tmp_path / "best.ckpt", weights_only=True)
    assert history.state_dict() == before
    assert [step for step, _ in history.series["val/mse"]] == [4, 8, 12]


class Exchanging(Callback):
    """Validates weights of its own, of which no checkpoint knows, as an averaging callback may."""

    def on_validation_epoch_start(self, trainer, pl_module):
        self.trained = [p.detach().clone() for p in pl_module.parameters()]
        with torch.no_grad():
            for parameter in pl_module.parameters():
                parameter.fill_(float(trainer.global_step))

    def on_validation_epoch_end(self, trainer, pl_module):
        with torch.no_grad():
            for parameter, own in zip(pl_module.parameters(), self.trained, strict=True):
                parameter.copy_(own)


@pytest.mark.parametrize("interval", [1.0, 0.5], ids=["at the end of epochs", "within them"])
def test_the_best_checkpoint_holds_the_weights_that_were_validated(
    unmeasured, trainer, loader, tmp_path, watch, interval
):
    made, exchanging = unmeasured(), Exchanging()
    callbacks = (exchanging, Pretend([3.0, 1.0, 4.0]), keeper(tmp_path), History())
    run = trainer(*callbacks, max_epochs=3, val_check_interval=interval)
    run.fit(made, loader(), loader())
    best = torch.load(tmp_path / "best.ckpt", weights_only=True)
    assert best["global_step"] == 8
    assert all((part == 8.0).all() for part in best["state_dict"].values())
    assert made.validated
    trained = torch.cat([part.flatten() for part in best[TRAINED].values()])
    assert torch.equal(trained, watch.weights[8])
    last = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert TRAINED not in last
    more = trainer(keeper(tmp_path / "more"), History(), Pretend([0.0] * 9), max_epochs=3)
    more.fit(unmeasured(), loader(), loader(), ckpt_path=tmp_path / "best.ckpt", weights_only=True)
    assert torch.equal(watch.weights[-1], watch.weights[12])  # as if it had never been exchanged


def test_no_copy_of_the_weights_is_held_while_they_are_trained(unmeasured, trainer, loader):
    class Held(Callback):
        def __init__(self) -> None:
            self.of: dict[str, list[bool]] = {"update": [], "validation": []}

        def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
            self.of["update"].append(bool(pl_module.validated))

        def on_validation_end(self, trainer, pl_module) -> None:
            self.of["validation"].append(same_weights(pl_module.validated, pl_module.state_dict()))

    held = Held()
    trainer(held, Pretend([3.0, 1.0]), max_epochs=2).fit(unmeasured(), loader(), loader())
    assert held.of == {"update": [False] * 8, "validation": [True] * 2}


def test_an_average_of_the_very_end_is_kept_if_it_is_the_best(
    unmeasured, trainer, loader, tmp_path
):
    swa = StochasticWeightAveraging(swa_lrs=0.1, swa_epoch_start=1, annealing_epochs=1)
    made, values = unmeasured(), [3.0, 2.0, 1.0, 0.5]  # the last one is of the closing validation
    run = trainer(swa, Pretend(values), keeper(tmp_path), History(), max_epochs=3)
    run.fit(made, loader(), loader())
    assert not same_weights(made.validated, made.state_dict())
    run.validate(made, loader(), verbose=False)
    best = torch.load(tmp_path / "best.ckpt", weights_only=True)
    assert same_weights(best["state_dict"], made.state_dict())
    last = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert same_weights(last[TRAINED], best[TRAINED])
    assert not same_weights(best[TRAINED], best["state_dict"])


@pytest.mark.parametrize(("mode", "best"), [("min", 4), ("max", 3)])
def test_best_and_last_are_what_they_say_and_of_equal_ones_the_last_counts(
    unmeasured, trainer, loader, tmp_path, mode, best
):
    checkpoints = keeper(tmp_path / "a", mode)
    run = trainer(Pretend([3.0, 1.0, 4.0, 1.0, 2.0]), checkpoints, max_epochs=5)
    run.fit(unmeasured(), loader(), loader())
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["best.ckpt", "last.ckpt"]
    assert step_of(tmp_path / "a" / "best.ckpt") == 4 * best
    assert step_of(tmp_path / "a" / "last.ckpt") == 20
    assert (checkpoints.best.epoch, checkpoints.best.step) == (best, 4 * best)


def test_a_best_validation_inside_an_epoch_is_kept(module, trainer, loader, tmp_path, stop_after):
    checkpoints, made = keeper(tmp_path), module()
    trainer(stop_after(6), checkpoints, max_epochs=9).fit(made, loader(), loader())
    assert step_of(tmp_path / "best.ckpt") == step_of(tmp_path / "last.ckpt") == 6
    assert (checkpoints.best.epoch, checkpoints.best.step) == (2, 6)
    kept = torch.load(tmp_path / "best.ckpt", weights_only=True)["state_dict"]
    torch.testing.assert_close(kept["model.linear.weight"], made.model.linear.weight.detach())


def test_a_stop_waits_for_the_end_of_an_update(module, trainer, loader, tmp_path, stop_after):
    run = trainer(stop_after(1), keeper(tmp_path), max_epochs=9, accumulate_grad_batches=3)
    run.fit(module(), loader(), loader())
    assert run.global_step == step_of(tmp_path / "last.ckpt") == 1


def test_a_stop_that_is_asked_for_once_waits_for_the_last_batch_too(
    module, trainer, loader, tmp_path
):
    class Once(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            trainer.should_stop = trainer.should_stop or batch_idx == 3

    run = trainer(Once(), keeper(tmp_path), max_epochs=9, accumulate_grad_batches=3)
    run.fit(module(), loader(n=15), loader())  # five batches: an update of three, one of two
    assert run.global_step == step_of(tmp_path / "last.ckpt") == 2


def test_last_is_written_once_an_epoch_while_min_epochs_forbid_the_end(
    module, trainer, loader, tmp_path, monkeypatch, stop_after
):
    checkpoints = keeper(tmp_path)
    written = []
    monkeypatch.setattr(checkpoints, "_write_last", lambda run: written.append(run.global_step))
    run = trainer(stop_after(1), checkpoints, max_epochs=9, min_epochs=3)
    run.fit(module(), loader(), loader())
    assert written == [4, 8, 12]


@pytest.mark.parametrize(("later", "best"), [([3.0, 2.0], 2), ([3.0, 0.5], 4)])
def test_a_resumed_run_keeps_the_old_best_and_leaves_the_old_folder_alone(
    unmeasured, trainer, loader, tmp_path, later, best
):
    old, new = tmp_path / "old", tmp_path / "new"
    values = [3.0, 1.0, *later]
    trainer(Pretend(values), keeper(old), max_epochs=2).fit(unmeasured(), loader(), loader())
    old = old.rename(tmp_path / "moved")
    before = {path.name: path.read_bytes() for path in old.iterdir()}
    checkpoints = keeper(new)
    checkpoints.resumed_from = old / "last.ckpt"
    trainer(Pretend(values), checkpoints, max_epochs=4).fit(
        unmeasured(), loader(), loader(), ckpt_path=old / "last.ckpt", weights_only=True
    )
    assert {path.name: path.read_bytes() for path in old.iterdir()} == before
    assert checkpoints.best.metrics == {"val/mse": min(values)}
    assert checkpoints.best.step == step_of(new / "best.ckpt") == 4 * best
    assert step_of(new / "last.ckpt") == 16


def test_a_best_checkpoint_that_is_gone_counts_no_longer(
    unmeasured, trainer, loader, tmp_path, caplog
):
    old, values = tmp_path / "old", [3.0, 1.0, 3.0, 2.0]
    trainer(Pretend(values), keeper(old), max_epochs=3).fit(unmeasured(), loader(), loader())
    (old / "best.ckpt").unlink()
    checkpoints = keeper(tmp_path / "new")
    checkpoints.resumed_from = old / "last.ckpt"
    trainer(Pretend(values), checkpoints, max_epochs=4).fit(
        unmeasured(), loader(), loader(), ckpt_path=old / "last.ckpt", weights_only=True
    )
    assert checkpoints.best.step == step_of(tmp_path / "new" / "best.ckpt") == 16
    assert "the best checkpoint so far (val/mse 1) is missing in" in caplog.text


def test_a_run_resumed_in_its_own_folder_goes_on_there(unmeasured, trainer, loader, tmp_path):
    values = [3.0, 1.0, 2.0, 0.5]
    trainer(Pretend(values), keeper(tmp_path), max_epochs=2).fit(unmeasured(), loader(), loader())
    checkpoints = keeper(tmp_path)
    checkpoints.resumed_from = tmp_path / "last.ckpt"
    trainer(Pretend(values), checkpoints, max_epochs=3).fit(
        unmeasured(), loader(), loader(), ckpt_path=tmp_path / "last.ckpt", weights_only=True
    )
    assert checkpoints.best.step == step_of(tmp_path / "best.ckpt") == 8
    assert sorted(path.name for path in tmp_path.glob("*.ckpt")) == ["best.ckpt", "last.ckpt"]


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_a_module_that_was_measured_can_be_trained_and_measured_again(
    module, trainer, loader, stage
):
    training, run = module(), trainer(max_epochs=1)
    (before,) = getattr(run, stage)(training, loader(), verbose=False)
    run.fit(training, loader(), loader())
    (after,) = getattr(run, stage)(training, loader(), verbose=False)
    name = {"validate": "val/loss", "test": "test/loss"}[stage]
    assert after[name] < before[name]


@pytest.mark.parametrize("hook", ["on_after_backward", "on_train_batch_end"])
def test_a_training_after_one_that_failed_has_sums_of_its_own(module, trainer, loader, hook):
    class Failing(Callback):
        calls = 0

    def fail(self, *_):
        self.calls += 1
        if self.calls == 2:
            raise ValueError("a fault of the user")

    setattr(Failing, hook, fail)
    failed, fresh = module(), module()
    run = trainer(Failing(), max_epochs=1, enable_checkpointing=False)
    with pytest.raises(ValueError, match="a fault of the user"):
        run.fit(failed, loader(), loader())
    fresh.load_state_dict(failed.state_dict())
    assert training_loss(trainer, failed, loader) == training_loss(trainer, fresh, loader)


def training_loss(trainer, module, loader):
    run = trainer(max_epochs=1)
    run.fit(module, loader(), loader())
    return run.callback_metrics["train/loss"]


class SaveAfterTwo(Callback):
    """Saves a checkpoint in the middle of an epoch."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if batch_idx == 1:
            trainer.save_checkpoint(self.path)


def test_a_training_after_a_resumed_one_has_sums_of_its_own(module, trainer, loader, tmp_path):
    path, resumed, fresh = tmp_path / "middle.ckpt", module(), module()
    saving = trainer(SaveAfterTwo(path), max_epochs=1, enable_checkpointing=False)
    saving.fit(module(), loader(), loader())
    batches = loader()
    batches.load_state_dict({"batches": 2})
    options = {"ckpt_path": path, "weights_only": True}
    trainer(max_epochs=1).fit(resumed, batches, loader(), **options)
    fresh.load_state_dict(resumed.state_dict())
    assert training_loss(trainer, resumed, loader) == training_loss(trainer, fresh, loader)


def test_a_checkpoint_holds_the_configuration_and_no_code(module, trainer, loader, tmp_path):
    run = trainer(keeper(tmp_path), max_epochs=1)
    run.fit(module(), loader(), loader())
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert saved["seqpipe"]["config"] == {"of": "the run"}


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("bad", [float("inf"), float("-inf"), float("nan")])
def test_a_validation_that_is_not_finite_is_never_the_best(
    unmeasured, trainer, loader, tmp_path, bad, mode
):
    keeps = keeper(tmp_path / "none", mode)
    trainer(Pretend([bad, bad]), keeps, max_epochs=2).fit(unmeasured(), loader(), loader())
    assert keeps.best is None
    assert not keeps.best_path.exists()
    keeps = keeper(tmp_path / "one", mode)
    trainer(Pretend([bad, 2.0, bad]), keeps, max_epochs=3).fit(unmeasured(), loader(), loader())
    assert (keeps.best.epoch, step_of(keeps.best_path)) == (2, 8)
