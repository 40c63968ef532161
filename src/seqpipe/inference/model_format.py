"""A trained model as a folder of plain files, which another program can read as well.

    config.yaml         everything that was chosen, resolved
    model.safetensors   the weights
    fields.json         what the fields of x and y learned: vocabularies, classes, scalers
    fields.npz          the arrays among it
    seqpipe.json        version of this format, versions of programs, sha256 of the files

Nothing in it is code, and reading it runs none. The format has a number: a later version of
seqpipe reads all that came before, an earlier one says that it does not know it.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor

from seqpipe._version import __version__
from seqpipe.data.cache import packed, unpacked
from seqpipe.errors import ConfigError
from seqpipe.files import check_new, sha256_of
from seqpipe.records import BadRecordError, read_arrays, read_json, read_yaml

FORMAT = 1
ABOUT = "seqpipe.json"
FILES = ("config.yaml", "model.safetensors", "fields.json", "fields.npz")
"""All but `ABOUT`, which holds their hashes."""
LOGGED = "data/seqpipe"
"""Where such a folder lies below one that MLflow logged."""
_MOST_JSON = 2**29  # bytes: `fields.json` holds whole vocabularies
PLACES = (".", LOGGED, f"model/{LOGGED}")
"""Where it lies below a folder that was exported, logged by MLflow, or left by a run."""
_ALLOWED = "a folder that seqpipe wrote, unchanged: outputs/runs/.../model/data"


@dataclass(frozen=True)
class Saved:
    """Contents of the folder of a model.

    Args:
        config: the configuration it was trained with, plain containers.
        weights: by name.
        fields: role (`x`, `y`) -> what the field learned.
        counts: role -> how often each class or symbol occurs in the training split, where counted.
        facts: more that is known of the training: `longest_y`, `lengths`, digests.
        versions: of the programs that wrote it.
    """

    config: dict[str, Any]
    weights: dict[str, Tensor]
    fields: dict[str, dict[str, Any]]
    counts: dict[str, "np.ndarray[Any, Any]"] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


def write(folder: Path, saved: Saved) -> Path:
    """Writes a model's folder; it is there as a whole or not at all.

    Args:
        folder: must not be there yet.
        saved: what it is to hold.

    Raises:
        ConfigError: the folder is there, or cannot be written.
    """
    check_new(folder, folder)
    _make(folder, lambda made: _write_files(made, saved))
    return folder


def copy(folder: Path, to: Path) -> Path:
    """Copies the files of a model's folder, and no others that lie there.

    Raises:
        ConfigError: `to` is there, or cannot be written.
    """

    def fill(made: Path) -> None:
        for name in (*FILES, ABOUT):
            shutil.copyfile(folder / name, made / name, follow_symlinks=False)

    check_new(to, to)
    _make(to, fill)
    return to


def _make(folder: Path, fill: Callable[[Path], None]) -> None:
    made = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        made.mkdir(parents=True)
        fill(made)
        made.rename(folder)
    except OSError as error:
        text = f"cannot be written ({error.strerror}); allowed: a new folder"
        raise ConfigError(f"output={folder}: {text}") from None
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _write_files(folder: Path, saved: Saved) -> None:
    text = yaml.dump(saved.config, Dumper=_InFull, sort_keys=False, allow_unicode=True)
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    weights = {
        name: value.detach().cpu().clone().contiguous() for name, value in saved.weights.items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    shutil.copymode(folder / "config.yaml", folder / "model.safetensors")  # whom umask lets read
    held: dict[str, np.ndarray[Any, Any]] = {}
    learned = {
        "fields": {role: packed(state, held, role) for role, state in saved.fields.items()},
        "counts": packed(saved.counts, held, "counts"),
    }
    (folder / "fields.json").write_text(json.dumps(learned, ensure_ascii=False), encoding="utf-8")
    np.savez(folder / "fields.npz", allow_pickle=False, **held)
    about = {
        "format": FORMAT,
        "versions": {"seqpipe": __version__, "torch": torch.__version__, "numpy": np.__version__},
        "facts": saved.facts,
        "sha256": {name: sha256_of(folder / name) for name in FILES},
    }
    (folder / ABOUT).write_text(json.dumps(about, indent=2), encoding="utf-8")


def read(folder: Path) -> Saved:
    """Reads what `write` wrote.

    Raises:
        ConfigError: it is none, of a later format, damaged, or was changed.
    """
    for name in (ABOUT, *FILES):
        if (folder / name).is_symlink():  # whose file it is, the folder does not tell
            raise ConfigError(f"{folder / name}: is a link; allowed: {_ALLOWED}")
    if not (folder / ABOUT).is_file():
        text = f"no folder of a model, {ABOUT} is missing"
        raise ConfigError(f"{folder}: {text}; allowed: {_ALLOWED}")
    about = _json(folder, ABOUT)
    version, versions = about.get("format"), about.get("versions")
    versions = versions if isinstance(versions, dict) else {}
    if type(version) is not int or version != FORMAT:
        by = versions.get("seqpipe", "another version")
        text = f"is of format {version}, written by seqpipe {by}; this is seqpipe {__version__}"
        allowed = f"format {FORMAT}, or a version of seqpipe that knows it"
        raise ConfigError(f"{folder}: {text}; allowed: {allowed}")
    _check_files(folder, about)
    try:
        return _opened(folder, about, versions)
    except Exception as error:  # each of the formats has its own, and a forger finds others
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ConfigError(f"{folder}: cannot be read ({reason}); allowed: {_ALLOWED}") from error


class _InFull(yaml.SafeDumper):
    """Writes equal values out, without aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        """All of them."""
        return True


def _opened(folder: Path, about: Mapping[str, Any], versions: Mapping[str, str]) -> Saved:
    config = _named("config.yaml", read_yaml, folder / "config.yaml")
    learned = _json(folder, "fields.json")
    held = _named("fields.npz", read_arrays, folder / "fields.npz")
    parts = {"fields": learned["fields"], "counts": learned["counts"], "facts": about["facts"]}
    for name, part in parts.items():
        if not isinstance(part, dict):
            raise ValueError(f"{name} holds no names")
    _check_facts(about["facts"])
    return Saved(
        config,
        load_file(folder / "model.safetensors", device="cpu"),
        {role: unpacked(state, held) for role, state in learned["fields"].items()},
        unpacked(learned["counts"], held),
        about["facts"],
        dict(versions),
    )


def _named(name: str, read: Callable[[Path], dict[str, Any]], path: Path) -> dict[str, Any]:
    try:
        return read(path)
    except BadRecordError as error:
        raise BadRecordError(f"{name}: {error}") from None


def _check_facts(facts: Mapping[str, Any]) -> None:
    longest, digests = facts.get("longest_y"), facts.get("digests", {})
    if type(longest) is not int or longest < 0:
        raise ValueError("facts hold no longest_y")
    if not isinstance(digests, dict) or not all(isinstance(one, str) for one in digests.values()):
        raise ValueError("facts hold no digests")


def _check_files(folder: Path, about: Mapping[str, Any]) -> None:
    hashes = about.get("sha256")
    hashes = hashes if isinstance(hashes, dict) else {}
    for name in FILES:
        file = folder / name
        if not file.is_file():
            raise ConfigError(f"{file}: is missing; allowed: {_ALLOWED}")
        if sha256_of(file) != hashes.get(name):
            raise ConfigError(f"{file}: is damaged or was changed; allowed: {_ALLOWED}")


def _json(folder: Path, name: str) -> dict[str, Any]:
    try:
        return read_json(folder / name, _MOST_JSON)
    except (BadRecordError, OSError) as error:
        raise ConfigError(f"{folder / name}: is damaged ({error}); allowed: {_ALLOWED}") from None
