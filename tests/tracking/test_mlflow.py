import json
import math
from pathlib import Path

import pytest
from mlflow import MlflowClient

from seqpipe.errors import ConfigError
from seqpipe.tracking.base import recording
from seqpipe.tracking.run_lookup import look_up_run


def test_a_run_is_read_back_as_it_was_recorded(make_tracker, a_run, client):
    with recording(make_tracker()) as tracker:
        tracker.start(**a_run)
        tracker.log_metrics({"val/accuracy": 0.5, "epoch": 0}, step=10)
        tracker.log_metrics({"val/accuracy": 0.75, "epoch": 1}, step=20)
    run = client.get_run(tracker.run_id)
    assert run.info.run_name == "digits lstm 3x64"
    assert client.get_experiment(run.info.experiment_id).name == "digits"
    assert run.data.params == {
        "cell": "lstm",
        "depth": "3",
        "bidirectional": "true",
        "optim.lr": "0.001",
    }
    assert run.data.tags["data"] == "digits"
    history = client.get_metric_history(tracker.run_id, "val/accuracy")
    assert [(m.step, m.value) for m in history] == [(10, 0.5), (20, 0.75)]
    assert run.data.metrics["epoch"] == 1
    assert run.info.status == "FINISHED"
    found = {one.tags[0].value: one.dataset for one in run.inputs.dataset_inputs}
    assert set(found) == {"train", "test"}
    assert found["train"].digest == ("a1" * 32)[:36]
    assert json.loads(found["train"].source)["sha256"] == "a1" * 32
    assert json.loads(found["test"].profile) == {"num_examples": 100}


def test_params_that_mlflow_cannot_take_are_kept_in_full_as_an_artifact(
    make_tracker, a_run, client, tmp_path
):
    tracker = make_tracker()
    tracker.start(**{**a_run, "params": {"cell@x": None, "long": "w" * 9000, "depth": 3}})
    tracker.end("FINISHED")
    params = client.get_run(tracker.run_id).data.params
    assert params == {"cell_x40_x": "null", "long": "w" * 6000, "depth": "3"}
    path = client.download_artifacts(tracker.run_id, "params_in_full.json", str(tmp_path))
    assert json.loads(Path(path).read_text()) == {"long": "w" * 9000}


def test_metrics_that_are_not_finite_are_stored_as_nan(make_tracker, a_run, client):
    tracker = make_tracker()
    tracker.start(**a_run)
    tracker.log_metrics({"train/loss": math.nan, "val/perplexity": math.inf, "lr": 0.1}, 1)
    tracker.end("FINISHED")
    metrics = client.get_run(tracker.run_id).data.metrics
    assert math.isnan(metrics["train/loss"])
    assert math.isnan(metrics["val/perplexity"])
    assert metrics["lr"] == 0.1


def test_every_class_keeps_a_metric_of_its_own_and_is_found_by_its_name(
    make_tracker, a_run, client, store_root
):
    classes = ["<=50K", ">=50K", "=>50K", ",", ".", "$", "#", "😀", "😢", "..", "a/../b", "/", "né"]
    classes += ["x" * 300, "x" * 299 + "y", "loss", "B-PER", "a:b", "us", "US", "a", "a ", "\n"]
    metrics = {f"test/f1/{name}": float(k) for k, name in enumerate(classes)}
    tracker = make_tracker()
    tracker.start(**a_run)
    tracker.log_metrics(metrics, 0)
    tracker.end("FINISHED")
    assert len(client.get_run(tracker.run_id).data.metrics) == len(classes)
    uri = f"sqlite:///{store_root}/outputs/mlflow.db"
    found = look_up_run(
        tracker.run_id, root=store_root, tracking_uri=uri, better=lambda name: "max"
    )
    assert found.metrics == metrics


def test_more_long_names_and_params_than_one_call_takes(make_tracker, a_run, client):
    tracker = make_tracker()
    tracker.start(**{**a_run, "params": {f"p{k}": k for k in range(250)}})
    tracker.log_metrics({f"f1/{k}{'x' * 300}": k for k in range(120)}, 0)
    tracker.end("FINISHED")
    data = client.get_run(tracker.run_id).data
    assert (len(data.params), len(data.metrics)) == (250, 120)
    assert sum(key.startswith("metric_name.") for key in data.tags) == 120


def test_metrics_are_sent_in_few_calls(make_tracker, a_run, client, monkeypatch):
    tracker = make_tracker(flush_seconds=60)
    tracker.start(**a_run)
    sizes = []
    send = MlflowClient.log_batch

    def counted(self, run_id, metrics=(), params=(), tags=(), synchronous=None):
        sizes.append(len(metrics))
        return send(self, run_id, metrics, params, tags)

    monkeypatch.setattr(MlflowClient, "log_batch", counted)
    for step in range(150):
        tracker.logger.log_metrics({f"m/{k}": step for k in range(12)}, step)
        tracker.logger.save()  # as Lightning does after every call
    tracker.end("FINISHED")
    assert sizes == [1000, 8, 792]
    assert len(client.get_metric_history(tracker.run_id, "m/11")) == 150


def test_the_run_folder_is_kept_without_its_checkpoints(make_tracker, a_run, store_root, tmp_path):
    run_folder = tmp_path / "run"
    for name in ("report.md", "figures/curves.png", "checkpoints/best.ckpt"):
        (run_folder / name).parent.mkdir(parents=True, exist_ok=True)
        (run_folder / name).write_text(name)
    tracker = make_tracker()
    tracker.start(**a_run)
    tracker.log_artifacts(run_folder)
    tracker.log_artifact(run_folder / "checkpoints/best.ckpt", "model")
    tracker.log_table("predictions", [{"x": "a", "y": True}, {"x": "b", "z": 1}])
    tracker.end("FINISHED")
    kept = store_root / "outputs" / "mlartifacts" / tracker.run_id / "artifacts"
    files = {str(path.relative_to(kept)) for path in kept.rglob("*") if path.is_file()}
    assert files == {"report.md", "figures/curves.png", "model/best.ckpt", "predictions.json"}
    table = json.loads((kept / "predictions.json").read_text())
    assert table == {"columns": ["x", "y", "z"], "data": [["a", True, None], ["b", None, 1]]}


def test_a_relative_store_stays_where_it_was_when_the_folder_changes(
    make_tracker, a_run, store_root, tmp_path, monkeypatch
):
    tracker = make_tracker()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    tracker.start(**a_run)
    tracker.log_artifact(Path(__file__))
    tracker.end("FINISHED")
    assert tracker.location == f"sqlite:///{store_root}/outputs/mlflow.db"
    assert list(elsewhere.iterdir()) == []


def test_a_deleted_experiment_comes_back(make_tracker, a_run, client, caplog):
    first = make_tracker(experiment_name="deleted once")
    first.start(**a_run)
    first.end("FINISHED")
    client.delete_experiment(client.get_run(first.run_id).info.experiment_id)
    second = make_tracker(experiment_name="deleted once")
    second.start(**a_run)
    second.end("FINISHED")
    assert "the experiment 'deleted once' had been deleted; it is restored" in caplog.text
    assert client.get_run(second.run_id).info.status == "FINISHED"


def test_only_the_first_process_records(make_tracker, a_run, monkeypatch):
    from pytorch_lightning.utilities import rank_zero_only

    monkeypatch.setattr(rank_zero_only, "rank", 1)
    tracker = make_tracker(tracking_uri="http://127.0.0.1:9")  # would fail if it were opened
    with recording(tracker):
        tracker.start(**a_run)
        tracker.logger.log_metrics({"train/loss": 1.0}, 0)
        tracker.log_artifacts(Path(__file__).parent)
        tracker.log_table("rows", [{"a": 1}])
    assert tracker.run_id is None


def test_waiting_less_than_nothing_is_refused(make_tracker):
    with pytest.raises(
        ConfigError, match=r"logger.flush_seconds=-1: out of range; allowed: a number >= 0"
    ):
        make_tracker(flush_seconds=-1)
