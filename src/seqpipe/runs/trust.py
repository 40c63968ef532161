"""Trust in a recorded run: which of the files, data sets and options it names may be used.

A record is another person's unless its configuration was trained from the folder the user works in
(`seqpipe.records.is_own`). This module is the one list of files and data sets that a record may
name, and of options of a recorded command that may be composed again. Which classes may be used:
`seqpipe.inference.instantiate`; which values a record may hold: `seqpipe.records`.
"""

import functools
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from seqpipe.config.loader import parse
from seqpipe.config.nested_groups import with_slashes
from seqpipe.config.paths import conf_dir
from seqpipe.config.schema import (
    DATA_TARGET,
    FOLDS,
    GIVEN_BY_THE_RUN,
    READ_BY_THE_RUN,
    TAKEN_BY_THE_RUN,
)
from seqpipe.config.signatures import Signature, TargetError, signature_of
from seqpipe.data.base import Source
from seqpipe.errors import ConfigError
from seqpipe.inference.instantiate import part
from seqpipe.inference.load import FILES_OF_FIELDS
from seqpipe.records import BadRecordError, check_plain, is_elsewhere, is_own, targets
from seqpipe.rules import shown
from seqpipe.tracking.run_record import RunRecord

OF_HYDRA = re.compile(r"[+~]*hydra[./]")
_START = ["python", "-m", "seqpipe"]
_KEY = re.compile(r"[A-Za-z_][\w.]*(/\w+)*")
_OPTION = re.compile(r"\w[\w-]*")
_DATA_KEYS = ("path", "train", "valid", "test", "name", "folder", "annotation", "file")
_REPLACED = ("path", "train", "valid", "test", "get", "default_folder")  # or text for people
_SHOWN = 3


def foreign_targets(config: Mapping[str, Any]) -> list[str]:
    """List each `_target_` that is neither a part of seqpipe nor in the packaged options.

    A part counts only at its own place: an architecture cannot be a source. The same holds for
    other classes of the packaged options, such as torch.optim.Adam.
    """
    found = set()
    for key, node in targets(config):
        target = str(node["_target_"])
        if part(target, key) is None and _place(key, node) not in _packaged_targets():
            found.add(target)
    return sorted(found)


def missing_keys(config: Mapping[str, Any], groups: Sequence[str]) -> list[str]:
    """List the keys that a run needs and that a recorded configuration lacks.

    Args:
        config: of the record.
        groups: the groups that are read.
    """
    found = []
    for group in groups:
        node = config.get(group)
        if not isinstance(node, Mapping):
            found.append(group)
            continue
        read = [name for name in READ_BY_THE_RUN.get(group, ()) if name not in FOLDS]
        found += [f"{group}.{name}" for name in read if name not in node]
        parts = {f"data.{name}": node.get(name) for name in ("source", "y")}
        for key, part_of in (parts if group == "data" else {}).items():
            named = isinstance(part_of, Mapping) and isinstance(part_of.get("_target_"), str)
            found += [] if named else [f"{key}._target_"]
    return found


def argument_problems(node: Any, key: str = "") -> Iterator[str]:
    """Yield arguments and values of a recorded configuration that this version does not accept.

    Imports the classes that the configuration names.

    Args:
        node: plain containers.
        key: of the node.
    """
    if not isinstance(node, Mapping):
        return
    target = DATA_TARGET if key == "data" else node.get("_target_")
    if target is not None:
        try:
            taken = signature_of(str(target))
        except TargetError as error:
            yield f"{key}: {error}"
            return
        known = {*taken.rules, "_target_", "_partial_", *TAKEN_BY_THE_RUN.get(key, ())}
        unknown = sorted(map(str, node.keys() - known)) if key != "data" else []
        if not taken.takes_any:
            yield from (f"{key}.{name}: {taken.name} has no such argument" for name in unknown)
        yield from _wrong_values(node, key, taken)
    for name, value in node.items():
        yield from argument_problems(value, f"{key}.{name}" if key else str(name))


def _wrong_values(node: Mapping[str, Any], key: str, taken: Signature) -> Iterator[str]:
    """Values of a type that their argument does not accept; objects check their own arguments."""
    ours = taken.name.startswith("seqpipe.")
    for name, rule in taken.rules.items():
        value = node.get(name)
        if name not in node or (isinstance(value, Mapping) and "_target_" in value):
            continue
        fault = None if rule is None else rule.fault(value)
        if rule is None and ours and value is not None:  # an object, made by a _target_ of its own
            fault = "wrong type; allowed: a mapping with _target_"
        if fault is not None:
            yield f"{key}.{name}={shown(value)}: {fault}"


def keys_of_the_run(config: Mapping[str, Any]) -> list[str]:
    """List recorded keys that only a run can fill in, such as the folder of its checkpoints."""
    found = []
    for key, node in targets(config):
        group = key.partition(".")[0]
        names = {"_args_", "_recursive_"}
        if group in ("callbacks", "logger", "trainer"):
            names |= set(GIVEN_BY_THE_RUN[group])
        found += [f"{key}.{name}" for name in node if name in names]
    return found


def named_data(config: Mapping[str, Any]) -> list[str]:
    """List the files and data sets that a configuration reads, as `data.path=x.csv`.

    Generated data and data of a package name none.
    """
    data = config.get("data")
    data = data if isinstance(data, Mapping) else {}
    named = []
    if any(_reads_files(node, key) for key, node in targets(data.get("source"), "data.source")):
        named += [
            f"{key}={value}"
            for key, value in _texts(data, "data")
            if key.rpartition(".")[2] in _DATA_KEYS and not key.startswith(("data.x.", "data.y."))
        ] or ["data.source"]
    for key, value in _texts(data, "data"):
        if key.startswith(("data.x.", "data.y.")) and key.rpartition(".")[2] in FILES_OF_FIELDS:
            named.append(f"{key}={value}")
    if config.get("resume") is not None:
        named.append(f"resume={config['resume']}")
    return named


def _reads_files(node: Mapping[str, Any], key: str) -> bool:
    """True if a source may read files that its node names."""
    made = part(str(node["_target_"]), key)
    if made is None or not issubclass(made, Source):
        return True
    return made.inputs is not Source.inputs and not made.bundled


def check_data(
    found: RunRecord,
    config: Mapping[str, Any],
    root: Path,
    *,
    own_data: bool,
    typed: Sequence[str] = (),
    instead: str,
) -> None:
    """Refuse to read files that another person's record names.

    Args:
        found: the run.
        config: the configuration that names the files.
        root: the folder the user works in.
        own_data: the user allows it.
        typed: the user's own overrides, `data.path=x.csv`; relative names are below such a path.
        instead: other allowed ways, for the message.

    Raises:
        ConfigError: the configuration names files or data sets.
        DataError: the recorded configuration cannot be read.
    """
    if own_data or found.is_own(root):
        return
    named = named_data(config)
    if typed:
        values = {one.partition("=")[2] for one in typed}
        named = [one for one in named if one.partition("=")[2] not in values]
        if any(one.lstrip("+").startswith("data.path=") for one in typed):
            named = [one for one in named if is_elsewhere(one.partition("=")[2])]
    if named:
        shown = ", ".join(named[:_SHOWN])
        text = f"was not trained from this folder, and its record names files to read ({shown})"
        allowed = f"{_own_key(named) if instead else ''}{instead}own_data=true, if you trust them"
        raise ConfigError(f"{found.typed}: {text}; allowed: {allowed}")


def _own_key(named: Sequence[str]) -> str:
    """The key by which users can name data of their own instead."""
    keys = [one.partition("=")[0] for one in named if one.startswith("data.") and "=" in one]
    key = "data.path" if "data.path" in keys else next(iter(keys), None)
    return f"{key}=... of yours, " if key else ""


def check_companions(config: Mapping[str, Any], root: Path, *, own_data: bool) -> None:
    """Refuse files that another person's model names and that are read beside the input.

    Args:
        config: the model's configuration.
        root: the folder the user works in.
        own_data: the user allows it.

    Raises:
        ConfigError: the configuration names such files.
    """
    if own_data or is_own(root, config):
        return
    named = [
        f"{key}={value}"
        for key, value in _texts(config["data"].get("source"), "data.source")
        if key.rpartition(".")[2] not in _REPLACED and is_elsewhere(value)
    ]
    if named:
        text = "the model was not trained here, and its record names other files to read"
        allowed = "own_data=true, if you trust them"
        raise ConfigError(f"run: {text} ({', '.join(named[:_SHOWN])}); allowed: {allowed}")


def command_words(command: str) -> list[str]:
    """Return the words after `python -m seqpipe`; none if the record of the command is cut off."""
    try:
        words = shlex.split(command)
    except ValueError:  # cut off: the store keeps a limited number of characters
        return []
    return words[len(_START) :] if words[: len(_START)] == _START else []


def is_plain_command(words: Sequence[str]) -> bool:
    """True if the words name only packaged options and plain values.

    Such words can be composed without running any code: they have no interpolation, no `_target_`
    and no option of another folder, and add no folder to search.
    """
    if any(word.startswith("-") for word in words):
        return False
    try:
        parsed, unreadable = parse(with_slashes(words))
    except ConfigError:
        return False
    return not unreadable and all(map(_is_plain_override, parsed))


def _is_plain_override(one: Any) -> bool:
    key = str(one.key_or_group)
    if one.package is not None or one.is_sweep_override() or not _KEY.fullmatch(key):
        return False
    value = None if one.is_delete() else one.value()
    try:
        check_plain(value)
    except BadRecordError:
        return False
    if "_target_" in key.split(".") or "_target_" in str(value):
        return False
    if (conf_dir() / key).is_dir():
        options = value if isinstance(value, list) else [value]
        return all(one is None or _OPTION.fullmatch(str(one)) for one in options)
    return True


def option_name(name: object) -> str | None:
    """The recorded name of an option; None if it is a path or no name at all."""
    return name if isinstance(name, str) and _OPTION.fullmatch(name) else None


@functools.cache
def _packaged_targets() -> frozenset[tuple[str, str, bool]]:
    """(place, `_target_`, partial) of every node of the packaged options."""
    found = set()
    for file in conf_dir().rglob("*.yaml"):
        text = file.read_text(encoding="utf-8")
        node = yaml.safe_load(text)
        group = file.parent.relative_to(conf_dir()).as_posix().replace("/", ".")
        whole = group == "." or "@package _global_" in text.partition("\n")[0]
        found |= {_place(key, one) for key, one in targets(node, "" if whole else group)}
    return frozenset(one for one in found if not one[0].startswith(("hydra", "sweep")))


def _place(key: str, node: Mapping[str, Any]) -> tuple[str, str, bool]:
    at = re.sub(r"^callbacks\.[^.]+", "callbacks.*", key)
    return at, str(node["_target_"]), bool(node.get("_partial_", False))


def _texts(node: Any, key: str) -> Iterator[tuple[str, str]]:
    """(key, value) of every text; items of a list have the key of the list."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from _texts(value, f"{key}.{name}")
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _texts(value, key)
    elif isinstance(node, str):
        yield key, node
