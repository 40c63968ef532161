"""The record of a run, read from its folder or from MLflow, and its files on this machine."""

import re
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Protocol

from seqpipe.errors import ConfigError, DataError
from seqpipe.files import write_json
from seqpipe.records import BadRecordError, inside, is_own, read_yaml
from seqpipe.records import read_json as read_object
from seqpipe.rules import shown
from seqpipe.tracking.base import Dataset

PROVENANCE = "provenance.json"
"""The file in a run's folder with the arguments of `Tracker.start` and the id of the run."""

_MOST_FILES, _DEEPEST = 10_000, 32  # of one artifact folder: an endless listing is refused


class Listed(Protocol):
    """An entry of an artifact folder, as MLflow describes it."""

    path: str
    is_dir: bool


class Artifacts(Protocol):
    """The place where a run's files are kept."""

    def list_artifacts(self, path: str | None = None) -> list[Any]:
        """The entries of a folder."""

    def download(self, remote: str, local: Path) -> None:
        """Downloads one file."""


@dataclass(frozen=True)
class RunRecord:
    """A recorded run.

    Args:
        name: for people, `digits lstm 3x64`.
        run_id: its id in MLflow; None for a run folder that MLflow does not know.
        folder: the run's folder; None where it is not on this machine.
        experiment: the group it belongs to.
        tracking_uri: the store it is recorded in; None where run_id is.
        params: the configuration, flat, as typed: `optim.lr` -> `0.001`.
        tags: other facts, such as `command` and `git.commit`.
        metrics: the last value of each; for a folder those of its metrics.json.
        datasets: sha256 of the records of each split (train, val, test).
        artifacts: its files in MLflow.
        foreign_store: a store that a record of another person names; it is not connected to.
    """

    name: str
    run_id: str | None = None
    folder: Path | None = None
    experiment: str = ""
    tracking_uri: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    datasets: Mapping[str, str] = field(default_factory=dict)
    artifacts: Artifacts | None = None
    foreign_store: str | None = None

    @property
    def typed(self) -> str:
        """The option that names it on the command line: `run=` with the id, or the folder."""
        return f"run={self.run_id or self.folder}"

    def has(self, path: str) -> bool:
        """True if it has a file or folder; path: relative to the run folder (`metrics.json`)."""
        if self.folder is not None and (self.folder / path).exists():
            return True
        parent = str(PurePosixPath(path).parent)
        return self.artifacts is not None and any(
            entry.path == path for entry in self.artifacts.list_artifacts(_listing_path(parent))
        )

    def local(self, path: str) -> Path:
        """The place of a file or folder of the run on this machine, downloaded if necessary.

        A download is kept as long as this object.

        Raises:
            ConfigError: the run has no such file.
            DataError: a name or a link leads out of its folder.
        """
        if self.folder is not None and (self.folder / path).exists():
            return self.inside(path)
        if not self.has(path):
            raise ConfigError(f"{self.typed}: it has no {path}; allowed: a run that has one")
        assert self.artifacts is not None
        target = self._fetched
        if not (target / path).exists():
            for file in list(_files(self.artifacts, path)):  # all names are checked first
                place = target.joinpath(*PurePosixPath(file).parts)
                place.parent.mkdir(parents=True, exist_ok=True)
                self.artifacts.download(file, place)
        return target / path

    def inside(self, path: str) -> Path:
        """The place of a file in the run's own folder.

        Raises:
            DataError: a link leads out of it, to another file.
        """
        assert self.folder is not None
        try:
            return inside(self.folder, path)
        except BadRecordError as error:
            text = f"{error}; allowed: a run folder without links to other places"
            raise DataError(f"{self.folder / path}: {text}") from None

    def is_own(self, root: Path) -> bool:
        """True if its configuration was trained from a folder, and is unchanged.

        Args:
            root: the folder the user works in.

        Raises:
            ConfigError: it has no configuration.
            DataError: the configuration cannot be read.
        """
        return is_own(root, self.config)

    @cached_property
    def config(self) -> dict[str, Any]:
        """Its resolved configuration, from config.yaml; reading it executes nothing.

        Raises:
            ConfigError: there is none.
            DataError: it cannot be read.
        """
        path = self.local("config.yaml")
        try:
            read = read_yaml(path, floats=True)
        except (BadRecordError, OSError) as error:
            text = f"cannot be read ({error}); allowed: the configuration of a run, unchanged"
            raise DataError(f"{path}: {text}") from None
        return {str(key): value for key, value in read.items()}

    @cached_property
    def _fetched(self) -> Path:
        folder = tempfile.mkdtemp(prefix="seqpipe-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return Path(folder)


def read_run_folder(folder: Path, run: str) -> RunRecord:
    """Reads the run of a folder, without any store.

    Args:
        folder: the run's folder.
        run: as typed, for messages.

    Raises:
        ConfigError: it is no run folder.
        DataError: a file in it cannot be read.
    """
    config = folder / "config.yaml"
    if not config.is_file() or config.stat().st_size == 0:
        below = [path.parent.name for path in sorted(folder.glob("*/config.yaml"))]
        hint = f"; it has run folders inside, such as {below[-1]}" if below else ""
        text = "no run folder: it has no config.yaml; allowed: outputs/runs/..."
        raise ConfigError(f"run={run}: {text}{hint}")
    empty = RunRecord(name=folder.name, folder=folder.absolute())
    record = read_json(empty.inside(PROVENANCE))
    metrics = read_json(empty.inside("metrics.json"))
    return RunRecord(
        name=str(record.get("run_name") or folder.name),
        run_id=_text_or_none(record.get("run_id")),
        folder=folder.absolute(),
        experiment=str(record.get("experiment") or ""),
        tracking_uri=_text_or_none(record.get("tracking_uri")),
        params={key: shown(value) for key, value in _mapping(record, "params").items()},
        tags={key: str(value) for key, value in _mapping(record, "tags").items()},
        metrics={key: float(v) for key, v in metrics.items() if _is_number(v)},
        datasets={
            split: str(data["digest"])
            for split, data in _mapping(record, "datasets").items()
            if isinstance(data, dict) and "digest" in data
        },
    )


def write_provenance(
    folder: Path, run_id: str | None, tracking_uri: str, identity: Mapping[str, Any]
) -> Path:
    """Writes provenance.json: the arguments of `Tracker.start`, and the place of the record.

    Args:
        folder: the run's folder.
        run_id: in the store; None where runs have none.
        tracking_uri: the store.
        identity: the arguments of `Tracker.start`.
    """
    where = {} if run_id is None else {"run_id": run_id, "tracking_uri": tracking_uri}
    datasets = {split: Dataset(*data)._asdict() for split, data in identity["datasets"].items()}
    record = {**where, **identity, "datasets": datasets}
    return write_json(folder / PROVENANCE, record)


def is_folder_of(folder: Path, run_id: str) -> bool:
    """True if a folder is that of a run, and not of a later one at the same place."""
    try:
        return bool(read_json(folder / PROVENANCE).get("run_id") == run_id)
    except DataError:
        return False


def _files(artifacts: Artifacts, path: str) -> Iterator[str]:
    """The files at or below a path.

    Raises:
        DataError: a name leads out of the folder, or there are too many files.
    """
    waiting, count = [path], 0
    parent = str(PurePosixPath(path).parent)
    entries = {
        entry.path: entry.is_dir for entry in artifacts.list_artifacts(_listing_path(parent))
    }
    if not entries.get(path, False):
        yield path
        return
    while waiting:
        folder = waiting.pop()
        for entry in artifacts.list_artifacts(folder):
            count += 1
            name = PurePosixPath(entry.path)
            below = name.parent == PurePosixPath(folder) and ".." not in name.parts
            if not below or not re.fullmatch(r"[^\\\0]+", entry.path) or _drive(entry.path):
                text = "leads out of the folder of its run; nothing was fetched"
                raise DataError(f"{entry.path!r}: the name of a file that {text}")
            if count > _MOST_FILES or len(name.parts) > _DEEPEST:
                text = f"more than {_MOST_FILES} files, or folders more than {_DEEPEST} deep"
                raise DataError(f"{path}: has {text}; nothing was fetched")
            if entry.is_dir:
                waiting.append(entry.path)
            else:
                yield entry.path


def _drive(path: str) -> bool:
    return any(PureWindowsPath(part).drive for part in PurePosixPath(path).parts)


def _listing_path(parent: str) -> str | None:
    return None if parent == "." else parent


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON file of a run; an empty object where there is no such file.

    Raises:
        DataError: it is no JSON object.
    """
    if not path.is_file():
        return {}
    try:
        return read_object(path)
    except (BadRecordError, OSError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}); allowed: the file that training wrote, unchanged"
        ) from None


def read_metrics(path: Path) -> dict[str, float | None]:
    """Reads the metrics of a run; None: a number that was not finite.

    Raises:
        DataError: it is no JSON object of numbers.
    """
    read = read_json(path)
    wrong = [name for name, value in read.items() if value is not None and not _is_number(value)]
    if wrong:
        text = f"{wrong[0]} is no number; allowed: the file that training wrote, unchanged"
        raise DataError(f"{path}: {text}")
    return read


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return isinstance(value, float) or abs(value) < 2**1000  # more is no float


def _mapping(record: Mapping[str, Any], key: str) -> dict[str, Any]:
    entries = record.get(key)
    return entries if isinstance(entries, dict) else {}


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None
