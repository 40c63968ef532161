"""Validation in free running, in whole runs."""

import csv

import pytest
import torch

GAP = ("val/teacher_forced_loss", "val/free_running_loss", "val/exposure_gap")
NOTHING_ELSE = ["diagnostics.examples=0", "preflight=none"]
SHORT = ["trainer.max_epochs=2", "trainer.limit_train_batches=3", "trainer.limit_test_batches=2"]


@pytest.mark.parametrize("data", ["dates", "python_docs"])
def test_it_is_measured_and_changes_nothing_of_the_training(launch, data):
    overrides = [*NOTHING_ELSE, *SHORT, "dropout=0.3"]
    if data == "python_docs":
        overrides += ["data.window=32", "data.eval_window=null", "task.sample_length=5"]
    without = launch(data, *overrides, "diagnostics.free_running=0", folder="without")
    asked = launch(data, *overrides, "diagnostics.free_running=8", folder="with")
    best = [f"best/{name}" for name in GAP]
    assert set(asked.metrics) - set(without.metrics) == {*GAP, *best}
    assert {name: asked.metrics[name] for name in without.metrics} == without.metrics
    weights = [
        torch.load(run.output_dir / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for run in (without, asked)
    ]
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)
    forced, free, gap = (asked.metrics[name] for name in best)
    assert gap == pytest.approx(free - forced, abs=1e-5)
    assert not (without.output_dir / "loss_by_position.csv").exists()
    rows = list(
        csv.DictReader((asked.output_dir / "loss_by_position.csv").read_text().splitlines())
    )
    assert rows[0]["sequences"] == "8"
    counts = [int(row["sequences"]) for row in rows]
    means = [float(row["free_running"]) for row in rows]
    total = sum(n * mean for n, mean in zip(counts, means, strict=True)) / sum(counts)
    assert total == pytest.approx(free, rel=1e-4)  # of the same weights: the tested ones
    assert float(rows[0]["teacher_forced"]) == pytest.approx(means[0], rel=1e-5)
    assert "## Free running" in (asked.output_dir / "report.md").read_text()


def test_all_of_a_small_split_is_read_and_the_loss_is_that_of_the_validation(launch):
    result = launch("dates", *NOTHING_ELSE, *SHORT)
    assert result.metrics["val/teacher_forced_loss"] == pytest.approx(result.metrics["val/loss"])


@pytest.mark.parametrize(
    "overrides",
    [
        ["data=python_docs", "data.window=null", "data.bptt=16", "data.eval_window=40"],
        ["data=dates", "trainer.precision=bf16-mixed"],
        ["data=dates", "trainer.precision=64", "architecture.teacher_forcing=0.0"],
        ["data=dates", "trainer.overfit_batches=1", "callbacks=none"],
    ],
)
def test_it_goes_wherever_the_training_goes(launch, overrides):
    data = overrides[0].removeprefix("data=")
    extra = ["task.sample_length=5", "trainer.limit_val_batches=2"] if data == "python_docs" else []
    # With overfit_batches no limit is read: such a limit is refused.
    short = SHORT[:1] if "trainer.overfit_batches=1" in overrides else SHORT
    result = launch(data, *overrides[1:], *NOTHING_ELSE, *short, *extra)
    rows = (result.output_dir / "loss_by_position.csv").read_text().splitlines()
    assert len(rows) > 5
    assert len(rows) <= 41  # pieces of a text, not all of it
    assert set(GAP) <= set(result.metrics)


def test_a_model_that_reads_no_y_is_not_measured(launch):
    result = launch("adding", *NOTHING_ELSE, *SHORT)
    assert not set(GAP) & set(result.metrics)
