"""Teacher forcing that decays: told by the updates, logged, and the same after a resume."""

import csv

import pytest
import torch

from seqpipe.models.encoder_decoder import EncoderDecoder

DECAY = "architecture.teacher_forcing_decay"
LINEAR = [f"{DECAY}=linear", f"{DECAY}.updates=10", f"{DECAY}.end=0.2"]
STEADY = ["scheduler=none", "dropout=0.3", "callbacks.early_stopping.patience=99"]
STEADY += ["preflight=none", "diagnostics=none"]


def logged(result):
    with open(result.output_dir / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return [float(row["value"]) for row in rows if row["metric"] == "teacher_forcing"]


@pytest.fixture
def shares(monkeypatch):
    """By which share each training batch was forced."""
    seen, forward = [], EncoderDecoder.forward

    def watched(self, *given):
        if self.training:
            seen.append(self.forced_share)
        return forward(self, *given)

    monkeypatch.setattr(EncoderDecoder, "forward", watched)
    return seen


def test_the_share_falls_with_the_updates_and_is_logged(launch, shares):
    """60 examples, 16 a batch: 4 batches an epoch."""
    result = launch("dates", *STEADY, *LINEAR, "trainer.max_epochs=3", "logger=csv")
    wanted = [max(0.2, 1 - 0.08 * update) for update in range(12)]
    assert shares == pytest.approx(wanted)
    assert logged(result) == pytest.approx(wanted, abs=1e-6)


def test_batches_of_one_update_are_forced_alike(launch, shares):
    more = ["trainer.max_epochs=1", "trainer.accumulate_grad_batches=2"]
    launch("dates", *STEADY, *LINEAR, *more)
    assert shares == pytest.approx([1.0, 1.0, 0.92, 0.92])


def test_without_a_decay_nothing_is_logged(launch, shares):
    more = ["trainer.max_epochs=1", "architecture.teacher_forcing=0.5", "logger=csv"]
    assert logged(launch("dates", *STEADY, *more)) == []
    assert shares == [0.5] * 4


def test_stopping_and_resuming_is_training_straight_through(launch, shares):
    """With one kind of decay: all are functions of the updates, which are what is saved."""
    decay = [f"{DECAY}=inverse_sigmoid", f"{DECAY}.k=3.0"]
    overrides = [*STEADY, *decay, "trainer.max_epochs=2", "architecture.attention=none"]
    straight = launch("dates", *overrides, folder="straight")
    of_all = shares.copy()
    shares.clear()
    first = launch("dates", *overrides, "trainer.max_steps=6", folder="first")
    last = first.output_dir / "checkpoints" / "last.ckpt"
    resumed = launch("dates", *overrides, f"resume={last}", folder="resumed")
    assert shares == of_all
    assert len(set(of_all)) >= 7  # of eight updates
    assert resumed.metrics == straight.metrics
    ends = [
        torch.load(run.output_dir / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for run in (resumed, straight)
    ]
    torch.testing.assert_close(*ends, rtol=0, atol=0)
