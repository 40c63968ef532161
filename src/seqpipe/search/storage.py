"""Storages of Optuna's studies: a sqlite file, or a database on a server."""

import contextlib
import importlib.util
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock
from optuna.storages import RDBStorage

from seqpipe.errors import ConfigError, first_line

KEY = "hydra.sweeper.storage"
_SQLITE = "sqlite:///"
_SECONDS = 60  # that a write waits for others
_CONNECT_SECONDS = 10
_POSTGRES = re.compile(r"^postgres(ql)?://")


def resolve_storage(uri: str, root: Path) -> str:
    """The address of a storage, independent of the working folder, for SQLAlchemy.

    Of `postgresql://` SQLAlchemy takes psycopg2, which few have: it becomes psycopg 3 here.

    Args:
        uri: as typed.
        root: the folder that a relative path of a file starts from.

    Raises:
        ConfigError: it holds a password, which would be written into the record of the sweep.
    """
    if uri.startswith(_SQLITE):
        return f"{_SQLITE}{(root / uri.removeprefix(_SQLITE)).resolve()}"
    if urlsplit(uri).password is not None:
        without = re.sub(r":[^:@/]*@", "@", uri, count=1)
        text = "the password would be in the record of the sweep"
        allowed = f"{KEY}={without}, and the password in PGPASSWORD or ~/.pgpass"
        raise ConfigError(f"{KEY}={without}: {text}; allowed: {allowed}")
    old = importlib.util.find_spec("psycopg2") is not None
    return uri if old else _POSTGRES.sub("postgresql+psycopg://", uri)


def open_storage(uri: str, *, made: bool = False) -> RDBStorage:
    """Opens a storage, whose tables are made if they are missing.

    Args:
        uri: as `resolve_storage` returns it.
        made: another process has made and checked the tables.

    Raises:
        ConfigError: it cannot be opened.
    """
    if made:
        return _connect(uri, made=True)
    with reporting(uri), _alone(uri):
        try:
            return _connect(uri)
        except Exception:  # two processes made the tables of a server at the same time
            if uri.startswith(_SQLITE):
                raise
            time.sleep(1)
            return _connect(uri)


def _connect(uri: str, *, made: bool = False) -> RDBStorage:
    options: dict[str, Any] = {"connect_args": {"timeout": _SECONDS}}
    if not uri.startswith(_SQLITE):
        options = {"pool_pre_ping": True}  # a connection may have been lost since
        if uri.startswith("postgresql"):
            options["connect_args"] = {"connect_timeout": _CONNECT_SECONDS}
    return RDBStorage(uri, options, made, skip_table_creation=made)


@contextlib.contextmanager
def _alone(uri: str) -> Iterator[None]:
    """Keeps other processes from making the tables of a file at the same time, which breaks it."""
    if not uri.startswith(_SQLITE):
        yield
        return
    database = Path(uri.removeprefix(_SQLITE))
    database.parent.mkdir(parents=True, exist_ok=True)
    lock = database.with_name(f".{database.name}.lock")
    with FileLock(lock, timeout=_SECONDS):
        yield


@contextlib.contextmanager
def reporting(uri: str) -> Iterator[None]:
    """Reports every failure of the storage inside as an error of its option.

    Args:
        uri: of the storage.

    Raises:
        ConfigError: it cannot be read or written.
    """
    try:
        yield
    except ConfigError:
        raise
    except ImportError as error:
        from seqpipe.data.optional_deps import command

        text = f"needs {error.name or 'a driver'}, which is not installed"
        allowed = command("psycopg", "postgresql")
        raise ConfigError(f"{KEY}={uri}: {text}; allowed: {allowed}") from None
    except Exception as error:  # each driver raises its own
        reason = first_line(error)
        allowed = "a file or a database that answers and can be written to"
        raise ConfigError(f"{KEY}={uri}: cannot be used ({reason}); allowed: {allowed}") from None
