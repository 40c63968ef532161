"""Other data for a trained model: the data of its run, changed by keys such as `data.path=...`.

The recorded configuration is changed, not composed again from the recorded command: nothing that a
record holds is executed, and a field or a source of the user's own is no obstacle.
"""

import copy
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from seqpipe.config.adjustments import existing_folder
from seqpipe.config.compose import compose
from seqpipe.config.loader import Typed, parse
from seqpipe.config.signatures import signature_of
from seqpipe.config.unused_keys import OF_SHARES
from seqpipe.data.base import SPLITS
from seqpipe.data.sources.files import FileSource
from seqpipe.errors import ConfigError, did_you_mean
from seqpipe.inference.instantiate import Maker
from seqpipe.rules import Problem

_SHARE = 0.1
_LEAVE_OUT = "allowed: leave it out"
_NOT_OF_A_SOURCE = (  # keys of data that no source reads
    *("batch_size", "batch_tokens", "num_workers", "seed", "cache", "on_error"),
    *("max_length", "longer", "keep", "window", "eval_window", "bptt", "folds", "fold"),
)
_MAKER = Maker()  # a source of the user's own is not imported


@dataclass
class OtherData:
    """The data that a model is measured on.

    Args:
        data: the configuration of the data, changed.
        split: the split to read.
        whole: read all records of the split; if the split is a share of train, all of train.
    """

    data: dict[str, Any]
    split: str
    whole: bool

    @property
    def name(self) -> str:
        """The split; `all` if no share is drawn for it."""
        is_share = isinstance(_innermost(self.data["source"]).get(self.split), float)
        return "all" if self.whole and is_share else self.split


def change_data(config: dict[str, Any], typed: Sequence[str], split: str | None) -> OtherData:
    """Apply keys of the command line to the data of a run.

    Args:
        config: the run's configuration, resolved.
        typed: `data.path=...` and other keys of the data.
        split: the requested split; None: test, or the one that a key names files for.

    Raises:
        ConfigError: a key or value that the source does not take, or that nothing would read; a
            split that is only a share of the other data.
    """
    overrides, unreadable = parse(typed)
    if unreadable:
        raise ConfigError(list(map(str, unreadable)))
    change = _Change(copy.deepcopy(config["data"]))
    if any(override.key_or_group == "data" for override in overrides):
        other, _ = compose(typed)
        change.data["source"] = OmegaConf.to_container(other.data.source, resolve=True)
        change.is_other = True
    else:
        for override in sorted(overrides, key=lambda one: one.key_or_group != "data.path"):
            change.apply(override)
        if not change.problems:
            change.add_companions(_folder_of(config["data"]["source"]))
    problems = change.problems or list(_unread_keys(overrides, whole=change.is_other))
    if problems:
        raise ConfigError(problems)
    if change.is_other:
        change.data |= {"folds": None, "fold": None}
    split = split or change.split
    if change.is_other and isinstance(_innermost(change.data["source"]).get(split or ""), float):
        shares = f"{' '.join(typed)} is measured whole, and data.source.{split} is a share of it"
        allowed = f"leave it out, or data.source.{split}=FILE"
        raise ConfigError(f"split={split}: {shares}; allowed: {allowed}")
    return OtherData(change.data, split or "test", change.is_other)


def _unread_keys(overrides: Iterable[Typed], *, whole: bool) -> Iterator[str]:
    """Problems of keys that would change nothing; whole: all of the data is measured."""
    for override in overrides:
        key, name = override.key_or_group, override.key_or_group.rpartition(".")[2]
        if whole and key.startswith("data.source.") and name in OF_SHARES:
            text = f"all of the data is measured, so nothing is drawn; {_LEAVE_OUT}"
            yield f"{override.input_line}: {text}"
        if key == "data.seed":
            text = f"is of the order in training, a measurement has none; {_LEAVE_OUT}"
            yield f"{override.input_line}: {text}"
        if key in ("data.folds", "data.fold"):
            text = f"the run was trained on other folds than its own; {_LEAVE_OUT}"
            yield f"{override.input_line}: {text}"


@dataclass
class _Change:
    """The data of a run while keys are applied to it, one after the other.

    Args:
        data: the resolved configuration of the data; changed in place.
        split: the split for which a key named files.
        is_other: the records are no longer those of the run.
        typed: arguments of the source that were given.
        problems: messages about keys that cannot be applied.
    """

    data: dict[str, Any]
    split: str | None = None
    is_other: bool = False
    typed: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def apply(self, override: Typed) -> None:
        key, line = override.key_or_group, str(override.input_line)
        if override.is_sweep_override():
            self.problems.append(f"{line}: several values; allowed: one value, or a list, [a,b]")
            return
        if override.is_delete() or not key.startswith("data."):
            allowed = "allowed: data.path, data.source.*"
            self.problems.append(f"{line}: cannot be changed here; {allowed}")
            return
        value: Any = override.value()
        value = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        if isinstance(value, str) and "${" in value:
            self.problems.append(f"{line}: is no plain value; allowed: the value itself")
            return
        parts = self._place_of(key.split(".")[1:])
        fault = self._fault(parts, value)
        if fault is not None:
            self.problems.append(str(Problem(key, value, fault)))
        elif key == "data.path":
            self._set_path(value)
        elif parts[0] == "source":
            self._set_argument(parts[1:], value)
        else:
            self._set_option(parts, value)

    def _place_of(self, parts: list[str]) -> list[str]:
        """Where a key belongs: `source.train` is `source.local.train` if only that takes it."""
        node: Any = self.data
        for place, part in enumerate(parts[:-1]):
            node = node.get(part) if isinstance(node, dict) else None
            inner = _MAKER.inner_key(node) if part == "source" and isinstance(node, dict) else None
            known = inner is None or parts[place + 1] in _rules(node)
            if inner is not None and not known and _MAKER.source_class(node) is not None:
                return self._place_of([*parts[: place + 1], inner, *parts[place + 1 :]])
        return parts

    def _fault(self, parts: list[str], value: Any) -> str | None:
        """The problem of a key or its value; None if there is none, or it cannot be judged."""
        if parts == ["path"]:
            good = value is None or isinstance(value, (str, list))
            return None if good else "wrong type; allowed: a folder or file, or a list"
        node: Any = self.data
        for place, part in enumerate(parts):
            if not isinstance(node, dict):
                return None
            if _MAKER.source_class(node) is not None:
                rules = _rules(node)
                if part not in rules:
                    hint = did_you_mean(part, rules)
                    return f"unknown key; allowed: {', '.join(rules)}{hint}"
                rule = rules[part]
                if place == len(parts) - 1 and rule is not None:
                    fault: str | None = rule.fault(value)
                    return fault
            elif "_target_" not in node and part not in node:
                where = f"the run's data has {', '.join(node)}{did_you_mean(part, node)}"
                return None if place > 1 else f"unknown key; {where}"
            node = node.get(part)
        return None

    def _set_path(self, path: Any) -> None:
        """Apply `data.path`: files to read whole, or a folder with files named as the run's are."""
        source, node = self.data["source"], _innermost(self.data["source"])
        path = existing_folder(source.get("default_folder")) if path is None else path
        has_path, old = "path" in self.data, self.data.get("path")
        is_folder = has_path and not _names_files(path)
        self.is_other = True
        inner = _MAKER.inner_key(source)
        if has_path and inner is not None and source[inner].get("_partial_"):
            if is_folder:
                source["path"] = self.data["path"] = path
                return
            # The source of the files themselves, without the name of the set.
            node = {k: v for k, v in node.items() if k != "_partial_"}
            self.data["source"] = node
        elif has_path and node.get("train") == old:
            self._read_whole(node, path, node.get("path"))
            return
        elif is_folder and node.get("path") == old and node.get("train") != ".":
            node["path"] = self.data["path"] = path
            return
        self._read_whole(node, path, None)

    def _read_whole(self, node: dict[str, Any], train: Any, path: Any) -> None:
        """Name all files as train; valid and test are shares, hence name no files."""
        node |= {"train": train, "valid": _SHARE, "test": _SHARE, "path": path}
        self.data["path"] = train

    def _set_argument(self, parts: list[str], value: Any) -> None:
        """Apply `data.source.NAME`, an argument of the source or of one inside it."""
        node: Any = self.data["source"]
        innermost, name = _innermost(node), parts[-1]
        self.typed.add(name)
        for part in parts[:-1]:
            node = node.setdefault(part, {})
        is_innermost = node is innermost
        self.is_other |= is_innermost and name in ("path", "name")
        if is_innermost and name in SPLITS and not isinstance(value, float):
            if _is_file(node.get("path")):  # no folder that names are relative to
                node |= {"train": node["path"], "path": None}
            if name != "train":
                self.is_other, self.split = True, "test" if self.split == "test" else name
            elif self.split is None:
                self.is_other = True
                node |= {"valid": _SHARE, "test": _SHARE}
        node[name] = value

    def _set_option(self, parts: list[str], value: Any) -> None:
        """Apply `data.NAME`; in the source, values taken from it by `${data.NAME}` change too."""
        node: Any = self.data
        for part in parts[:-1]:
            node = node[part]
        old, node[parts[-1]] = node.get(parts[-1]), value
        if parts[0] not in _NOT_OF_A_SOURCE:
            replaced = _replace(self.data["source"], old, value)
            self.is_other |= replaced != self.data["source"] and parts[-1] != "column"
            self.data["source"] = replaced

    def add_companions(self, old: str | None) -> None:
        """Use annotations and labels beside the new files, unless they were given.

        Args:
            old: the folder that the names of the run's files are relative to.
        """
        node = _innermost(self.data["source"])
        made, folder = _MAKER.source_class(node), _folder_of(self.data["source"])
        names = node.get(self.split or "train")
        names = node.get("train") if isinstance(names, float) else names
        if not (self.is_other and isinstance(names, (str, list))):
            return
        if made is None or not issubclass(made, FileSource):
            return
        names = [names] if isinstance(names, str) else names
        listed = [str(Path(folder or ".") / name) for name in names]
        for key, files in made.companions_of(node, listed, Path(old or ".")).items():
            if key not in self.typed:
                node[key] = _relative_to(folder, files)


def _replace(node: Any, old: Any, new: Any) -> Any:
    """A node in which a value, or a text within names, is replaced."""
    if isinstance(node, dict):
        return {k: v if k == "_target_" else _replace(v, old, new) for k, v in node.items()}
    if isinstance(node, list):
        return [_replace(value, old, new) for value in node]
    if node == old and type(node) is type(old) and old is not None:
        return new
    if isinstance(node, str) and isinstance(old, str) and len(old) > 2 and isinstance(new, str):
        return node.replace(old, new)
    return node


def _rules(node: Mapping[str, Any]) -> Mapping[str, Any]:
    return signature_of(str(node["_target_"])).rules


def _innermost(source: dict[str, Any]) -> dict[str, Any]:
    """The source that names the files: the chosen one of a named set, the table of sounds."""
    inner = _MAKER.inner_key(source)
    return source if inner is None else _innermost(source[inner])


def _folder_of(source: dict[str, Any]) -> str | None:
    """The folder that the names of a source's files are relative to."""
    path = _innermost(source).get("path") or source.get("path")
    return path if isinstance(path, str) else None


def _relative_to(folder: str | None, names: str | list[str] | None) -> str | list[str] | None:
    if folder is None or names is None:
        return names
    if isinstance(names, str):
        return os.path.relpath(names, folder)
    return [os.path.relpath(name, folder) for name in names]


def _is_file(path: Any) -> bool:
    return isinstance(path, str) and Path(path).is_file()


def _names_files(path: Any) -> bool:
    """True for a list, a pattern and an existing file; false for a folder."""
    if not isinstance(path, str):
        return isinstance(path, list)
    return any(mark in path for mark in "*?[") or _is_file(path)
