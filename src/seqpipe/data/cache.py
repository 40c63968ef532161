"""Cache of prepared data, under a hash of everything that the data depend on."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from seqpipe._version import __version__
from seqpipe.data.base import SPLITS, Field
from seqpipe.data.columns import open_columns
from seqpipe.data.prepare import Prepared, SplitFacts
from seqpipe.errors import DISK_FULL, ConfigError
from seqpipe.files import replacing, sha256_of
from seqpipe.records import read_arrays, read_json

FORMAT = 1
_LIBRARIES = (
    *("av", "datasets", "numpy", "pillow", "pyarrow", "regex", "scipy", "soundfile"),
    *("symusic", "tokenizers", "torch", "torchvision"),
)
_MOST_JSON = 2**29  # bytes: it holds whole vocabularies
_YOUNG = 2.0  # seconds; a file changed so recently may change again without a new time


class Cache:
    """A folder with a subfolder for each prepared data set; safe to delete.

    Args:
        folder: made if it is missing.

    Raises:
        ConfigError: the folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._check_links(folder)
            with FileLock(folder / "files.lock"):
                pass
        except OSError as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> ConfigError:
        text = f"cannot be written ({error.strerror}); allowed: a folder with room, or null"
        return ConfigError(f"data.cache={self.folder}: {text}")

    @staticmethod
    def _check_links(folder: Path) -> None:
        """Refuse links: in a folder from another person, they could lead to any file."""
        links = sorted(entry.name for entry in folder.iterdir() if entry.is_symlink())
        if links:
            text = f"holds a link, {links[0]}; allowed: a folder that only seqpipe writes to"
            raise ConfigError(f"data.cache={folder}: {text}")

    def key(self, recipe: Mapping[str, Any], files: Sequence[Path]) -> str:
        """Return the name of the subfolder of data prepared from these files in this way.

        Args:
            recipe: everything else that the result depends on, as JSON can write it.
            files: all files that are read; both their content and their names count.
        """
        common = os.path.commonpath([file.absolute().parent for file in files])
        hashes = self._hashes(files)
        parts = {
            "format": FORMAT,
            "version": __version__,
            "code": _code(),
            "recipe": json.dumps(recipe, ensure_ascii=False),  # the order of keys counts
            "libraries": _libraries(),
            "files": [[os.path.relpath(f.absolute(), common), hashes[f]] for f in files],
        }
        text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]

    @contextmanager
    def held(self, key: str) -> Iterator[None]:
        """Lock a subfolder: a second process with the same data waits, and finds them prepared."""
        with FileLock(self.folder / f"{key}.lock"):
            yield

    def load(self, key: str, fields: Mapping[str, Field]) -> Prepared | None:
        """Load prepared data and restore the fields; None if nothing was prepared.

        Raises:
            ConfigError: the files were not written by this program, or are damaged.
        """
        folder = self.folder / key
        names = ("prepared.json", "arrays.npz", *(f"{split}.arrow" for split in SPLITS))
        if not all((folder / name).is_file() for name in names):
            return None
        self._check_links(folder)
        try:
            return self._loaded(folder, fields)
        except (
            OSError,
            ValueError,
            TypeError,
            LookupError,
            AttributeError,
        ) as error:
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            text = f"cannot be read ({reason}); allowed: an unchanged cache; delete the folder"
            raise ConfigError(f"data.cache={self.folder}: {key}: {text} {folder}") from None

    def _loaded(self, folder: Path, fields: Mapping[str, Field]) -> Prepared:
        written = read_json(folder / "prepared.json", _MOST_JSON)
        held = read_arrays(folder / "arrays.npz")
        for role, fld in fields.items():
            fld.restore(unpack(written["fields"][role], held))
        facts = {}
        for split in SPLITS:
            values = unpack(written["facts"][split], held)
            facts[split] = SplitFacts(**values)
        columns = {split: open_columns(folder / f"{split}.arrow") for split in SPLITS}
        return Prepared(columns, facts)

    def make(
        self, key: str, fields: Mapping[str, Field], prepare: Callable[[Path], Prepared]
    ) -> Prepared:
        """Prepare data in a temporary folder, which is renamed once it is complete.

        Args:
            key: name of the subfolder.
            fields: fitted by `prepare`; by role.
            prepare: writes the columns to a folder.
        """
        for left in self.folder.glob(f"{key}.tmp*"):  # by a killed process
            shutil.rmtree(left)
        made = self.folder / f"{key}.tmp{os.getpid()}"
        made.mkdir(parents=True)
        try:
            prepared = prepare(made)
            held: dict[str, np.ndarray[Any, Any]] = {}
            written = {
                "fields": {role: pack(fld.state(), held, role) for role, fld in fields.items()},
                "facts": {s: pack(asdict(f), held, s) for s, f in prepared.facts.items()},
            }
            np.savez(made / "arrays.npz", allow_pickle=False, **held)
            (made / "prepared.json").write_text(json.dumps(written), encoding="utf-8")
            final = self.folder / key
            if final.exists():  # files in it were deleted by hand
                shutil.rmtree(final)
            made.rename(final)
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            raise self._unwritable(error) from None
        finally:
            shutil.rmtree(made, ignore_errors=True)
        kept = self.load(key, fields)
        assert kept is not None, "what was prepared is there"
        return kept

    def _hashes(self, files: Sequence[Path]) -> dict[Path, str]:
        """sha256 of each file; a file is not read again while size, times and inode are equal."""
        index = self.folder / "files.json"
        with FileLock(self.folder / "files.lock"):
            known = _index(index)
            hashes, changed = {}, False
            for file in files:
                name, status = str(file.absolute()), file.stat()
                now = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
                entry = known.get(name)
                if entry is not None and entry[:-1] == now:
                    hashes[file] = entry[-1]
                    continue
                hashes[file] = sha256_of(file)
                if time.time() - max(status.st_mtime, status.st_ctime) > _YOUNG:
                    known[name], changed = [*now, hashes[file]], True
            if changed:
                try:
                    with replacing(index) as made:
                        made.write_text(json.dumps(known), encoding="utf-8")
                except OSError as error:
                    raise self._unwritable(error) from None
        return hashes


def _index(file: Path) -> dict[str, Any]:
    """Hashes of earlier runs; none if the file is damaged, since they can be computed again."""
    try:
        known = read_json(file, _MOST_JSON)
    except (FileNotFoundError, ValueError):
        return {}
    return {name: entry for name, entry in known.items() if _is_entry(entry)}


def _is_entry(entry: object) -> bool:
    return isinstance(entry, list) and len(entry) == 5 and isinstance(entry[-1], str)


@functools.cache
def _libraries() -> dict[str, str]:
    found = {"unicode": unicodedata.unidata_version}
    for name in _LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


@functools.cache
def _code() -> str:
    """sha256 of the code that prepares data: another version may read them otherwise."""
    total = hashlib.sha256()
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        total.update(file.read_bytes())
    return total.hexdigest()


def pack(value: Any, held: dict[str, np.ndarray[Any, Any]], name: str) -> Any:
    """Convert a value to what JSON can hold; arrays are put into `held`."""
    if isinstance(value, np.ndarray):
        held[name] = value
        return {"__array__": name}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        assert "__array__" not in value, "the name is taken"
        return {str(k): pack(v, held, f"{name}.{k}") for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        kind = "__tuple__" if isinstance(value, tuple) else "__list__"
        return {kind: [pack(v, held, f"{name}.{i}") for i, v in enumerate(value)]}
    return value


def unpack(value: Any, held: Mapping[str, np.ndarray[Any, Any]]) -> Any:
    """Undo `pack`."""
    if not isinstance(value, dict):
        return value
    if "__array__" in value:
        return held[value["__array__"]]
    for name, kind in (("__tuple__", tuple), ("__list__", list)):
        if name in value:
            return kind(unpack(v, held) for v in value[name])
    return {k: unpack(v, held) for k, v in value.items()}
