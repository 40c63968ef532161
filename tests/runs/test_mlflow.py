"""MLflow holds what ran, under the names that are documented."""

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient
from omegaconf import OmegaConf

from seqpipe.tracking.run_record import read_run_folder
from seqpipe.training.module import SequenceModule

ROOT = Path(__file__).resolve().parents[2]
QUIET = ("trainer.accelerator=cpu", "trainer.enable_progress_bar=false")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one store for all: making one takes seconds."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def recorded(store, launch_in):
    """A recorded run: its result, and what MLflow holds of it."""
    overrides = ["logger=mlflow", "trainer.max_epochs=2", "cell=gru", "depth=2"]
    result = launch_in(store, "digits", *overrides, "bidirectional=true", "optim.lr=0.01")
    client = client_of(store)
    experiment, run = only_run(client, "digits")
    return result, client, experiment, run


def client_of(folder: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{folder}/outputs/mlflow.db")


def only_run(client: MlflowClient, name: str):
    experiment = client.get_experiment_by_name(name)
    (run,) = client.search_runs([experiment.experiment_id])
    return experiment, run


def artifacts_of(client: MlflowClient, run_id: str, folder: str | None = None) -> set[str]:
    found: set[str] = set()
    for entry in client.list_artifacts(run_id, folder):
        found |= artifacts_of(client, run_id, entry.path) if entry.is_dir else {entry.path}
    return found


def test_mlflow_holds_what_ran(recorded):
    result, client, experiment, run = recorded
    assert run.info.run_id == result.run_id
    assert run.info.status == "FINISHED"
    assert experiment.name == "digits"
    assert run.info.run_name.startswith("digits gru 2x8 bidirectional")
    wanted = {
        "cell": "gru",
        "data": "digits",
        "depth": "2",
        "bidirectional": "true",
        "hidden_size": "8",
        "optim": "adam",
        "optim.lr": "0.01",
        "scheduler": "warmup_cosine",
        "seed": "0",
        "data.batch_size": "16",
        "trainer.max_epochs": "2",
    }
    assert {key: run.data.params.get(key) for key in wanted} == wanted
    assert not [key for key in run.data.params if "_target_" in key]
    tags = {"data", "command", "git.commit"}
    assert tags <= set(run.data.tags)
    assert run.data.tags["command"].startswith("python -m seqpipe data=digits")
    assert {
        *("train/loss", "train/accuracy", "val/loss", "val/accuracy", "val/macro_f1"),
        *("test/loss", "test/accuracy", "test/macro_f1", "test/f1/3"),
        *("grad_norm/total", "grad_norm/clipped_fraction", "lr", "examples_per_second"),
    } <= set(run.data.metrics)
    for name, value in result.metrics.items():
        assert run.data.metrics[name] == pytest.approx(value), name
    assert {"test/loss", "val/loss", "best/val/loss", "best/epoch"} <= set(result.metrics)
    assert f"best epoch: {run.data.metrics['best/epoch']:.0f} " in result.summary
    losses = client.get_metric_history(run.info.run_id, "val/loss")
    assert [point.step for point in losses] == sorted(point.step for point in losses)
    assert len({point.step for point in losses}) == 2


def test_mlflow_holds_the_files_and_the_identity_of_the_data(recorded, tmp_path):
    result, client, _, run = recorded
    inputs = {entry.tags[0].value: entry.dataset for entry in run.inputs.dataset_inputs}
    assert set(inputs) == {"train", "val", "test"}
    digests = {dataset.digest for dataset in inputs.values()}
    assert len(digests) == 3
    report = (result.output_dir / "report.md").read_text()
    for digest in digests:
        assert digest[:16] in report
    assert {
        *("config.yaml", "metrics.json", "report.md", "examples.csv", "checkpoints/best.ckpt"),
        *("figures/confusion_matrix.png", "figures/learning_curves.png"),
    } <= artifacts_of(client, run.info.run_id)
    kept = client.download_artifacts(run.info.run_id, "config.yaml", str(tmp_path))
    assert OmegaConf.load(kept) == OmegaConf.load(result.output_dir / "config.yaml")


def test_the_run_folder_and_the_record_know_each_other(recorded, store):
    result, _, _, run = recorded
    found = read_run_folder(result.output_dir, "folder")
    assert (found.run_id, found.tracking_uri) == (
        run.info.run_id,
        f"sqlite:///{store}/outputs/mlflow.db",
    )
    assert Path(run.data.tags["folder"]) == result.output_dir
    assert found.name == run.info.run_name
    assert found.params.items() >= {"cell": "gru", "optim.lr": "0.01"}.items()
    assert found.tags.items() <= run.data.tags.items()
    assert {"device": "cpu", "threads": "1"}.items() <= found.tags.items()
    whole = {entry.tags[0].value: entry.dataset.source for entry in run.inputs.dataset_inputs}
    assert {
        split: json.loads(source)["sha256"] for split, source in whole.items()
    } == found.datasets
    assert found.metrics == result.metrics


def test_a_run_that_fails_is_recorded_as_failed(launch_in, store, monkeypatch):
    def fail(self, batch, batch_idx):
        raise RuntimeError("planted")

    monkeypatch.setattr(SequenceModule, "validation_step", fail)
    with pytest.raises(RuntimeError, match="planted"):
        launch_in(store, "adding", "logger=mlflow", folder="failed")
    client = client_of(store)
    _, run = only_run(client, "adding")
    assert run.info.status == "FAILED"
    assert run.data.params["cell"] == "lstm"
    assert "lr" in run.data.metrics  # what was waiting to be sent was sent
    assert "config.yaml" in artifacts_of(client, run.info.run_id)
