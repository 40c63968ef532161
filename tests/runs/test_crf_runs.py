"""Whole runs with architecture.head=crf."""

import json

import pytest
import torch

pytestmark = pytest.mark.usefixtures("undrawn")


def test_a_run_trains_tests_records_and_repeats_a_crf(launch):
    overrides = ["architecture.head=crf", "trainer.max_epochs=2", "preflight=full", "depth=2"]
    first = launch("copy_memory", *overrides, folder="first")
    again = launch("copy_memory", *overrides, folder="again")
    assert first.metrics == again.metrics
    assert 0 < first.metrics["test/loss"] < 2.2
    saved = torch.load(first.output_dir / "checkpoints" / "best.ckpt", weights_only=True)
    weights = saved["state_dict"]
    assert weights["model.head.transitions"].shape == (9, 9)
    assert weights["model.head.transitions"].ne(0).any()
    page = (first.output_dir / "report.md").read_text()
    assert "architecture.head=crf" in page
    metrics = json.loads((first.output_dir / "metrics.json").read_text())
    text = json.dumps(metrics)
    assert "gradient/encoder.0.forwards" in text


def test_one_batch_can_be_memorised_by_a_crf(launch):
    result = launch(
        "copy_memory",
        *("architecture.head=crf", "architecture.head.hidden=[16]", "bidirectional=true"),
        *("trainer=overfit", "hidden_size=32", "optim.lr=0.05", "data.batch_size=4"),
        *("trainer.max_epochs=150", "trainer.check_val_every_n_epoch=150", "preflight=none"),
        *("trainer.accelerator=cpu", "trainer.enable_progress_bar=false"),
    )
    assert result.metrics["test/accuracy"] == result.metrics["val/accuracy"] == 1.0


def test_stopping_and_resuming_is_training_straight_through(launch):
    overrides = ["architecture.head=crf", "scheduler=none", "preflight=none"]
    straight = launch("copy_memory", *overrides, "trainer.max_epochs=2", folder="straight")
    first = launch("copy_memory", *overrides, "trainer.max_epochs=1", folder="first")
    last = first.output_dir / "checkpoints" / "last.ckpt"
    more = [*overrides, "trainer.max_epochs=2", f"resume={last}"]
    resumed = launch("copy_memory", *more, folder="resumed")
    assert resumed.metrics == straight.metrics
