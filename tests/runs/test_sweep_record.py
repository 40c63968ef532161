"""The record of a whole sweep: its folder, and its run in the store with a child for each job."""

import json

import pytest
from mlflow import MlflowClient

from forking import SEQPIPE
from seqpipe.config.commandline import check, read_flags
from seqpipe.config.sweep_plan import plan_of
from seqpipe.runs import sweep_record
from seqpipe.runs.sweep_record import read_sweep, start_sweep, sweep_name

TINY = (
    *("data=adding", "data.length=6", "data.source.train=40", "data.source.valid=16"),
    *("data.source.test=16", "hidden_size=4", "trainer.max_epochs=1", "preflight=none"),
    *("diagnostics=none", "baselines=false", "trainer.enable_progress_bar=false"),
)


def plan(*typed):
    flags = read_flags(["-m", *typed])
    return plan_of(check(flags.overrides, sweep=True).common, flags.overrides)


def records(folder):
    """The parents and the children in the store of a folder."""
    client = MlflowClient(f"sqlite:///{folder}/outputs/mlflow.db")
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    return client, [run for run in runs if run not in children], children


@pytest.fixture(scope="module")
def grid(warm, tmp_path_factory):
    """The folder and the process of a sweep of two cells and two depths."""
    folder = tmp_path_factory.mktemp("grid")
    done = warm.run(SEQPIPE, *TINY, "-m", "cell=rnn,lstm", "depth=1,2", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_a_sweep_is_one_run_with_a_child_for_each_job(grid):
    folder, done = grid
    client, (parent,), children = records(folder)
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    names = {"rnn depth=1", "rnn depth=2", "lstm depth=1", "lstm depth=2"}
    assert {run.info.run_name for run in children} == names
    assert (parent.info.run_name, parent.info.status) == ("cell, depth (4 jobs)", "FINISHED")
    assert parent.info.experiment_id == children[0].info.experiment_id
    assert parent.data.params["hidden_size"] == "4"
    assert not {"cell", "depth"} & parent.data.params.keys()
    assert parent.data.metrics["sweep/finished"] == 4
    best = min(run.data.metrics["best/val/mse"] for run in children)
    assert parent.data.metrics["best/val/mse"] == pytest.approx(best)
    files = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert {"comparison.html", "comparison.csv", "comparison.json", "sweep.json"} <= files
    figures = {file.path for file in client.list_artifacts(parent.info.run_id, "figures")}
    assert figures == {"figures/results.png", "figures/parallel_coordinates.png"}
    again = parent.data.tags["best.command"]
    assert f"again:      {again}" == done.stdout.splitlines()[-1]
    (chosen,) = [run for run in children if run.data.tags["command"] == again]
    assert chosen.data.metrics["best/val/mse"] == pytest.approx(best)
    assert parent.info.end_time >= max(run.info.end_time for run in children)


def test_the_folder_of_a_sweep_names_its_run_and_its_jobs(grid):
    folder, _ = grid
    (sweep,) = (folder / "outputs" / "sweeps").iterdir()
    record = read_sweep(sweep)
    _, (parent,), _ = records(folder)
    assert record.parent.run_id == parent.info.run_id
    assert record.parent.experiment == "adding"
    assert record.keys == ("cell", "depth")
    planned = [(job["cell"], job["depth"]) for job in record.jobs]
    assert planned == [("rnn", "1"), ("rnn", "2"), ("lstm", "1"), ("lstm", "2")]
    noted = [json.loads((sweep / "jobs" / f"{k}.json").read_text()) for k in range(4)]
    assert [note["overrides"] for note in noted] == list(record.jobs)
    assert all(note["run_id"] for note in noted)


def test_a_plan_numbers_its_jobs_as_hydra_does_and_names_what_varies():
    found = plan("sweep=cells", "depth=1,3", "cell=gru", "~callbacks.early_stopping")
    assert found.keys == ("depth",)
    assert [job["depth"] for job in found.jobs] == ["1", "3"]
    assert sweep_name(found) == "cells: depth (2 jobs)"
    assert found.common["cell"] == "gru"
    assert plan("experiment=digits,dates").common.get("data") is None


def test_a_store_that_does_not_answer_stops_no_sweep(tmp_path, caplog):
    found = plan(*TINY, "cell=rnn,gru", "logger.tracking_uri=postgresql://127.0.0.1:1/none")
    started = start_sweep(tmp_path / "s", found, tmp_path, "seqpipe -m")
    assert read_sweep(tmp_path / "s").parent is None
    assert "the sweep has no run of its own: logger.tracking_uri=" in caplog.text
    started.end("FINISHED", {"sweep/jobs": 2.0}, {})


@pytest.mark.parametrize("logger", ["csv", "none"])
def test_a_sweep_without_mlflow_has_a_record_and_no_parent(tmp_path, logger, monkeypatch):
    monkeypatch.chdir(tmp_path)
    started = start_sweep(tmp_path / "s", plan(*TINY, f"logger={logger}", "seed=1,2"), tmp_path, "")
    started.end("FINISHED", {}, {})
    assert {path.name for path in (tmp_path / "s").iterdir()} == {".lock", "sweep.json"}
    assert read_sweep(tmp_path / "s").parent is None


def test_two_sweeps_of_one_name_have_two_folders(tmp_path):
    found = plan(*TINY, "logger=none", "seed=1,2")
    one, two = (start_sweep(tmp_path / "s", found, tmp_path, "") for _ in range(2))
    assert (one.folder.name, two.folder.name) == ("s", "s-2")
    one.discard()
    assert not list(one.folder.iterdir())
    three = start_sweep(tmp_path / "s-2", found, tmp_path, "")
    assert three.folder.name == "s-2-2"


def test_the_record_of_a_sweep_from_somebody_else_is_data(tmp_path):
    for text in ("[]", "{}", '{"command": 1, "keys": 3, "jobs": [], "parent": null}', "{"):
        (tmp_path / sweep_record.FILE).write_text(text)
        assert read_sweep(tmp_path) is None
