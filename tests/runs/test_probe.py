"""Looks into a model while it is trained: recorded, kept, drawn, and without any influence."""

import functools
import json
import re

import matplotlib.image
import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from pyarrow import parquet

from seqpipe.build import build_model
from seqpipe.errors import ConfigError
from seqpipe.runs import checked_module

LOOKS = ["diagnostics.every=3", "diagnostics.examples=5", "trainer.max_epochs=2"]
WITHOUT = ["diagnostics=none", "trainer.max_epochs=2"]


@pytest.fixture(scope="module")
def looked(launch_in, tmp_path_factory):
    """A run that was looked into, recorded in MLflow, with its figures."""
    root = tmp_path_factory.mktemp("looked")
    store = f"logger.tracking_uri=sqlite:///{root}/mlflow.db"
    return launch_in(root, "adding", *LOOKS, "logger=mlflow", store, painted=True)


@pytest.fixture(scope="module")
def half(launch_in, tmp_path_factory):
    """A run that ended inside its first epoch, and what it was started with."""
    root, folder = tmp_path_factory.mktemp("half"), "half"
    more = ("dropout=0.3", "diagnostics.every=3", "scheduler=none", "trainer.max_epochs=2")
    five = "diagnostics.examples=5"
    run = launch_in(root, "adding", *more, five, "trainer.max_steps=4", folder=folder)
    return more, run.output_dir / "checkpoints" / "last.ckpt"


@pytest.mark.parametrize(
    ("data", "more"),
    [
        ("adding", ["cell=gru", "dropout=0.3", "depth=2"]),
        ("dates", ["dropout=0.3", "architecture.teacher_forcing=0.5"]),
        ("copy_memory", ["data.num_workers=0", "bidirectional=true", "optim=sgd"]),
    ],
)
def test_a_training_that_is_looked_into_is_the_same_training(launch_in, tmp_path, data, more):
    """Dropout and forced teachers draw random numbers: one drawn by a look would show."""
    looked = launch_in(tmp_path, data, *LOOKS, *more, folder="looked")
    plain = launch_in(tmp_path, data, *WITHOUT, *more, folder="plain")
    assert len(looked.metrics) > len(plain.metrics)
    assert {name: looked.metrics[name] for name in plain.metrics} == plain.metrics


def test_a_look_is_taken_at_the_start_every_few_updates_and_at_the_end(looked):
    result = looked  # 60 examples, batches of 16: 8 updates
    table = parquet.read_table(result.output_dir / "gradients.parquet").to_pydict()
    assert sorted(set(table["step"])) == [0, 3, 6, 8]
    assert set(table["direction"]) == {"forwards"}
    assert set(table["stack"]) == {"encoder"}
    assert len(set(table["example"])) == 5
    assert max(table["distance"]) == 5
    for step, time_step, distance in zip(
        table["step"], table["time_step"], table["distance"], strict=True
    ):
        assert time_step == 6 - distance, step
    last = [
        (d, n)
        for d, n, s in zip(table["distance"], table["norm"], table["step"], strict=True)
        if s == 8
    ]
    means = [np.mean([n for d, n in last if d == distance]) for distance in range(6)]
    below = [place for place, mean in enumerate(means) if mean >= 0.01 * max(means)]
    assert result.metrics["gradient/horizon"] == max(below) + 1
    saved = json.loads((result.output_dir / "metrics.json").read_text())
    assert saved["gradient/encoder.0.forwards/decay"] == pytest.approx(
        result.metrics["gradient/decay"]
    )


def test_the_backward_direction_is_told_in_its_own_order(launch):
    result = launch("copy_memory", *LOOKS, "bidirectional=true")
    table = parquet.read_table(result.output_dir / "gradients.parquet").to_pydict()
    rows = list(zip(*(table[k] for k in ("direction", "time_step", "distance")), strict=True))
    T = max(table["time_step"])
    assert all(t == d + 1 for direction, t, d in rows if direction == "backwards")
    assert all(t == T - d for direction, t, d in rows if direction == "forwards")
    assert set(table["loss"]) == {"whole", "last"}


def test_what_is_seen_is_drawn_and_told_on_the_page(looked):
    result = looked
    page = (result.output_dir / "report.md").read_text()
    for name in ("gradient_through_time", "gradient_over_training", "inside_the_cells"):
        picture = matplotlib.image.imread(result.output_dir / "figures" / f"{name}.png")
        assert picture.std() > 0.05  # something is drawn
        assert f"figures/{name}.png" in page
    verdict = {-1.0: "vanishing", 0.0: "healthy", 1.0: "exploding"}
    assert f"**{verdict[result.metrics['gradient/verdict']]}: " in page
    assert "The most saturated gate is" in page
    assert "In 8 updates the median gradient norm was " in page
    assert "| encoder.0.forwards |" in page.partition("## Gradient flow")[2]


def test_mlflow_has_columns_and_a_picture_for_each_look(looked):
    result = looked
    client = MlflowClient(f"sqlite:///{result.output_dir.parents[1]}/mlflow.db")
    metrics = client.get_run(result.run_id).data.metrics
    assert metrics["gradient/half_life"] == pytest.approx(result.metrics["gradient/half_life"])
    history = client.get_metric_history(result.run_id, "gradient/horizon")
    assert [point.step for point in history] == [0, 3, 6, 8]
    images = [file.path for file in client.list_artifacts(result.run_id, "images")]
    steps = {re.search(r"step\W(\d+)", path)[1] for path in images if path.endswith(".png")}
    assert steps == {"0", "3", "6", "8"}
    kept = {file.path for file in client.list_artifacts(result.run_id)}
    assert {"gradients.parquet", "cells.parquet", "figures"} <= kept


def test_a_resumed_run_tells_of_its_looks_before(launch_in, tmp_path, half):
    more, last = half
    start = functools.partial(launch_in, tmp_path, "adding", *more, "diagnostics.examples=5")
    whole, rest = start(folder="whole"), start(f"resume={last}", folder="rest")
    tables = {
        name: parquet.read_table(run.output_dir / "gradients.parquet").to_pandas()
        for name, run in (("whole", whole), ("rest", rest))
    }
    # The half one ended with a look of its own, after its checkpoint was written.
    steps = {name: sorted(set(table["step"])) for name, table in tables.items()}
    assert steps == {"whole": [0, 3, 6, 8], "rest": [0, 3, 4, 6, 8]}
    same = tables["rest"][tables["rest"]["step"] != 4].reset_index(drop=True)
    assert same.equals(tables["whole"])


def test_a_model_without_a_recurrent_layer_has_nothing_to_be_looked_at(launch):
    result = launch("digits_flat", "trainer.max_epochs=1", "trainer.limit_train_batches=2")
    assert not any(name.startswith("gradient/") for name in result.metrics)
    assert not (result.output_dir / "gradients.parquet").exists()


def test_only_the_start_and_the_end_are_looked_at_where_every_is_null(launch):
    result = launch("adding", "diagnostics.every=null", "trainer.max_epochs=2")
    table = parquet.read_table(result.output_dir / "gradients.parquet").to_pydict()
    assert sorted(set(table["step"])) == [0, 8]


def test_a_relu_network_with_large_weights_and_no_clipping_is_said_to_explode(launch, monkeypatch):
    """At rate 1e-6 nothing is learned: what is measured is what was planted, W_h = 1.2 I."""

    def planted(*arguments):
        model = build_model(*arguments)
        with torch.no_grad():
            cell = model.encoder.layers[0]["forwards"].cell
            cell.weight_hidden.copy_(1.2 * torch.eye(8))
            cell.weight_input.abs_()
        return model

    monkeypatch.setattr(checked_module, "build_model", planted)
    result = launch(
        "adding",
        "data.length=60",
        "cell=rnn",
        "cell.nonlinearity=relu",
        "trainer.gradient_clip_val=null",
        "optim.lr=0.000001",
        "trainer.max_epochs=1",
        "trainer.limit_train_batches=2",
    )
    assert result.metrics["gradient/verdict"] == 1.0
    assert result.metrics["gradient/decay"] == pytest.approx(1.2, rel=0.02)
    assert "**exploding: " in (result.output_dir / "report.md").read_text()


def test_a_resumed_run_may_look_at_other_examples(launch, half):
    more, last = half
    rest = launch("adding", *more, "diagnostics.examples=2", f"resume={last}")
    table = parquet.read_table(rest.output_dir / "gradients.parquet").to_pandas()
    counts = table.groupby("step")["example"].nunique().to_dict()
    assert counts == {0: 5, 3: 5, 4: 2, 6: 2, 8: 2}


def test_a_model_that_draws_chance_when_evaluated_is_trained_the_same(
    launch_in, tmp_path, monkeypatch
):
    class Noisy(torch.nn.Module):
        def forward(self, values):
            return values + 0.1 * torch.randn_like(values)

    def noisy(*arguments):
        model = build_model(*arguments)
        model.head = torch.nn.Sequential(Noisy(), model.head)
        return model

    monkeypatch.setattr(checked_module, "build_model", noisy)
    looked = launch_in(tmp_path, "dates", *LOOKS, folder="looked")
    plain = launch_in(tmp_path, "dates", *WITHOUT, folder="plain")
    assert {name: looked.metrics[name] for name in plain.metrics} == plain.metrics


@pytest.mark.parametrize(
    ("data", "option", "lacks"),
    [
        ("digits_flat", "diagnostics.every=3", "OneToOne has no recurrent layer"),
        ("adding", "diagnostics.free_running=9", "ManyToOne writes no y"),
    ],
)
def test_an_option_that_finds_nothing_to_look_at_is_refused(launch, tmp_path, data, option, lacks):
    text = f"{option}: {lacks}, so there is nothing to measure; allowed: leave it out"
    with pytest.raises(ConfigError, match=re.escape(text)):
        launch(data, option)
    assert not (tmp_path / "runs").exists()
    launch(data, "diagnostics.free_running=0", "trainer.max_epochs=1")
