"""A run's model answers over HTTP, as the command line starts and ends it."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from forking import SEQPIPE

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
# Executables of this environment are in no PATH, as without activating it.
PATH = os.pathsep.join(["/usr/bin", "/bin"])
LITTLE = (
    *("data=adding", "data.length=6", "data.source.train=60", "data.source.valid=16"),
    *("data.source.test=16", "hidden_size=8", "trainer.max_epochs=1", "trainer.accelerator=cpu"),
    *("preflight=none", "diagnostics=none", "trainer.enable_progress_bar=false"),
)


@pytest.fixture(scope="module")
def seqpipe(warm) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """seqpipe(folder, "register", ...): how that command ends there, in a fork with all imports."""

    def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return warm.run(SEQPIPE, *arguments, cwd=folder, env={**os.environ, "PATH": PATH})

    return run


@pytest.fixture(scope="module")
def store(seqpipe, tmp_path_factory) -> Path:
    """A folder in which a run was trained and recorded."""
    folder = tmp_path_factory.mktemp("served")
    done = seqpipe(folder, *LITTLE)
    assert done.returncode == 0, done.stderr
    return folder


def start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PATH": PATH}
    return subprocess.Popen(
        [sys.executable, "-m", "seqpipe", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def serving(port: str) -> list[int]:
    """Processes with this port in their command."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if "--port" in words and words[words.index("--port") + 1] == port:
            found.append(int(entry.name))
    return found


@pytest.mark.parametrize(
    ("number", "code", "workers"), [(signal.SIGINT, 130, "1"), (signal.SIGTERM, 143, "2")]
)
def test_a_model_is_served_from_an_environment_that_is_not_activated(store, number, code, workers):
    options = ("port=0", f"workers={workers}", "register=adder", "alias=champion")
    running = start(store, "serve", "run=latest", *options)
    lines = [running.stdout.readline() for _ in range(5)]
    assert lines[1].startswith("registered: models:/adder/1, models:/adder@champion is run=")
    port = lines[2].split()[1].removesuffix(",").rpartition(":")[2]
    command = shlex.split(lines[3])
    assert command[0] == "curl"
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(command[2], command[-1].encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert json.load(answer) == json.loads(lines[4])
    assert list(json.loads(lines[4])["predictions"][0]) == ["prediction"]
    assert serving(port)
    running.send_signal(number)
    _, err = running.communicate(timeout=60)
    assert running.returncode == code
    assert err.splitlines()[-1] == f"seqpipe: {'terminated' if code == 143 else 'interrupted'}"
    assert "Traceback" not in err
    assert not serving(port)


def test_a_registered_model_is_found_by_its_name(seqpipe, store):
    done = seqpipe(store, "register", "run=latest", "name=sums", "alias=first")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("registered: models:/sums/1, models:/sums@first is run=")
    again = seqpipe(store, "register", "run=models:/sums@first", "name=other sums")
    assert again.stdout.startswith("registered: models:/other sums/1 is run=")
    refused = seqpipe(store, "register", "run=models:/sums@frist", "name=x")
    assert refused.returncode == 2
    assert refused.stderr.endswith("did you mean 'models:/sums@first'?\n")


def test_a_run_that_mlflow_does_not_know_is_neither_served_nor_registered(seqpipe, tmp_path):
    assert seqpipe(tmp_path, *LITTLE, "logger=none").returncode == 0
    (folder,) = (tmp_path / "outputs" / "runs").iterdir()
    done = seqpipe(tmp_path, "register", f"run={folder}", "name=x")
    told = f"run={folder} is not recorded in MLflow; allowed: a run of logger=mlflow"
    assert (done.returncode, done.stderr) == (2, f"seqpipe: name=x: {told}\n")
    done = seqpipe(tmp_path, "serve", f"run={folder}")
    assert done.returncode == 2
    assert done.stderr.startswith(f"seqpipe: run={folder}: its model was written without MLflow, ")


def test_a_port_that_is_taken_is_refused_before_anything_is_registered(seqpipe, store):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = seqpipe(store, "serve", "run=latest", f"port={port}", "register=never")
    assert done.returncode == 2
    assert done.stderr.startswith(f"seqpipe: port={port}: cannot be opened on host=127.0.0.1 (")
    refused = seqpipe(store, "register", "run=models:/never/1", "name=x")
    assert "run=models:/never/1: no such model is registered; allowed: " in refused.stderr
