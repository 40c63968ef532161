import errno
import json
import math
import time
from pathlib import Path
from unittest.mock import Mock

import numpy as np
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


def test_a_store_that_fails_during_training_stops_nothing_and_loses_nothing(
    make_tracker, a_run, client, monkeypatch, caplog, store_root
):
    tracker = make_tracker(flush_seconds=0)
    tracker.start(**a_run)

    there = []

    def or_gone(of_mlflow):
        def call(*arguments, **options):
            if not there:
                raise OSError("server gone")
            return of_mlflow(*arguments, **options)

        return call

    for name in ("log_batch", "log_artifact"):
        monkeypatch.setattr(MlflowClient, name, or_gone(getattr(MlflowClient, name)))
    for step in range(5):
        tracker.log_metrics({"train/loss": step}, step)
    tracker.log_artifact(Path(__file__))
    assert caplog.text.count("metrics cannot be written, training continues: server gone") == 1
    there.append("again")
    tracker.end("FINISHED")
    assert len(client.get_metric_history(tracker.run_id, "train/loss")) == 5
    assert client.get_run(tracker.run_id).info.status == "FINISHED"
    kept = store_root / "outputs" / "mlartifacts" / tracker.run_id / "artifacts"
    assert (kept / Path(__file__).name).is_file()  # it was sent once the store was back
    assert "could not be recorded" not in caplog.text


def test_what_could_never_be_written_is_kept_in_the_run_folder(
    make_tracker, a_run, client, monkeypatch, caplog, tmp_path
):
    tracker = make_tracker(flush_seconds=60)
    tracker.start(**a_run)

    def gone(*args, **kwargs):
        raise OSError("server gone")

    monkeypatch.setattr(MlflowClient, "log_batch", gone)
    monkeypatch.setattr(MlflowClient, "set_terminated", gone)
    tracker.log_metrics({"train/loss": 0.5}, 7)
    tracker.end("FINISHED")
    unsent = tmp_path / "metrics_unsent.csv"
    assert unsent.read_text().splitlines()[1].endswith(",7,train/loss,0.5")
    assert (
        f"could not be recorded: 1 metric values, kept in {unsent}; the status FINISHED"
        in caplog.text
    )
    unsent_record = json.loads((tmp_path / "record_unsent.json").read_text())
    assert (unsent_record["run_id"], unsent_record["status"]) == (tracker.run_id, "FINISHED")
    assert unsent_record["tracking_uri"] == tracker.location


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_a_store_that_never_answers_costs_a_run_seconds_and_says_so_once(
    make_tracker, a_run, client, monkeypatch, caplog, tmp_path, status
):
    (tmp_path / "figures").mkdir()
    for k in range(30):
        (tmp_path / "figures" / f"{k}.png").write_bytes(b"a picture")
    tracker = make_tracker(flush_seconds=0)
    tracker.start(**a_run)
    monkeypatch.setattr("seqpipe.tracking.timeouts._CALL", 0.2)
    monkeypatch.setattr("seqpipe.tracking.timeouts._NEXT", 0.1)
    monkeypatch.setattr("seqpipe.tracking.timeouts._TRAINING", 0.4)
    monkeypatch.setattr("seqpipe.tracking.timeouts._END", 0.4)
    hangs = lambda *a, **b: time.sleep(20)  # noqa: E731
    for name in ("log_batch", "log_artifact", "log_dict", "set_terminated"):
        monkeypatch.setattr(MlflowClient, name, hangs)
    started = time.monotonic()
    for step in range(50):
        tracker.log_metrics({"train/loss": step}, step)
    tracker.log_artifacts(tmp_path)
    tracker.log_table("examples", [{"x": 1}])
    tracker.end(status)
    assert time.monotonic() - started < 15.0  # one call alone would hang for 20
    assert len((tmp_path / "metrics_unsent.csv").read_text().splitlines()) == 51
    assert json.loads((tmp_path / "record_unsent.json").read_text())["status"] == status
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    (error,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(warnings) == 1
    assert "50 metric values, kept in" in error.message
    assert "figures/0.png; figures/1.png; figures/10.png" in error.message
    assert error.message.endswith("more")
    assert client.get_run(tracker.run_id).info.status == "RUNNING"


@pytest.mark.parametrize(
    ("site", "lacks"),
    [
        ("log_batch", ["the params", "1 metric values"]),
        ("log_inputs", ["the datasets"]),
        ("log_artifact", ["test_mlflow.py", "rows.json", "look of step 1"]),
        ("log_dict", ["rows.json"]),
        ("log_image", ["look of step 1"]),
        ("set_terminated", ["the status FINISHED"]),
    ],
)
def test_whatever_a_full_store_does_not_take_is_named(
    make_tracker, a_run, monkeypatch, tmp_path, site, lacks
):
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(MlflowClient, site, Mock(side_effect=full))
    tracker = make_tracker(flush_seconds=0)
    tracker.start(**a_run)
    tracker.log_metrics({"train/loss": 1.0}, 1)
    tracker.log_artifact(Path(__file__))
    tracker.log_table("rows", [{"a": 1}])
    tracker.log_image("look", lambda: np.zeros((4, 4, 3), np.uint8), 1)
    tracker.end("FINISHED")
    unsent_record = json.loads((tmp_path / "record_unsent.json").read_text())["lacks"]
    assert sorted(name for name in lacks for text in unsent_record if name in text) == sorted(lacks)
    assert len(unsent_record) == len(lacks)


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
