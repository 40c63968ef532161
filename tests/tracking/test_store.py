import resource
import sqlite3
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from seqpipe.errors import ConfigError
from seqpipe.tracking.mlflow import MLflowTracker
from seqpipe.tracking.run_lookup import look_up_run
from seqpipe.tracking.store import open_store, resolve_uri


@pytest.mark.parametrize(
    ("given", "absolute"),
    [
        ("sqlite:///outputs/mlflow.db", "sqlite:////home/me/outputs/mlflow.db"),
        ("sqlite:///../mlflow.db", "sqlite:////home/mlflow.db"),
        ("sqlite:////var/mlflow.db", "sqlite:////var/mlflow.db"),
        ("http://host:5000", "http://host:5000"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
    ],
)
def test_only_a_relative_sqlite_path_depends_on_the_folder(given, absolute):
    assert resolve_uri(given, Path("/home/me")) == absolute


@pytest.mark.parametrize(
    ("folder", "address"),
    [
        ("q?x", "sqlite:////q%3Fx/mlflow.db"),
        ("p%20x", "sqlite:////p%2520x/mlflow.db"),
        ("p%3Fx", "sqlite:////p%253Fx/mlflow.db"),
        ("100%", "sqlite:////100%/mlflow.db"),
        ("h#x;a b", "sqlite:////h#x;a b/mlflow.db"),
    ],
)
def test_an_address_names_the_file_whatever_its_folder_is_called(folder, address):
    assert resolve_uri("sqlite:///mlflow.db", Path("/", folder)) == address
    assert resolve_uri(address, Path("/elsewhere")) == address  # as it is printed and recorded


def test_a_store_lies_in_its_folder_and_is_found_there_whatever_that_is_called(
    tmp_path, monkeypatch
):
    root = tmp_path / "st*r [x]?a=b%20c%#;'\"ü{a}"
    folder = root / "outputs" / "runs" / "a run"
    folder.mkdir(parents=True)
    monkeypatch.chdir(root)
    (folder / "metrics.json").write_text("{}")
    tracker = MLflowTracker(root, folder, "sqlite:///outputs/mlflow.db")
    tracker.start(run_name="r", experiment="digits", params={}, tags={}, datasets={})
    tracker.log_metrics({"val/loss": 0.5}, 1)
    tracker.log_artifacts(folder)
    tracker.end("FINISHED")
    assert [path.name for path in tmp_path.iterdir()] == [root.name]
    assert (root / "outputs" / "mlflow.db").stat().st_size > 0
    options = {"better": lambda name: "min", "needs": "metrics.json"}
    for uri in ("sqlite:///outputs/mlflow.db", tracker.location):
        found = look_up_run("latest", root=root, tracking_uri=uri, **options)
        assert found.run_id == tracker.run_id
        assert found.metrics == {"val/loss": 0.5}
        assert found.local("metrics.json").read_text() == "{}"


@pytest.mark.parametrize(
    "uri",
    [
        *("mlruns", "./mlruns", "/home/me/mlruns", "file:///tmp/mlruns"),
        *("sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:x.db"),
    ],
)
def test_a_folder_or_a_sqlite_uri_without_a_file_is_refused(uri):
    with pytest.raises(ConfigError) as error:
        resolve_uri(uri, Path("/home/me"))
    assert str(error.value) == (
        f"logger.tracking_uri={uri}: wrong form; allowed: sqlite:///path/to/mlflow.db for a file, "
        "http://host:port for a server (MLflow no longer writes to plain folders)"
    )


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "postgresql://me@127.0.0.1:9/mlflow"])
def test_a_server_that_does_not_answer_is_refused_within_seconds_in_one_line(
    uri, monkeypatch, caplog
):
    for name in ("RETRIES", "BACKOFF_FACTOR"):
        monkeypatch.delenv(f"MLFLOW_HTTP_REQUEST_MAX_{name}", raising=False)
    begin = time.monotonic()
    with pytest.raises(ConfigError) as error:
        open_store(uri, "digits")
    reason = "cannot be reached (Connection refused); allowed: the address of a store that answers"
    offline = "or logger.offline=true to record on disk"
    assert str(error.value) == f"logger.tracking_uri={uri}: {reason}, {offline}"
    assert caplog.records == []
    assert time.monotonic() - begin < 15


def test_a_file_that_is_no_database_is_refused_at_once(tmp_path):
    (tmp_path / "mlflow.db").write_text("not a database, but long enough to have a header " * 20)
    with pytest.raises(ConfigError, match=r"cannot be opened \(file is not a database\)"):
        open_store(f"sqlite:///{tmp_path}/mlflow.db", "digits")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be opened"):
        open_store(f"sqlite:///{tmp_path}/file/mlflow.db", "digits")


_OPEN = """
import gc, multiprocessing, sys
import mlflow.store.tracking.sqlalchemy_store  # imported once, then forked
from seqpipe.tracking.store import open_store
gc.freeze()  # what was imported is not looked through again where a child ends

def open_and_write(barrier):
    barrier.wait()
    client, experiment = open_store(sys.argv[1], "together")
    client.create_run(experiment)

fork = multiprocessing.get_context("fork")
barrier = fork.Barrier(6)
children = [fork.Process(target=open_and_write, args=(barrier,)) for _ in range(6)]
for child in children:
    child.start()
for child in children:
    child.join()
sys.exit(sum(child.exitcode != 0 for child in children))
"""


def test_six_processes_may_open_a_new_store_at_once(tmp_path):
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    done = subprocess.run(
        [sys.executable, "-c", _OPEN, uri], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    with sqlite3.connect(tmp_path / "new" / "mlflow.db") as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (6,)
        rows = connection.execute("SELECT name, artifact_location FROM experiments").fetchall()
    connection.close()
    assert ("together", (tmp_path / "new" / "mlartifacts").as_uri()) in rows


def test_warnings_of_the_libraries_of_mlflow_are_no_errors(tmp_path):
    uri = resolve_uri("sqlite:///mlflow.db", tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as PYTHONWARNINGS=error
        client, experiment = open_store(uri, "mine")
        run = client.create_run(experiment)
        assert [one.info.run_id for one in client.search_runs([experiment])] == [run.info.run_id]
        with pytest.raises(DeprecationWarning, match="of mine"):
            warnings.warn("of mine", DeprecationWarning, stacklevel=1)


def test_a_store_that_could_not_be_completed_is_made_by_the_next_run(tmp_path, monkeypatch):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with monkeypatch.context() as patch:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))  # of 700,000 bytes
        try:
            with pytest.raises(ConfigError, match=r"cannot be opened .*(disk|full|large)"):
                open_store(uri, "digits")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db.lock"]

        def killed(made: str) -> None:
            Path(made.removeprefix("sqlite:///")).write_bytes(b"half of it")
            raise KeyboardInterrupt  # stands for any end of the process here

        patch.setattr("seqpipe.tracking.store.make_tables", killed)
        with pytest.raises(KeyboardInterrupt):
            open_store(uri, "digits")
        assert not (tmp_path / "mlflow.db").exists()
    (tmp_path / ".new-mlflow.db").write_bytes(b"left by a process that was killed")
    assert open_store(uri, "digits")[1] == "1"
    assert {path.name for path in tmp_path.iterdir()} == {"mlflow.db", "mlflow.db.lock"}
