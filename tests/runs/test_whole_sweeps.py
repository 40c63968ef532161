"""A sweep that is interrupted, finished with `skip_done=true`, and then used as a whole."""

import csv
import json
from pathlib import Path

import pytest
from filelock import FileLock
from mlflow import MlflowClient

import seqpipe
from forking import SEQPIPE
from seqpipe.commands.dispatch import call
from seqpipe.config.commandline import check, read_flags
from seqpipe.config.sweep_plan import plan_of
from seqpipe.errors import ConfigError
from seqpipe.inference.ensemble import Ensemble, why_no_ensemble
from seqpipe.inference.model import Model
from seqpipe.report.sweep_jobs import FINISHED, read_jobs
from seqpipe.runs import sweep_members
from seqpipe.runs.skip_done import continue_sweep
from seqpipe.runs.sweep_record import LOCK

TABLE = [f"{'good' if i % 3 else 'bad'} w{i} w{i % 5},{'ab'[i % 3 == 0]}" for i in range(30)]
BREAKS = """
import pathlib
import pytorch_lightning

class Breaks(pytorch_lightning.Callback):
    def on_train_epoch_end(self, trainer, module) -> None:
        if module.saved_config["config"]["hidden_size"] == 4 and pathlib.Path("break").exists():
            raise KeyboardInterrupt
"""
TYPED = (
    *("data=table", "data.path=all.csv", "data.x.column=text", "data.y.column=label"),
    *("data.batch_size=8", "trainer.max_epochs=1", "diagnostics=none", "baselines=false"),
    *("trainer.enable_progress_bar=false", "preflight=none"),
    *("+callbacks.b._target_=breaks.Breaks", "hidden_size=3,4,5", "trainer.log_every_n_steps=1"),
)


def parents_and_children(folder):
    client = MlflowClient(f"sqlite:///{folder}/outputs/mlflow.db")
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    parents = [run for run in runs if "sweep.keys" in run.data.tags]
    return client, parents, children


def only_sweep(folder):
    (sweep,) = (folder / "outputs" / "sweeps").iterdir()
    return sweep


@pytest.fixture(scope="module")
def interrupted(warm, tmp_path_factory):
    """The folder and the process of a sweep of three jobs that Ctrl-C ended in the second."""
    folder = tmp_path_factory.mktemp("interrupted")
    (folder / "all.csv").write_text("\n".join(["text,label", *TABLE]) + "\n")
    (folder / "breaks.py").write_text(BREAKS)
    (folder / "break").touch()
    done = warm.run(SEQPIPE, "-m", *TYPED, cwd=folder)
    (folder / "break").unlink()
    assert done.returncode == 130, done.stderr
    _, parents, children = parents_and_children(folder)
    page = (only_sweep(folder) / "comparison.md").read_text()
    return folder, done, (parents, children, read_jobs(only_sweep(folder)), page)


@pytest.fixture
def here(finished, monkeypatch):
    """The folder of the finished sweep, as the current one."""
    folder, _ = finished
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.fixture(scope="module")
def finished(warm, interrupted):
    """The same folder, after the same command with skip_done=true."""
    folder, *_ = interrupted
    done = warm.run(SEQPIPE, "-m", *TYPED, "skip_done=true", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_an_interrupted_sweep_has_its_comparison_and_all_its_jobs_in_it(interrupted):
    *_, ((parent,), children, jobs, page) = interrupted
    assert parent.info.status == "KILLED"
    statuses = {run.info.run_name: run.info.status for run in children}
    assert statuses == {"hidden_size=3": "FINISHED", "hidden_size=4": "KILLED"}
    first, second = jobs
    assert (first.status, second.status, second.message) == (
        FINISHED,
        "not finished",
        "interrupted",
    )
    assert second.folder == "1"
    assert "1 of 3 jobs finished." in page
    assert "| 2 | 5 | not started |" in page
    assert parent.data.metrics["sweep/jobs"] == 3
    assert parent.data.metrics["sweep/finished"] == 1


def test_skip_done_finishes_a_sweep_in_its_folder_and_its_run(interrupted, finished):
    _, _, ((before,), _, (first, _), _) = interrupted
    folder, done = finished
    assert "1 of 3 jobs are done, and 2 run" in done.stdout
    assert "#0 (hidden_size=3): done before, test loss" in done.stdout
    jobs = read_jobs(only_sweep(folder))
    assert [job.status for job in jobs] == [FINISHED] * 3
    assert [job.folder for job in jobs] == ["0", "1-2", "2"], "what was there stays"
    assert jobs[0] == first
    client, (parent,), children = parents_and_children(folder)
    assert (parent.info.run_id, parent.info.status) == (before.info.run_id, "FINISHED")
    assert len(children) == 4
    assert parent.data.metrics["sweep/finished"] == 3
    again = done.stdout.splitlines()[-1].removeprefix("again:      ")
    assert parent.data.tags["best.command"] == again
    assert "skip_done" not in again
    page = client.download_artifacts(parent.info.run_id, "comparison.md", str(folder))
    assert "All 3 jobs finished." in Path(page).read_text()


def plan(*typed):
    flags = read_flags(["-m", *typed])
    return plan_of(check(flags.overrides, sweep=True).common, flags.overrides)


def continued(folder, *typed):
    """The sweep that is continued, unlocked again."""
    found = continue_sweep(plan(*typed), folder / "outputs/sweeps/new", is_named=False)
    if found is not None:
        found.lock.release()
    return found


def test_a_job_with_another_configuration_or_other_data_is_not_done(here):
    assert continued(here, *TYPED[:-1]) is None, "other jobs"
    assert continued(here, *TYPED).done == {0, 1, 2}
    notes = only_sweep(here) / "jobs"
    kept = {path: path.read_text() for path in notes.glob("*.json")}
    config, data = only_sweep(here) / "1-2" / "config.yaml", here / "all.csv"
    texts = {path: path.read_text() for path in (config, data)}
    try:
        config.write_text(texts[config].replace("preflight: none", "preflight: full"))
        found = continued(here, *TYPED)
        assert found.done == {0, 2}
        assert found.again == {"#1 (hidden_size=4)": "preflight is none, was full"}
        assert found.lines()[1] == "#1 (hidden_size=4) runs again: preflight is none, was full"
        assert not (notes / "1.json").exists()
        data.write_text(texts[data].replace("w29", "w28"))
        assert {*continued(here, *TYPED).again.values()} == {"its data has changed (train)"}
    finally:
        for path, text in {**kept, **texts}.items():
            path.write_text(text)
        for path in notes.glob("*.json.*"):
            path.unlink()


def test_two_processes_do_not_run_one_sweep(here):
    with FileLock(only_sweep(here) / LOCK), pytest.raises(ConfigError) as refused:
        continued(here, *TYPED)
    assert "another process runs this sweep" in str(refused.value)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("skip_done=true", "finishes a sweep, and this is one run; allowed: with -m, or leave it"),
        ("describe -m skip_done=true seed=0,1", "describe trains nothing that could be done"),
    ],
)
def test_skip_done_is_refused_where_nothing_can_be_skipped(warm, tmp_path, words, text):
    done = warm.run(SEQPIPE, *words.split(), cwd=tmp_path)
    assert done.returncode == 2
    assert text in done.stderr
    assert not list(tmp_path.iterdir())


def test_all_models_of_a_sweep_are_measured_and_their_average(here, capsys):
    assert call("evaluate", ["run=sweep:latest", "resamples=20"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = ["#0 (hidden_size=3)", "#1 (hidden_size=4)", "#2 (hidden_size=5)", "ensemble of 3"]
    assert [name for line in lines for name in names if f" {name} " in line] == names
    _, (parent,), children = parents_and_children(here)
    assert 0 < parent.data.metrics["evaluate/test ensemble/loss"] < 2
    measured = [run for run in children if "evaluate/test/loss" in run.data.metrics]
    assert len(measured) == 3
    (table,) = (only_sweep(here) / "evaluations").iterdir()
    assert {row["slice"] for row in json.loads(table.read_text())} >= {"all"}


def test_the_answers_of_an_ensemble_are_the_mean_of_those_of_its_models(here, capsys):
    texts = ["good w1", "bad w2 w3", "unheard"]
    (here / "new.csv").write_text("\n".join(["text", *texts]) + "\n")
    assert call("predict", ["run=sweep:latest", "input=new.csv", "output=out.csv"]) == 0
    assert "ensemble of 3" in capsys.readouterr().err
    rows = list(csv.DictReader((here / "out.csv").read_text().splitlines()))
    models = [seqpipe.load(only_sweep(here) / name) for name in ("0", "1-2", "2")]
    answers = [model.predict(texts) for model in models]
    for number, row in enumerate(rows):
        for label in "ab":
            mean = sum(each[number]["probabilities"][label] for each in answers) / 3
            assert float(row[f"probabilities.{label}"]) == pytest.approx(mean, abs=1e-6)


def test_models_of_different_data_are_no_ensemble(here, capsys, monkeypatch):
    def different(models, names):
        models[2].config["data"]["longer"] = "drop"
        return why_no_ensemble(models, names)

    monkeypatch.setattr(sweep_members, "why_no_ensemble", different)
    (here / "new.csv").write_text("text\na\n")
    assert call("predict", ["run=sweep:latest", "input=new.csv", "output=none.csv"]) == 2
    reason = "no ensemble: #0 (hidden_size=3) and #2 (hidden_size=5) differ in their data, "
    said = capsys.readouterr().err
    assert f"{reason}data.longer=truncate and drop; allowed: run=<the folder of one" in said
    assert "agrees" not in said
    assert not (here / "none.csv").exists()
    assert call("evaluate", ["run=sweep:latest", "resamples=0", "log=false"]) == 0
    said = capsys.readouterr()
    assert "#2 (hidden_size=5)" in said.out
    assert "ensemble of" not in said.out
    assert reason in said.err


def test_models_that_write_sequences_answer_no_input_together_either(here, capsys, monkeypatch):
    monkeypatch.setattr(Model, "samples", property(lambda model: not is_ensemble(model)))
    (here / "new.csv").write_text("text\na\n")
    assert call("predict", ["run=sweep:latest", "input=new.csv", "output=none.csv"]) == 2
    assert "writes new sequences and cannot predict" in capsys.readouterr().err
    assert not (here / "none.csv").exists()


def is_ensemble(model):
    return isinstance(model.network, Ensemble)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["score", "run=sweep:latest", "text=a"], "allowed: with evaluate, predict, rerun"),
        (["evaluate", "run=sweep:nothing"], "no such sweep; allowed: sweep:latest, sweep:<name"),
        (
            ["evaluate", "run=sweep:latest", "tracking_uri=sqlite:///a.db"],
            "has no effect with run=",
        ),
    ],
)
def test_what_names_no_sweep_is_refused(here, capsys, words, text):
    try:
        assert call(words[0], words[1:]) == 2
        said = capsys.readouterr().err
    except ConfigError as error:
        said = str(error)
    assert text in said
