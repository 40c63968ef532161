"""Format of a saved model: a folder of plain files, which other programs can read as well.

    config.yaml         everything that was chosen, resolved
    model.safetensors   the weights
    fields.json         what the fields of x and y learned: vocabularies, classes, scalers
    fields.npz          the arrays among it
    seqpipe.json        version of this format, versions of programs, sha256 of the files

Nothing in it is code, and reading it runs none. The format has a number: a later version of
seqpipe reads all earlier formats, an earlier version refuses a later one by its number.
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
from seqpipe.data.cache import pack, unpack
from seqpipe.errors import ConfigError
from seqpipe.files import check_new, sha256_of, writing_output
from seqpipe.records import BadRecordError, read_arrays, read_json, read_yaml

FORMAT = 1
ABOUT = "seqpipe.json"
FILES = ("config.yaml", "model.safetensors", "fields.json", "fields.npz")
"""All files but `ABOUT`, which holds their hashes."""
LOGGED = "data/seqpipe"
"""Place of such a folder below one that MLflow logged."""
_MOST_JSON = 2**29  # bytes: `fields.json` holds whole vocabularies
PLACES = (".", LOGGED, f"model/{LOGGED}")
"""Its places below a folder that was exported, logged by MLflow, or written by a run."""
_ALLOWED = "a folder that seqpipe wrote, unchanged: outputs/runs/.../model/data"


@dataclass(frozen=True)
class Saved:
    """Contents of a model's folder.

    Args:
        config: the configuration of the training, plain containers.
        weights: by name.
        fields: role (`x`, `y`) -> state of the fitted field.
        counts: role -> how often each class or symbol occurs in the training split, if counted.
        facts: more facts about the training: `longest_y`, digests, metrics.
        versions: of the programs that wrote it.
    """

    config: dict[str, Any]
    weights: dict[str, Tensor]
    fields: dict[str, dict[str, Any]]
    counts: dict[str, "np.ndarray[Any, Any]"] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


def write(folder: Path, saved: Saved) -> Path:
    """Write a model's folder, completely or not at all.

    Args:
        folder: must not exist.
        saved: its contents.

    Raises:
        ConfigError: the folder exists, or cannot be written.
    """
    _make(folder, lambda made: _write_files(made, saved))
    return folder


def copy(folder: Path, to: Path) -> Path:
    """Copy the files of a model's folder, and no other files in it.

    Raises:
        ConfigError: `to` exists, or cannot be written.
    """

    def fill(made: Path) -> None:
        for name in (*FILES, ABOUT):
            shutil.copyfile(folder / name, made / name, follow_symlinks=False)

    _make(to, fill)
    return to


def _make(folder: Path, fill: Callable[[Path], None]) -> None:
    check_new(folder, folder)
    made = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        with writing_output(folder, "a new folder"):
            made.mkdir(parents=True)
            fill(made)
            made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _write_files(folder: Path, saved: Saved) -> None:
    text = yaml.dump(saved.config, Dumper=_NoAliases, sort_keys=False, allow_unicode=True)
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    weights = {
        name: value.detach().cpu().clone().contiguous() for name, value in saved.weights.items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    shutil.copymode(folder / "config.yaml", folder / "model.safetensors")  # as umask allows
    held: dict[str, np.ndarray[Any, Any]] = {}
    learned = {
        "fields": {role: pack(state, held, role) for role, state in saved.fields.items()},
        "counts": pack(saved.counts, held, "counts"),
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
    """Read a folder that `write` wrote.

    Raises:
        ConfigError: it is no such folder, of a later format, damaged, or changed.
    """
    for name in (ABOUT, *FILES):
        if (folder / name).is_symlink():  # it may lead to anybody's file
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
    except Exception as error:  # each format raises its own, and forged files others
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ConfigError(f"{folder}: cannot be read ({reason}); allowed: {_ALLOWED}") from error


class _NoAliases(yaml.SafeDumper):
    """Writes equal values in full, without aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        """Ignore every alias."""
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
        {role: unpack(state, held) for role, state in learned["fields"].items()},
        unpack(learned["counts"], held),
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
