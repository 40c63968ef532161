"""A recorded run is found by what people call it, or the message lists what there is."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient

from seqpipe.errors import ConfigError, DataError
from seqpipe.tracking.base import Dataset
from seqpipe.tracking.mlflow import MLflowTracker
from seqpipe.tracking.run_lookup import look_up_run
from seqpipe.tracking.run_record import RunRecord, write_provenance
from seqpipe.tracking.store import open_store

STORE = "sqlite:///outputs/mlflow.db"
DIGITS = {"task.monitor": "val/accuracy", "cell": "lstm", "depth": 2, "describe": False}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("a user's folder")


def record(root: Path, name: str, experiment: str, status: str, model: bool, **facts) -> str:
    """Records a run as training does. Returns its id."""
    folder = root / "outputs" / "runs" / name
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("seed: 3\noptim: {lr: 1.0e-05}\n")
    (folder / "metrics.json").write_text('{"test/accuracy": 0.1}')
    tracker = MLflowTracker(root, folder, STORE)
    identity = {
        "run_name": name,
        "experiment": experiment,
        "params": facts.get("params", DIGITS),
        "tags": {"command": "python -m seqpipe", "folder": str(folder)},
        "datasets": {"train": Dataset("digits", "a1" * 32, 1200)},
    }
    tracker.start(**identity)
    tracker.log_metrics(facts.get("metrics", {}), step=1)
    if facts.get("provenance", True):
        write_provenance(folder, tracker.run_id, tracker.location, identity)
    if model:
        (folder / "model" / "deep").mkdir(parents=True)
        (folder / "model" / "seqpipe.json").write_text("{}")
        (folder / "model" / "deep" / "weights").write_bytes(b"\0\1")
    tracker.log_artifacts(folder)
    tracker.end(status)
    return tracker.run_id


def accuracy(best: float, last: float) -> dict[str, float]:
    return {
        "best/val/accuracy": best,
        "val/accuracy": last,
        "val/loss": 1 - last,
        "test/accuracy": last,
    }


@pytest.fixture(scope="module")
def ids(root: Path) -> dict[str, str]:
    """{name: id} of runs, the oldest first."""
    open_store(f"sqlite:///{root}/outputs/mlflow.db", "digits")
    made = {
        "good": record(root, "good", "digits", "FINISHED", True, metrics=accuracy(0.9, 0.5)),
        "fair": record(root, "fair", "digits", "FINISHED", True, metrics=accuracy(0.8, 0.7)),
        "modelless": record(root, "modelless", "digits", "FINISHED", False, metrics=accuracy(1, 1)),
        "looked": record(
            *(root, "looked", "digits", "FINISHED", True), params=DIGITS | {"describe": True}
        ),
        "failed": record(root, "failed", "digits", "FAILED", True, metrics=accuracy(0.99, 0.99)),
        "other": record(
            *(root, "other", "names", "FINISHED", True),
            params={"task.monitor": "val/loss"},
            metrics={"val/loss": 2.0},
        ),
    }
    client = MlflowClient(f"sqlite:///{root}/outputs/mlflow.db")
    client.create_registered_model("digit reader")
    for version, name in enumerate(("good", "fair"), 1):
        client.create_model_version("digit reader", f"runs:/{made[name]}/model", made[name])
        if version == 1:
            client.set_registered_model_alias("digit reader", "champion", "1")
    return made


@pytest.fixture
def look(root: Path, ids) -> Callable[..., RunRecord]:
    def found(run: str, **options) -> RunRecord:
        options = {"tracking_uri": STORE, "needs": "model", **options}
        better = lambda name: "max" if "accuracy" in name else "min"  # noqa: E731
        return look_up_run(run, root=root, better=better, **options)

    return found


def refused(look, run: str, **options) -> str:
    with pytest.raises(ConfigError) as caught:
        look(run, **options)
    (message,) = caught.value.problems
    return message


def test_latest_is_the_newest_that_trained_finished_and_left_what_is_needed(look):
    assert look("latest").name == "other"
    assert look("latest", experiment="digits").name == "fair"
    assert look("latest", experiment="digits", needs=None).name == "modelless"


def test_best_goes_by_the_kept_weights_of_what_the_runs_monitored(look):
    assert look("best", experiment="digits").name == "good"  # 0.9 when it was best, 0.5 at its end
    assert look("best", experiment="digits", needs=None).name == "modelless"
    assert look("best", experiment="digits", metric="val/accuracy").name == "good"


def test_best_by_a_metric_goes_the_way_in_which_it_is_better(look):
    assert look("best", experiment="digits", metric="test/accuracy").name == "fair"
    assert look("best", experiment="digits", metric="val/loss").name == "fair"
    assert look("best", experiment="names").name == "other"


def test_a_run_is_found_by_its_id_its_beginning_and_its_address(look, ids, root):
    for run in (ids["fair"], ids["fair"][:10], f"runs:/{ids['fair']}"):
        found = look(run)
        assert (found.name, found.run_id, found.experiment) == ("fair", ids["fair"], "digits")
    assert found.folder == root / "outputs" / "runs" / "fair"
    assert found.params["depth"] == "2"
    assert found.tags["command"] == "python -m seqpipe"
    assert found.metrics["best/val/accuracy"] == 0.8
    assert found.datasets == {"train": "a1" * 32}
    assert found.tracking_uri == f"sqlite:///{root}/outputs/mlflow.db"
    assert found.config == {"seed": 3, "optim": {"lr": 1e-5}}


def test_a_run_that_failed_is_found_where_it_is_named(look, ids):
    assert look(ids["failed"]).name == "failed"


@pytest.mark.parametrize(
    ("run", "name"),
    [
        ("models:/digit reader@champion", "good"),
        ("models:/digit reader/2", "fair"),
        ("models:/digit reader/latest", "fair"),
    ],
)
def test_a_registered_model_leads_to_its_run(look, run, name):
    assert look(run).name == name


def test_a_run_folder_needs_no_store(look, ids, root):
    found = look("outputs/runs/good", tracking_uri="sqlite:///nowhere.db")
    assert not (root / "nowhere.db").exists()
    assert found.run_id == ids["good"]
    assert found.name == "good"
    assert found.params == {
        "task.monitor": "val/accuracy",
        "cell": "lstm",
        "depth": "2",
        "describe": "false",
    }
    assert found.metrics == {"test/accuracy": 0.1}
    assert found.datasets == {"train": "a1" * 32}
    assert found.local("model") == root / "outputs" / "runs" / "good" / "model"
    assert look(str(root / "outputs/runs/good")) == found


def test_files_are_fetched_where_the_folder_is_not_on_this_machine(root, ids, look):
    folder = root / "outputs" / "runs" / "fair"
    folder.rename(root / "elsewhere")
    try:
        found = look(ids["fair"])
        assert found.folder is None
        model = found.local("model")
        assert sorted(path.name for path in model.rglob("*")) == ["deep", "seqpipe.json", "weights"]
        assert (model / "deep" / "weights").read_bytes() == b"\0\1"
        assert found.local("metrics.json").read_text() == '{"test/accuracy": 0.1}'
        assert root not in model.parents
        folder.mkdir()  # another run at its place
        (folder / "config.yaml").write_text("seed: 9\n")
        (folder / "provenance.json").write_text('{"run_id": "other"}')
        assert look(ids["fair"]).folder is None
    finally:
        for path in folder.glob("*"):
            path.unlink()
        folder.rmdir()
        (root / "elsewhere").rename(folder)


def test_what_a_run_did_not_leave_is_said(look, ids):
    message = refused(look, ids["modelless"])
    assert message == (
        f"run={ids['modelless']}: it has no model; allowed: a finished run that has one"
    )
    with pytest.raises(ConfigError, match=r"it has no sample\.txt; allowed: a run that has one"):
        look(ids["good"]).local("sample.txt")
    with pytest.raises(ConfigError, match="run=outputs/runs/modelless: it has no model"):
        look("outputs/runs/modelless")


def test_an_id_that_does_not_exist_is_refused_with_the_newest_runs(look, ids):
    wrong = ids["good"][:-1] + ("0" if ids["good"][-1] != "0" else "1")
    message = refused(look, wrong)
    assert message.startswith(f"run={wrong}: no such run in sqlite:///")
    assert f"the newest: {ids['other'][:8]} other (finished), " in message
    assert message.endswith(f"; did you mean '{ids['good']}'?")


def test_the_beginning_of_several_ids_is_refused(look, ids, monkeypatch):
    twins = [SimpleNamespace(info=SimpleNamespace(run_id=f"abcd{k}" * 6)) for k in (1, 2)]
    monkeypatch.setattr("seqpipe.tracking.run_lookup._Store._search", lambda *a, **b: iter(twins))
    message = refused(look, "abcd")
    assert (
        message
        == "run=abcd: 2 runs begin with it; allowed: more characters, as abcd1abcd1ab, abcd2abcd2ab"
    )


def test_a_deleted_run_is_refused(look, root):
    run_id = record(root, "deleted", "deleted", "FINISHED", True)
    MlflowClient(f"sqlite:///{root}/outputs/mlflow.db").delete_run(run_id)
    assert refused(look, run_id).startswith(
        f"run={run_id}: was deleted; allowed: a run that exists"
    )


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (
            "lastest",
            "run=lastest: neither a folder nor a run id; allowed: latest, best, an MLflow run",
        ),
        ("outputs/runs/god", "; did you mean 'good'?"),
        (
            "good",
            "run=good: no such folder; allowed: run=outputs/runs/good; "
            "did you mean 'outputs/runs/good'?",
        ),
        ("outputs/runs", "no run folder: it has no config.yaml; allowed: outputs/runs/...; it has"),
        ("outputs/runs/good/config.yaml", "good/config.yaml: a file; allowed: latest, best, an"),
        ("runs:/xyz", "run=xyz: no MLflow run id; allowed: latest, best"),
        ("models:/digit reader", "no version; allowed: models:/digit reader@champion, models:/"),
        ("models:/digit reader@champoin", "; did you mean 'models:/digit reader@champion'?"),
        ("models:/digit reader/7", "no such version; allowed: models:/digit reader@champion"),
        ("models:/digit raeder/1", "allowed: digit reader; did you mean 'digit reader'?"),
        ("models:/a/b/c", "wrong form; allowed: models:/name@alias, models:/name/3"),
        ("best", "different data cannot be compared; allowed: also experiment=NAME, one of "),
    ],
)
def test_a_name_that_leads_nowhere_is_refused_with_what_there_is(look, run, message):
    assert message in refused(look, run)


def test_only_experiments_that_have_a_best_run_are_named(look):
    assert "Default" not in refused(look, "best")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"experiment": "dgits"},
            "; did you mean 'digits'?",
        ),
        (
            {"experiment": "digits", "metric": "test/acuracy"},
            "metric=test/acuracy: no finished run has it; allowed: test/accuracy, val/accuracy, "
            "val/loss; did you mean 'test/accuracy'?",
        ),
        (
            {"experiment": "digits", "needs": "nothing"},
            "run=best: no finished run of experiment=digits in sqlite:///",
        ),
    ],
)
def test_a_search_that_finds_nothing_says_what_there_is(look, options, message):
    assert message in refused(look, "best", **options)


def test_runs_that_monitored_different_metrics_are_compared_only_by_one_that_is_named(look, root):
    for monitor in ("val/loss", "val/accuracy"):
        name = f"mixed {monitor[4:]}"
        facts = {"params": {"task.monitor": monitor}, "metrics": accuracy(0.5, 0.5)}
        record(root, name, "mixed", "FINISHED", True, **facts)
    message = refused(look, "best", experiment="mixed")
    assert message == (
        "run=best: the runs monitored different metrics (val/accuracy, val/loss); "
        "allowed: also metric=val/accuracy"
    )
    assert look("best", experiment="mixed", metric="val/loss").name == "mixed accuracy"


def test_a_store_that_is_not_there_is_refused_and_not_made(look, root):
    message = refused(look, "latest", tracking_uri="sqlite:///nowhere.db")
    assert message == (
        f"tracking_uri=sqlite:///{root}/nowhere.db: no such store; allowed: the one that runs "
        "were written to, or run=<a run folder>"
    )
    assert not list(root.glob("nowhere*"))
    message = refused(look, "latest", tracking_uri="http://127.0.0.1:9")
    assert message.startswith("tracking_uri=http://127.0.0.1:9: cannot be reached (")
    assert refused(look, "latest", tracking_uri="mlruns").startswith("tracking_uri=mlruns: wrong")


class Hostile:
    """An artifact server that lists what it likes."""

    def __init__(self, *names: str, endless: bool = False) -> None:
        self.names, self.endless, self.sent = names, endless, 0

    def list_artifacts(self, path=None):
        if path is None:
            return [SimpleNamespace(path="model", is_dir=True)]
        if self.endless:
            return [SimpleNamespace(path=f"{path}/a", is_dir=True)]
        return [SimpleNamespace(path=name, is_dir=False) for name in self.names]

    def download(self, remote, local):
        self.sent += 1
        local.write_text("sent")


@pytest.mark.parametrize(
    "name",
    [
        *("../out", "model/../../out", "/etc/out", "model/..", "out", "model\\..\\..\\out"),
        *("model/C:out", "model/a/out", "model/\0"),
    ],
)
def test_a_file_whose_name_leads_out_of_its_folder_is_refused_and_nothing_is_fetched(name):
    server = Hostile("model/good", name)
    run = RunRecord("run", "abcd", artifacts=server)
    with pytest.raises(DataError, match="leads out of the folder of its run; nothing was fetched"):
        run.local("model")
    assert server.sent == 0
    good = Hostile("model/good")
    assert (RunRecord("run", "abcd", artifacts=good).local("model") / "good").name == "good"
    assert good.sent == 1


@pytest.mark.parametrize(
    "server", [Hostile(endless=True), Hostile(*(f"model/{k}" for k in range(10_001)))]
)
def test_a_folder_without_an_end_is_refused(server):
    wanted = "model: has more than 10000 files, or folders more than 32 deep; nothing was fetched"
    with pytest.raises(DataError, match=wanted):
        RunRecord("run", "abcd", artifacts=server).local("model")
    assert server.sent == 0


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("provenance.json", "{", r"provenance.json: cannot be read \("),
        ("provenance.json", "[]", r"provenance.json: cannot be read \(holds no JSON object\)"),
        ("metrics.json", "\udcff", r"metrics.json: cannot be read \("),
        ("config.yaml", "a: [", r"config.yaml: cannot be read \("),
        ("config.yaml", "- a", r"config.yaml: cannot be read \(holds no keys\)"),
        ("config.yaml", "a: !!python/object/apply:os.getcwd []", r"config.yaml: cannot be read \("),
    ],
)
def test_a_damaged_folder_is_refused_and_nothing_in_it_runs(look, tmp_path, file, text, message):
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    (tmp_path / file).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=message):
        look(str(tmp_path), needs=None).config  # noqa: B018


def test_a_folder_whose_record_has_other_types_has_none(look, tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    record_file = {"run_id": 3, "params": [], "tags": None, "datasets": {"train": 1}}
    (tmp_path / "provenance.json").write_text(json.dumps(record_file))
    found = look(str(tmp_path), needs=None)
    assert (found.run_id, found.params, found.tags, found.datasets) == (None, {}, {}, {})


def test_an_empty_configuration_is_a_run_that_never_started(look, tmp_path):
    (tmp_path / "config.yaml").touch()
    assert "no run folder" in refused(look, str(tmp_path))
