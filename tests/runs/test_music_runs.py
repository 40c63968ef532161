"""Runs on music and on several labels: from files to a sample of the model's own."""

import json

import numpy as np
import pytest

FEW = ("trainer.max_epochs=2", "data.batch_size=4")


@pytest.fixture
def rolls(tmp_path):
    """Twelve pieces of 4 to 15 steps that go up and down between two notes."""
    pieces = []
    for n in range(12):
        roll = np.zeros((4 + n, 88), dtype=np.uint8)
        roll[::2, 30 + n] = roll[1::2, 34 + n] = 1
        pieces.append(roll)
    np.savez(tmp_path / "rolls.npz", *pieces)
    return tmp_path


def test_a_run_on_piano_rolls_leaves_scores_examples_and_a_sample_to_look_at(launch, rolls):
    overrides = (*FEW, "data.y.lowest=48", "data.y.highest=72")
    result = launch("piano_rolls", f"data.path={rolls / 'rolls.npz'}", *overrides, painted=True)
    metrics = json.loads((result.output_dir / "metrics.json").read_text())
    names = {"loss", "accuracy", "micro_f1", "macro_f1", "exact_match"}
    names |= {"macro_precision", "macro_recall"}
    assert {name.removeprefix("test/") for name in metrics if name.startswith("test/")} == names
    assert 0 < metrics["test/loss"] < 25  # 25 notes; knowing nothing costs 25 ln 2
    sample = (result.output_dir / "sample.txt").read_text().strip().split(" | ")
    assert 4 <= len(sample) <= 15
    assert (result.output_dir / "figures" / "sample.png").stat().st_size > 1000
    assert "C4" in (result.output_dir / "examples.csv").read_text()


def test_a_run_on_several_labels_scores_each_of_them(launch, tmp_path):
    rng = np.random.default_rng(0)
    rows = ["text\tlabels"]
    for _ in range(60):
        words = rng.choice(["sun", "rain", "sea"], 5).tolist()
        labels = {"dry": "sun", "wet": "rain"}
        rows.append(" ".join(words) + "\t" + "|".join(k for k, v in labels.items() if v in words))
    (tmp_path / "weather.tsv").write_text("\n".join(rows))
    result = launch(
        "table",
        f"data.path={tmp_path / 'weather.tsv'}",
        "task=multi_label",
        "data.x.column=text",
        "data.y={_target_: seqpipe.data.fields.multilabel.MultiLabel, column: labels}",
        "trainer.max_epochs=8",
        "optim.lr=0.03",
    )
    metrics = json.loads((result.output_dir / "metrics.json").read_text())
    assert {"test/f1/dry", "test/f1/wet", "test/micro_f1", "test/exact_match"} <= set(metrics)
    assert metrics["test/micro_f1"] > 0.8
