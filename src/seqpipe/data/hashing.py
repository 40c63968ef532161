"""Digests of records, code and weights, equal on every machine."""

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from seqpipe.data.base import Record
from seqpipe.errors import DataError
from seqpipe.files import sha256_of

_INSTALLED = frozenset({"site-packages", "dist-packages"})  # folders
_SCRIPTS = ("__main__", "__mp_main__")  # a script uses the data; it does not make them


class Digest:
    """sha256 of raw records, one after the other."""

    def __init__(self) -> None:
        self._total = hashlib.sha256()

    def update(self, record: Record) -> None:
        """Add a record: its keys sorted, arrays by type, shape and bytes.

        Raises:
            DataError: an entry has a type that a record cannot hold.
        """
        line = json.dumps(dict(record), sort_keys=True, default=plain, ensure_ascii=False)
        self._total.update(line.encode("utf-8", "surrogatepass") + b"\n")

    def hex(self) -> str:
        """Return the digest so far, 64 hexadecimal digits."""
        return self._total.hexdigest()


def digest(records: Iterable[Record]) -> str:
    """sha256 (hex) of the raw records."""
    total = Digest()
    for record in records:
        total.update(record)
    return total.hex()


def plain(value: object) -> object:
    """Convert an entry that json does not know to one that it knows.

    Raises:
        DataError: a record cannot hold it.
    """
    if isinstance(value, Tensor):
        value = value.numpy(force=True)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        little = np.ascontiguousarray(value.astype(value.dtype.newbyteorder("<")))
        return [little.dtype.str, value.shape, hashlib.sha256(little.tobytes()).hexdigest()]
    if isinstance(value, bytes):
        return ["bytes", hashlib.sha256(value).hexdigest()]
    raise DataError(f"{type(value).__name__}: not a type that a record can hold")


def code_digests(part: type | Callable[..., object]) -> list[str]:
    """Return the sha256 of the modules that define a class and its bases, or a function.

    For the user's own code, modules imported from the same folder are included.
    """
    classes = part.__mro__ if isinstance(part, type) else (part,)
    files = {file for one in classes for file in _files_of(one.__module__)}
    return sorted(map(sha256_of, files))


def _files_of(module: str) -> list[Path]:
    file = _file_of(module)
    if file is None or _is_library(module, file):
        return [] if file is None else [file]
    loaded = {name: _file_of(name) for name in list(sys.modules) if name not in _SCRIPTS}
    own = {one for name, one in loaded.items() if one is not None and not _is_library(name, one)}
    beside = {one for one in own if one.is_relative_to(file.parent) and one.is_file()}
    return [*{file, *beside}]


def _file_of(module: str) -> Path | None:
    found = getattr(sys.modules.get(module), "__file__", None)
    return Path(found) if isinstance(found, str) and found.endswith(".py") else None


def _is_library(module: str, file: Path) -> bool:
    """True for seqpipe and installed modules, which the cache identifies by their versions."""
    package = module.partition(".")[0]
    is_installed = not _INSTALLED.isdisjoint(file.parts)
    return is_installed or package == "seqpipe" or package in sys.stdlib_module_names


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """Return the sha256 (hex) of named weights; empty if there are none."""
    total = hashlib.sha256()
    for name, tensor in weights.items():
        total.update(f"{name}{tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest() if weights else ""
