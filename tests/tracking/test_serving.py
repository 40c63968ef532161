"""What is served is ours, and is asked for where it listens."""

import json
import os
import shlex
import signal
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient

from seqpipe.errors import ConfigError, DataError, SeqpipeError
from seqpipe.tracking.mlflow_internals import refuse_deep_json
from seqpipe.tracking.registry import register_model
from seqpipe.tracking.run_record import RunRecord
from seqpipe.tracking.serving import (
    Refused,
    check_model,
    curl,
    example_of,
    free_port,
    serving,
    too_deep,
)
from seqpipe.tracking.store import open_store

OURS = "flavors:\n  python_function:\n    loader_module: seqpipe.pyfunc\n    data: data\n"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "MLmodel").write_text(OURS)
    return tmp_path


def test_a_model_of_ours_may_be_served(model):
    check_model(model)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seqpipe.pyfunc", "evil", "code that is not seqpipe's (evil); allowed: the"),
        ("python_function", "sklearn", "code that is not seqpipe's (seqpipe.pyfunc)"),
        ("data: data", "data: data\n    code: code", "would be loaded by code that is not seqpipe"),
        ("data: data", "data: data\n    python_model: m.pkl", "loaded by code that is not seqpipe"),
        ("data: data", "data: ../../etc", "data=../../etc leads out of its folder"),
        ("flavors:", "flavors:\n  pytorch: {}", "cannot be read; allowed: the file"),
        ("flavors:", "flavors: [", "cannot be read; allowed: the file that training wrote, un"),
        ("flavors:", "!!python/object/apply:os.getcwd []\n#", "cannot be read; allowed: the file"),
    ],
)
def test_a_model_that_would_run_other_code_is_refused(model, old, new, message):
    (model / "MLmodel").write_text(OURS.replace(old, new))
    with pytest.raises(DataError) as caught:
        check_model(model)
    assert message in str(caught.value)


def test_a_port_is_free_or_refused():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            free_port("127.0.0.1", port)
        assert str(caught.value).startswith(f"port={port}: cannot be opened on host=127.0.0.1 (")
    assert free_port("127.0.0.1", port) == port
    assert free_port("127.0.0.1", 0) > 0
    with pytest.raises(ConfigError, match=r"host=no\.such\.host\.invalid: no address of this mach"):
        free_port("no.such.host.invalid", 5001)


def test_a_request_is_one_row_and_long_ones_stand_in_a_file(model):
    split = {"columns": ["text"], "data": [["it's"], ["b"]]}
    (model / "serving_input_example.json").write_text(json.dumps({"dataframe_split": split}))
    body = example_of(model)
    assert body == {"dataframe_split": {"columns": ["text"], "data": [["it's"]]}}
    server = SimpleNamespace(url="http://127.0.0.1:5")
    words = shlex.split(curl(server, model, body))
    assert words[:3] == ["curl", "-s", "http://127.0.0.1:5/invocations"]
    assert json.loads(words[-1]) == body
    body["dataframe_split"]["data"] = [["a" * 2000]]
    assert shlex.split(curl(server, model, body))[-1] == f"@{model / 'serving_input_example.json'}"
    (model / "serving_input_example.json").write_text("{}")
    with pytest.raises(DataError, match=r"example\.json: cannot be read; allowed: the file that"):
        example_of(model)


@pytest.mark.slow
def test_a_server_that_does_not_start_is_reported(model, capfd):
    (model / "MLmodel").write_text(OURS.replace("data: data", "data: nothing"))
    wanted = r"MLflow's server ended with code \d+; its messages are above"
    with (
        pytest.raises(SeqpipeError, match=wanted),
        serving(model, host="127.0.0.1", port=free_port("127.0.0.1", 0), workers=1),
    ):
        pass
    assert capfd.readouterr().err != ""


_STUBBORN = """
import subprocess, sys
from seqpipe.tracking import serving
child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
code = f"import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', {child!r}]);"
code += "print(p.pid, flush=True); time.sleep(60)"
serving._END_SECONDS = 0.5
p = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stdout=-1, text=True)
print(p.stdout.readline().strip(), flush=True)
serving._end(p)
"""


def test_a_process_that_will_not_end_is_ended_with_its_group(warm, tmp_path):
    done = warm.run(_STUBBORN, cwd=tmp_path, seconds=60)
    assert done.returncode == 0, done.stderr
    until = time.monotonic() + 5
    while time.monotonic() < until:  # it is waited for by whoever adopted it
        try:
            os.kill(int(done.stdout), 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{int(done.stdout)}/stat").read_text().split()[2] == "Z":
            return
        time.sleep(0.05)
    os.kill(int(done.stdout), signal.SIGKILL)
    pytest.fail("a process outlived its group")


@pytest.fixture(scope="module")
def uri(tmp_path_factory) -> str:
    uri = f"sqlite:///{tmp_path_factory.mktemp('registry')}/mlflow.db"
    open_store(uri, "digits")
    return uri


def a_run(uri: str, folder: Path, *, model: bool = True) -> RunRecord:
    client = MlflowClient(uri)
    run = client.create_run(client.get_experiment_by_name("digits").experiment_id)
    if model:
        (folder / "MLmodel").write_text(OURS)
        client.log_artifact(run.info.run_id, str(folder / "MLmodel"), "model")
    return RunRecord("a run", run.info.run_id, tracking_uri=uri)


def test_a_run_gets_one_version_of_a_name_and_an_alias_moves(uri, tmp_path):
    first, second = a_run(uri, tmp_path), a_run(uri, tmp_path)
    assert register_model(first, "model", "reader", "champion", "name") == 1
    assert register_model(second, "model", "reader", None, "name") == 2
    assert register_model(first, "model", "reader", None, "name") == 1
    client = MlflowClient(uri)
    version = client.get_model_version_by_alias("reader", "champion")
    assert version.run_id == first.run_id
    assert version.source.endswith(f"{first.run_id}/artifacts/model")
    register_model(second, "model", "reader", "champion", "name")
    assert client.get_model_version_by_alias("reader", "champion").run_id == second.run_id
    assert register_model(first, "model", "another", None, "name") == 1


def test_what_cannot_be_registered_leaves_no_name(uri, tmp_path):
    run = a_run(uri, tmp_path, model=False)
    with pytest.raises(ConfigError) as caught:
        register_model(run, "model", "empty", None, "name")
    assert str(caught.value) == (
        f"name=empty: run={run.run_id} has no model/MLmodel in {uri}; allowed: a run that has one"
    )
    with pytest.raises(ConfigError) as caught:
        register_model(RunRecord("a run", folder=tmp_path), "model", "empty", None, "register")
    assert str(caught.value) == (
        f"register=empty: run={tmp_path} is not recorded in MLflow; allowed: a run of logger=mlflow"
    )
    with pytest.raises(ConfigError) as caught:
        register_model(run, "model", "a/b", "v1", "name")
    assert caught.value.problems == [
        "name=a/b: wrong form; allowed: a name without / : and @",
        "alias=v1: wrong form; allowed: letters, digits, _ and -, but neither latest nor v1",
    ]
    assert "empty" not in [one.name for one in MlflowClient(uri).search_registered_models()]


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")
def test_json_that_is_too_deep_for_python_is_refused_by_the_server_with_the_reason(monkeypatch):
    from mlflow.pyfunc import scoring_server as server

    monkeypatch.setattr(server, "_decode_json_input", server._decode_json_input)  # put back after
    deep = b'{"dataframe_records": [{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]}"
    with pytest.raises(RecursionError):
        server._decode_json_input(deep)
    for _ in range(2):  # the models of one process
        refuse_deep_json(too_deep)
    with pytest.raises(
        Refused, match="inputs: are nested too deeply; allowed: inputs like"
    ) as made:
        server._decode_json_input(deep)
    assert made.value.get_http_status_code() == 400
    assert server._decode_json_input(b'{"inputs": [1]}') == {"inputs": [1]}
