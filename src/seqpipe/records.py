"""Readers for the files of runs, models, checkpoints and caches, as plain data.

The same rule applies to all of them, no matter who wrote the file: a record contains numbers, text,
lists and mappings. Nothing in it is executed, imported or resolved, no link in it is followed out
of its folder, and no file in it can claim to be larger than it is. This module is the one list of
values that a record may hold (`check_plain`, `read_arrays`); which classes it may name:
`seqpipe.inference.instantiate`.
"""

import hashlib
import json
import math
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import yaml

MOST_TEXT = 2**24
"""Most bytes of a JSON or YAML file; `fields.json` of a large vocabulary may have more."""
DEEPEST = 64
SEALS = Path("outputs", "seals.txt")
"""File below the working folder with a hash of each configuration that was trained there."""
_PLAIN = (str, int, float, bool, type(None))
_KINDS_OF_ARRAY = "biufcSU"
_FLOATS = re.compile(
    r"""^(?:[-+]?[0-9]+(?:_[0-9]+)*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?[0-9]+(?:_[0-9]+)*(?:[eE][-+]?[0-9]+)
    |\.[0-9]+(?:_[0-9]+)*(?:[eE][-+][0-9]+)?
    |[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)


class BadRecordError(ValueError):
    """A file that is not plain data, or not what it claims to be; the message says why."""


def inside(folder: Path, name: str) -> Path:
    """Return the place of a file below a folder.

    Raises:
        BadRecordError: the name, or a link on the way, leads out of the folder.
    """
    place = folder / name
    if not place.resolve().is_relative_to(folder.resolve()):
        raise BadRecordError("leads out of its folder")
    return place


def is_elsewhere(name: str) -> bool:
    """True if a name leads out of the folder that it is read from: `/x`, `../x`, `~/x`, a URL."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    absolute = name.startswith(("/", "\\", "~")) or bool(PureWindowsPath(name).drive)
    return absolute or ".." in parts or "://" in name


def read_text(path: Path, most: int = MOST_TEXT) -> str:
    """Reads the text of a file.

    Raises:
        BadRecordError: there is no such regular file, or it is too large or not UTF-8.
        OSError: it cannot be read.
    """
    if not path.is_file():  # a pipe would be waited for
        raise BadRecordError("no such file")
    size = path.stat().st_size
    if size > most:
        raise BadRecordError(f"is too large, {size:,} bytes; at most {most:,}")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadRecordError(f"is not UTF-8, {error.reason}") from None


def read_json(path: Path, most: int = MOST_TEXT) -> dict[str, Any]:
    """Reads the object in a JSON file.

    Raises:
        BadRecordError: the file holds no JSON object.
        OSError: it cannot be read.
    """
    text = read_text(path, most)
    try:
        read = json.loads(text)
    except RecursionError:
        raise BadRecordError("is nested too deeply") from None
    except ValueError as error:
        raise BadRecordError(str(error)) from None
    if not isinstance(read, dict):
        raise BadRecordError("holds no JSON object")
    return read


_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where it is built


class _Loader(_Base):  # type: ignore[misc]
    """Plain YAML without dates and without keys that occur twice."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, form) for tag, form in forms if not tag.endswith((":timestamp", ":merge"))]
        for first, forms in _Base.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """Builds a mapping; a key that occurs twice is refused."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = {key for key in keys if keys.count(key) > 1} if len(set(keys)) < len(keys) else ()
        if twice:
            raise BadRecordError(f"has the key {sorted(twice)[0]!r} twice")
        return super().construct_mapping(node, deep=deep)


class _WithFloats(_Loader):
    """Plain YAML with the numbers of OmegaConf, such as `1e-3`."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: list(forms) for first, forms in _Loader.yaml_implicit_resolvers.items()
    }


_WithFloats.add_implicit_resolver("tag:yaml.org,2002:float", _FLOATS, list("-+0123456789."))


def read_yaml(path: Path, *, floats: bool = False) -> dict[str, Any]:
    """Reads the mapping in a YAML file.

    Args:
        path: of the file.
        floats: read `1e-3` as a number, as OmegaConf does; otherwise as text, as YAML 1.1 does.

    Raises:
        BadRecordError: the file holds no mapping of plain values, see `check_plain`; or it has
            tags, aliases, or a key twice.
        OSError: it cannot be read.
    """
    text = read_text(path)
    try:
        _check_events(text)
        read = yaml.load(text, Loader=_WithFloats if floats else _Loader)
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise BadRecordError(str(problem)) from None
    except BadRecordError:
        raise
    except (ValueError, TypeError, RecursionError) as error:  # numbers with thousands of digits
        raise BadRecordError(str(error).partition("\n")[0]) from None
    if not isinstance(read, dict) or not read:
        raise BadRecordError("holds no keys")
    check_plain(read)
    return read


def _check_events(text: str) -> None:
    """Refuses aliases before anything is built: with them, a few lines can fill the memory."""
    depth = 0
    for event in yaml.parse(text, Loader=_Base):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise BadRecordError("has aliases")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEEPEST:
            raise BadRecordError("is nested too deeply")


def check_plain(value: Any, key: str = "") -> None:
    """Refuses values other than numbers, text, and lists and mappings of them.

    Text with `${` is refused in values, in keys and in lists: OmegaConf would resolve it, and a
    resolver may read the environment or call any function.

    Args:
        value: a value of the record.
        key: its place, for messages.

    Raises:
        BadRecordError: with the key.
    """
    where = f"{key}: " if key else ""
    if key.count(".") > DEEPEST:
        raise BadRecordError("is nested too deeply")
    if isinstance(value, dict):
        for name, inner in value.items():
            if not isinstance(name, _PLAIN):
                raise BadRecordError(f"{where}has a key that is {type(name).__name__}")
            if "${" in str(name):
                raise BadRecordError(f"{where}has an interpolation as a key, {_short(str(name))}")
            check_plain(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            check_plain(inner, f"{key}.{place}")
    elif isinstance(value, str):
        if "${" in value:
            raise BadRecordError(f"{where}has an interpolation, {_short(value)}")
        if value == "???":
            raise BadRecordError(f"{where}has no value, ???")
    elif not isinstance(value, _PLAIN):
        raise BadRecordError(f"{where}is {type(value).__name__}, no plain value")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:57]}..."


def check_archive(path: Path) -> None:
    """Refuses a compressed zip archive, which could unpack to any size; ours are stored.

    Raises:
        BadRecordError: the file is no archive, is compressed, or is damaged.
        OSError: it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        raise BadRecordError("is no archive, or is damaged") from None
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise BadRecordError("is packed; files of seqpipe are not")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise BadRecordError("claims to hold more than it does")


def read_arrays(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Reads the arrays of an .npz file: numbers and text, never pickled objects.

    Raises:
        BadRecordError: the file is none or is damaged, or an array claims another size.
        OSError: it cannot be read.
    """
    check_archive(path)
    held = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                _check_array(archive, entry)
        with np.load(path, allow_pickle=False) as arrays:
            for name in arrays.files:
                held[name] = arrays[name]
    except BadRecordError:
        raise
    except (zipfile.BadZipFile, ValueError, EOFError, KeyError, MemoryError) as error:
        raise BadRecordError(str(error).partition("\n")[0]) from None
    return held


def _check_array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    with archive.open(entry) as opened:
        version = np.lib.format.read_magic(opened)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read is None:
            raise BadRecordError(f"{entry.filename}: of an unknown version of numpy's format")
        shape, _, kind = read(opened)
        left = entry.file_size - opened.tell()
    if kind.hasobject or kind.kind not in _KINDS_OF_ARRAY:
        raise BadRecordError(f"{entry.filename}: holds pickled objects, which are not opened")
    if math.prod(shape) * kind.itemsize != left or max(shape, default=0) > max(left, 1):
        raise BadRecordError(f"{entry.filename}: claims to be {shape}, and holds {left} bytes")


def targets(node: Any, key: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (key, node) of every node with a `_target_`, at any depth, also in lists."""
    if isinstance(node, Mapping):
        if node.get("_target_") is not None:
            yield key, node
        for name, value in node.items():
            yield from targets(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, (list, tuple)):
        for place, value in enumerate(node):
            yield from targets(value, f"{key}.{place}")


def seal(config: Mapping[str, Any]) -> str:
    """Return the sha256 of a configuration; equal for config.yaml of a run and of its model."""
    text = json.dumps(config, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def note_seal(root: Path, config: Mapping[str, Any]) -> None:
    """Records that a configuration was trained from this folder, hence is the user's own.

    Raises:
        OSError: the file cannot be written.
    """
    path = root / SEALS
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="ascii") as file:  # one short line: written in one piece
        file.write(f"{seal(config)}\n")


def is_own(root: Path, config: Mapping[str, Any]) -> bool:
    """True if a configuration was trained from this folder, and is unchanged."""
    path = root / SEALS
    if not path.is_file():
        return False
    return seal(config) in path.read_text(encoding="ascii", errors="replace").split()
