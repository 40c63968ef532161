"""MLflow's scoring server, run in this environment and ended with all its processes."""

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException

from seqpipe.errors import ConfigError, DataError, SeqpipeError
from seqpipe.records import inside, is_elsewhere, read_json, read_yaml
from seqpipe.tracking.mlflow_internals import (
    FLAVOR_KEYS,
    INTERNAL_ERROR,
    INVALID_PARAMETER_VALUE,
    MODEL_KEYS,
    SERVED_EXAMPLE,
)
from seqpipe.tracking.pyfunc import LOADER


class _HttpError(MlflowException):
    """An error that the server answers with the status of its code and only this message.

    For other errors MLflow adds all of the data, or a traceback, both long and of no help.

    Args:
        message: for the client.
    """

    code: int

    def __init__(self, message: str) -> None:
        super().__init__(message, error_code=self.code)
        self.text = message

    def serialize_as_json(self) -> str:
        """The body of the answer."""
        return json.dumps({"error_code": self.error_code, "message": self.text})


class Refused(_HttpError):
    """The request cannot be read: 400."""

    code = INVALID_PARAMETER_VALUE


def too_deep() -> Refused:
    """The refusal of inputs that are nested too deeply."""
    return Refused("inputs: are nested too deeply; allowed: inputs like those of the training")


class Failed(_HttpError):
    """The model failed on a valid request: 500."""

    code = INTERNAL_ERROR


MLMODEL = "MLmodel"
_WRITTEN = "allowed: the file that training wrote, unchanged"
_START_SECONDS = 120.0  # torch and MLflow are imported in every worker
_END_SECONDS = 10.0
_LONGEST_TYPED = 1500  # characters of a body within the command; a longer one is read from its file


@dataclass(frozen=True)
class Server:
    """A running server.

    Args:
        url: its address.
        process: the first process of its group.
    """

    url: str
    process: "subprocess.Popen[bytes]"

    def ask(self, body: Any, seconds: float = 60.0) -> Any:
        """Sends a body of JSON and returns the answer.

        Raises:
            SeqpipeError: the server refuses it; with its message.
        """
        data = json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.url}/invocations", data, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=seconds) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace").strip()
            raise SeqpipeError(f"{self.url}: refused its own example ({text[:500]})") from None


def check_model(folder: Path) -> None:
    """Refuses a folder that would run code when loaded: only seqpipe's own loader is allowed.

    Args:
        folder: the folder with MLmodel.

    Raises:
        DataError: training did not write it.
    """
    path = folder / MLMODEL
    try:
        model = read_yaml(inside(folder, MLMODEL))
        flavors = model["flavors"]
        (name,) = flavors
        flavor = dict(flavors[name])
    except (OSError, ValueError, TypeError, KeyError):
        raise DataError(f"{path}: cannot be read; {_WRITTEN}") from None
    unknown = sorted(set(model) - MODEL_KEYS)
    if unknown or model.get("prompts") is not None:  # MLflow would load what they name
        text = f"has {', '.join(unknown) or 'prompts'}, which training does not write"
        raise DataError(f"{path}: {text}; {_WRITTEN}")
    for entry in folder.rglob("*"):
        if entry.is_symlink():
            raise DataError(f"{entry}: is a link; {_WRITTEN}")
    ours = name == "python_function" and flavor.get("loader_module") == LOADER
    if not ours or flavor.get("code") is not None or not set(flavor) <= FLAVOR_KEYS:
        loader = flavor.get("loader_module", name)
        text = f"would be loaded by code that is not seqpipe's ({loader})"
        raise DataError(f"{path}: {text}; {_WRITTEN}")
    example = model.get("saved_input_example_info") or {}
    names = {"data": flavor.get("data"), **(example if isinstance(example, dict) else {})}
    for key, file in names.items():
        if file is not None and is_elsewhere(str(file)):
            text = f"{key}={file} leads out of its folder; {_WRITTEN}"
            raise DataError(f"{path}: {text}")


def free_port(host: str, port: int) -> int:
    """Returns the port, or a free one for 0.

    Raises:
        ConfigError: it is taken, or this machine has no such address.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        text = f"no address of this machine ({error.strerror}); allowed: 127.0.0.1, or 0.0.0.0"
        raise ConfigError(f"host={host}: {text} to be reached from others") from None
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        try:
            trial.bind(address)
        except PermissionError:
            text = "may not be opened by this user; allowed: 1024 or more"
            raise ConfigError(f"port={port}: {text}") from None
        except OSError as error:
            text = f"cannot be opened on host={host} ({error.strerror})"
            raise ConfigError(f"port={port}: {text}; allowed: a free one, 0 for any") from None
        return int(trial.getsockname()[1])


@contextlib.contextmanager
def serving(folder: Path, *, host: str, port: int, workers: int) -> Iterator[Server]:
    """Runs a server of a model; it and all its processes end with the block.

    Its output goes to stderr.

    Args:
        folder: the folder with MLmodel, see `check_model`.
        host: the address it listens at.
        port: the port it listens at.
        workers: the number of processes that answer.

    Raises:
        SeqpipeError: it does not start.
    """
    words = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"]
    words += ["-m", str(folder), "--host", host, "--port", str(port), "--workers", str(workers)]
    here = str(Path(sys.executable).parent)  # MLflow looks for uvicorn in PATH
    path = os.pathsep.join([here, os.environ.get("PATH", os.defpath)])
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
    environment = {**quiet, **os.environ, "PATH": path}
    process = subprocess.Popen(
        words,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr.fileno(),
        start_new_session=True,  # a group to end; Ctrl-C comes to us alone
    )
    try:
        reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        shown = f"[{reached}]" if ":" in reached else reached
        server = Server(f"http://{shown}:{port}", process)
        _wait(server)
        yield server
    finally:
        _end(process)


def example_of(folder: Path) -> Any:
    """A body of one row, from the example that is kept with the model.

    Raises:
        DataError: there is none.
    """
    path = folder / SERVED_EXAMPLE
    try:
        body = read_json(inside(folder, SERVED_EXAMPLE))
        split = body["dataframe_split"]
        return {"dataframe_split": {**split, "data": split["data"][:1]}}
    except (OSError, ValueError, TypeError, KeyError):
        raise DataError(f"{path}: cannot be read; {_WRITTEN}") from None


def curl(server: Server, folder: Path, body: Any) -> str:
    """The shell command that sends a body to the server."""
    data = json.dumps(body)
    if len(data) > _LONGEST_TYPED:
        data = f"@{folder / SERVED_EXAMPLE}"
    words = ["curl", "-s", f"{server.url}/invocations"]
    return shlex.join([*words, "-H", "Content-Type: application/json", "-d", data])


def _wait(server: Server) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        if server.process.poll() is not None:
            code = server.process.returncode
            raise SeqpipeError(f"MLflow's server ended with code {code}; its messages are above")
        with contextlib.suppress(OSError):
            with urllib.request.urlopen(f"{server.url}/ping", timeout=5) as answer:
                if answer.status == 200:
                    return
        time.sleep(0.1)
    raise SeqpipeError(f"{server.url}: no answer within {_START_SECONDS:.0f} s")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ends the whole group: MLflow, its shell, uvicorn and its workers."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        until = time.monotonic() + _END_SECONDS
        while time.monotonic() < until:
            process.poll()  # or it would stay in the group, ended
            try:
                os.killpg(process.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.05)
