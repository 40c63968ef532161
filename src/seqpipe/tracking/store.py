"""Opens the MLflow store that a run is written to, or refuses it with a reason."""

import contextlib
import logging
import os
import re
import socket
import sqlite3
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

from filelock import FileLock, Timeout
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from seqpipe.errors import ConfigError, SeqpipeError, first_line, place_message
from seqpipe.files import replacing
from seqpipe.rules import require, text
from seqpipe.tracking.mlflow_internals import ARTIFACT_ROOT, DATABASE_LOGGER, make_tables

log = logging.getLogger(__name__)

KEY = "logger.tracking_uri"
OFFLINE = "logger.offline=true to record on disk"
_SQLITE = "sqlite:///"
_LIBRARIES = r"(mlflow|sqlalchemy|alembic)\b"
_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_CONNECT_SECONDS = 5.0
_LOCK_SECONDS = 300.0  # making a store takes seconds, many in a row more
_BUSY_SECONDS = 20.0  # as in MLflow: other runs are writing
_SHORT_TIMEOUTS = {  # MLflow's own settings wait several minutes for a server that is gone
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


_STORE = text(
    r"sqlite:///(?!:memory:).+|databricks.*|(?!sqlite|file:)[\w+.-]+://.+",
    "sqlite:///path/to/mlflow.db for a file, http://host:port for a server",
).because("MLflow no longer writes to plain folders")
StoreUri = Annotated[str, _STORE]


def resolve_uri(tracking_uri: str, root: Path, key: str = KEY) -> str:
    """Makes the path of a sqlite URI absolute, independent of the working folder.

    Args:
        tracking_uri: `sqlite:///relative/path.db`, `sqlite:////absolute/path.db`, or the address
            of a server or database.
        root: the folder a relative path starts from.
        key: the option that names it, for messages.

    Raises:
        ConfigError: The URI is a folder or has no file.
    """
    require(key, tracking_uri, _STORE)
    if tracking_uri.startswith(_SQLITE):
        path = tracking_uri.removeprefix(_SQLITE)
        return _address((root.absolute() / unquote(path)).resolve())
    return tracking_uri


def open_store(uri: str, experiment: str) -> tuple[MlflowClient, str]:
    """Opens the store and the experiment; each is made if missing.

    Two processes that make a sqlite store at once break it for good, so this happens under a
    file lock beside it (https://github.com/mlflow/mlflow/issues/24321).

    Args:
        uri: as `resolve_uri` returns it.
        experiment: the experiment's name.

    Returns:
        A client of the store, and the experiment's id.

    Raises:
        ConfigError: The store cannot be reached or opened.
    """
    with store_access(uri):
        client = MlflowClient(uri)
        return client, _experiment_id(client, uri, experiment)


def require_store(uri: str, key: str) -> None:
    """Refuses a store that does not exist: no run could be found in it.

    Args:
        uri: as `resolve_uri` returns it.
        key: the option that names it, for messages.

    Raises:
        ConfigError: There is no such file.
    """
    if uri.startswith(_SQLITE) and not _database(uri).is_file():
        text = "no such store; allowed: the one that runs were written to, or run=<a run folder>"
        raise ConfigError(f"{key}={uri}: {text}")


@contextlib.contextmanager
def store_access(uri: str, key: str = KEY) -> Iterator[None]:
    """Reports every failure of the store inside as an error of the option that names it.

    Args:
        uri: as `resolve_uri` returns it.
        key: the option that names it.

    Raises:
        ConfigError: The store cannot be reached or opened.
    """
    logging.getLogger("alembic").setLevel(logging.WARNING)  # forty lines about each new store
    # A traceback for each attempt at a locked or full store, which the buffer reports.
    logging.getLogger(DATABASE_LOGGER).setLevel(logging.CRITICAL)
    # A line for each attempt; the failure is reported below, and by the buffer.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    # PYTHONWARNINGS=error is meant for the user's code, not for MLflow's calls of its libraries.
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=_LIBRARIES)
    try:
        with _locked(uri), short_timeouts(), _files_beside_database(uri):
            _probe(uri)
            _make_tables(uri)
            yield
            return
    except SeqpipeError:
        raise
    except Timeout:
        reason = f"another process has held {_database(uri)}.lock for {_LOCK_SECONDS:.0f} s"
    except (MlflowException, OSError, sqlite3.Error) as error:
        reason = reason_of(error)
    except Exception as error:  # the drivers of other databases each raise their own
        reason = f"{type(error).__name__}: {reason_of(error)}"
    if uri.startswith(_SQLITE):
        text = f"cannot be opened ({reason}); allowed: a database of MLflow in a folder to write to"
    else:
        text = f"cannot be reached ({reason}); allowed: the address of a store that answers"
    if key == KEY:
        text += f", or {OFFLINE}"
    raise ConfigError(f"{key}={uri}: {text}") from None


@contextlib.contextmanager
def short_timeouts() -> Iterator[None]:
    """Lets calls to a server give up within seconds, unless the user's environment says more."""
    added = {name: value for name, value in _SHORT_TIMEOUTS.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextlib.contextmanager
def _files_beside_database(uri: str) -> Iterator[None]:
    """Keeps the files that MLflow makes by itself beside the database.

    Its experiment `Default` would get files in `mlruns` of the working folder, whose name it puts
    unescaped into an SQL statement; and it makes the folder of the escaped address.
    """
    if not uri.startswith(_SQLITE):
        yield
        return
    root, variable = _artifacts(uri), ARTIFACT_ROOT
    before = os.environ.get(variable)
    os.environ[variable] = root
    try:
        yield
    finally:
        os.environ.pop(variable)
        if before is not None:
            os.environ[variable] = before
        remove_stray(uri)


def remove_stray(uri: str) -> None:
    """Removes the empty folder that MLflow made for an address with escapes."""
    made = Path(uri.removeprefix(_SQLITE)).parent
    if not uri.startswith(_SQLITE) or made == _database(uri).parent:
        return
    with contextlib.suppress(OSError):  # not empty, or not there: no stray
        while True:
            made.rmdir()
            made = made.parent


@contextlib.contextmanager
def _locked(uri: str) -> Iterator[None]:
    if not uri.startswith(_SQLITE):
        yield
        return
    database = _database(uri)
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{database}.lock", timeout=_LOCK_SECONDS):
        yield


def _probe(uri: str) -> None:
    """Raises at once where MLflow would retry for minutes."""
    if uri.startswith(_SQLITE):
        with contextlib.closing(sqlite3.connect(_database(uri), _BUSY_SECONDS)) as connection:
            connection.execute("BEGIN IMMEDIATE")  # refused if it is no database or read-only
        return
    parts = urlsplit(uri)
    port = parts.port or _PORTS.get(parts.scheme.split("+")[0])
    if parts.hostname and port and not parts.scheme.startswith("http"):  # which may use a proxy
        socket.create_connection((parts.hostname, port), timeout=_CONNECT_SECONDS).close()


def _make_tables(uri: str) -> None:
    """Makes the tables of a new sqlite store beside it; it appears when it is complete."""
    if not uri.startswith(_SQLITE) or (database := _database(uri)).stat().st_size > 0:
        return
    try:
        with replacing(database) as made:
            journal = made.with_name(f"{made.name}-journal")  # sqlite's own
            journal.unlink(missing_ok=True)
            try:
                make_tables(_address(made))
            finally:
                journal.unlink(missing_ok=True)
    except BaseException:
        database.unlink(missing_ok=True)  # the empty file that the probe has made
        raise


def _experiment_id(client: MlflowClient, uri: str, name: str) -> str:
    """The id of the experiment of this name, which is made or restored if necessary."""
    location = _artifacts(uri) if uri.startswith(_SQLITE) else None
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException:
            found = client.get_experiment_by_name(name)  # another process was faster
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
        log.warning("the experiment %r had been deleted; it is restored, with its runs", name)
    if location and found.artifact_location != location:
        log.warning(
            "files of the experiment %r are kept in %s, where it was made; "
            "logger.experiment_name=... starts a new one",
            name,
            found.artifact_location,
        )
    return str(found.experiment_id)


def _artifacts(uri: str) -> str:
    return (_database(uri).parent / "mlartifacts").as_uri()


def _database(uri: str) -> Path:
    return Path(unquote(uri.removeprefix(_SQLITE)))


def _address(database: Path) -> str:
    """The address of a file, in which `?` and `%20` are escaped."""
    path = re.sub(r"%(?=[0-9A-Fa-f]{2})", "%25", str(database))
    return _SQLITE + path.replace("?", "%3F")


def reason_of(error: Exception) -> str:
    """One line of a message: where a connection or a disk failed, the system's words for it."""
    found = re.findall(r"\[Errno -?\d+\] ([\w ]+)", str(error))
    return str(found[-1]) if found else place_message(error) or first_line(error)
