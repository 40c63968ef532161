"""Other data for a trained model: the configuration of its source, changed by what was typed.

The source is made of the run's resolved configuration, not composed again: the command that a
record holds is not run, and a field or a source of the user's own is no obstacle.
"""

import copy
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from seqpipe.config.compose import compose
from seqpipe.config.loader import Typed, parse
from seqpipe.config.signatures import signature_of
from seqpipe.config.unused_keys import OF_SHARES
from seqpipe.data.base import SPLITS, Found, PlacedRecord, Source, Splits
from seqpipe.data.sources.files import FileSource
from seqpipe.errors import ConfigError, did_you_mean
from seqpipe.inference.instantiate import Maker
from seqpipe.rules import Problem

_OURS = "seqpipe.data.sources."
_SHARE = 0.1


@dataclass
class OtherData:
    """What is measured in place of the run's own split.

    Args:
        data: the configuration of the data, changed.
        split: which is read.
        whole: all records of that split, or where it is a share of train, all of train.
    """

    data: dict[str, Any]
    split: str
    whole: bool

    @property
    def name(self) -> str:
        """`test`, or `all` where no split is taken."""
        is_share = isinstance(_reading(self.data["source"]).get(self.split), float)
        return "all" if self.whole and is_share else self.split


class Counted(Source):
    """Another source of which one split is read, and the records of each file are counted.

    Args:
        source: that is read.
        split: the only one that has records.
        whole: see `OtherData`.
        counts: of each file; filled while it is read.
    """

    def __init__(self, source: Source, split: str, *, whole: bool, counts: dict[str, int]) -> None:
        self.source, self.split, self.is_whole, self.counts = source, split, whole, counts

    def read(self) -> Splits:
        """The one split; the others are empty."""
        if self.is_whole:
            found = self.source.whole(self.split)
        else:
            found = self.source.read().by_name()[self.split]
        views: dict[str, Iterable[Found]] = {split: [] for split in SPLITS}
        return Splits(**{**views, self.split: _Counting(found, self.counts)})

    def warnings(self) -> list[str]:
        """Those of the other source."""
        return self.source.warnings()

    def keep_together(self, columns: Sequence[str]) -> None:
        """Passed on to the other source."""
        self.source.keep_together(columns)


class _Counting:
    def __init__(self, found: Iterable[Found], counts: dict[str, int]) -> None:
        self.found, self.counts = found, counts

    def __iter__(self) -> Iterator[Found]:
        self.counts.clear()
        yield from counted(self.found, self.counts)


def counted(found: Iterable[Found], counts: dict[str, int]) -> Iterator[Found]:
    """The records, and in `counts` how many came from each file."""
    for one in found:
        if isinstance(one, PlacedRecord) and one.file is not None:
            name = str(one.file).partition(": ")[0]  # `rolls.mat: piece 3`
            counts[name] = counts.get(name, 0) + 1
        yield one


def told(counts: dict[str, int], left_out: int = 0) -> str:
    """`records read: 12 of a.csv, 30 of b.csv`, the first five files, and how many are not used."""
    listed = [f"{count:,} of {name}" for name, count in counts.items()]
    if len(listed) > 5:
        listed[5:] = [f"{sum([*counts.values()][5:]):,} of {len(listed) - 5} more files"]
    unused = f"; {left_out:,} could not be used and were left out" if left_out else ""
    return f"records read: {', '.join(listed)}{unused}" if counts else ""


def changed(config: dict[str, Any], typed: Sequence[str], split: str | None) -> OtherData:
    """The data of a run with what was typed.

    Args:
        config: of the run, resolved.
        typed: `data.path=...` and other keys of data.
        split: that was asked for; None: test.

    Raises:
        ConfigError: a key or value that the source does not take, or that nothing would read; a
            split that is only a share.
    """
    overrides, unreadable = parse(typed)
    if unreadable:
        raise ConfigError(list(map(str, unreadable)))
    chosen = [o for o in overrides if o.key_or_group == "data"]
    before: dict[str, Any] = copy.deepcopy(config["data"])
    if chosen:
        other, _ = compose(typed)
        node: Any = OmegaConf.to_container(other.data.source, resolve=True)
        _refuse_unread(overrides, whole=True)
        return _with_split({**before, "source": node}, split, typed, whole=True)
    change = _Change(before)
    for override in sorted(overrides, key=lambda one: one.key_or_group != "data.path"):
        change.apply(override)
    if not change.problems:
        _refuse_unread(overrides, whole=change.is_other)
    if change.problems:
        raise ConfigError(change.problems)
    change.find_companions(_path_of(config["data"]["source"]))
    return _with_split(change.data, split or change.split, typed, whole=change.is_other)


def _refuse_unread(overrides: Iterable[Typed], *, whole: bool) -> None:
    """Refuse keys that change nothing of what is measured.

    Args:
        overrides: that were typed.
        whole: nothing is drawn of the data, all of it is measured.

    Raises:
        ConfigError: with each of them.
    """
    problems = []
    for override in overrides:
        key, leave_out = override.key_or_group, "allowed: leave it out"
        if whole and key.startswith("data.source.") and key.rpartition(".")[2] in OF_SHARES:
            text = f"all of the data is measured, so nothing is drawn; {leave_out}"
            problems.append(f"{override.input_line}: {text}")
        if key == "data.seed":
            text = f"is of the order in training, a measurement has none; {leave_out}"
            problems.append(f"{override.input_line}: {text}")
    if problems:
        raise ConfigError(problems)


def _with_split(
    data: dict[str, Any], split: str | None, typed: Sequence[str], *, whole: bool
) -> OtherData:
    source = _reading(data["source"])
    if whole and split is not None and isinstance(source.get(split), float):
        shares = f"{' '.join(typed)} is measured whole, and data.source.{split} is a share of it"
        allowed = f"leave it out, or data.source.{split}=FILE"
        raise ConfigError(f"split={split}: {shares}; allowed: {allowed}")
    return OtherData(data, split or "test", whole)


def _reading(source: dict[str, Any]) -> dict[str, Any]:
    """The part of a source that names files: the local one of a named set, the table of sounds."""
    for inner in ("local", "source"):
        if isinstance(source.get(inner), dict):
            return _reading(source[inner])
    return source


@dataclass
class _Change:
    """Keys of data that change one after the other.

    Args:
        data: the resolved configuration of the data.
    """

    data: dict[str, Any]
    split: str | None = None
    is_other: bool = False
    typed: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def apply(self, override: Typed) -> None:
        """Change what one word says."""
        key, line = override.key_or_group, str(override.input_line)
        if override.is_sweep_override():
            self.problems.append(f"{line}: several values; allowed: one value, or a list, [a,b]")
            return
        if override.is_delete() or not key.startswith("data."):
            self.problems.append(
                f"{line}: cannot be changed here; allowed: data.path, data.source.*"
            )
            return
        value: Any = override.value()
        value = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        if isinstance(value, str) and "${" in value:
            text = "is no plain value; allowed: the value itself"
            self.problems.append(f"{line}: {text}")
            return
        parts = self._within(key.split(".")[1:])
        fault = self._fault(parts, value)
        if fault is not None:
            self.problems.append(str(Problem(key, value, fault)))
        elif key == "data.path":
            self._set_path(value)
        elif parts[0] == "source":
            self._set_of_source(parts[1:], value)
        else:
            self._set_knob(parts, value)

    def _within(self, parts: list[str]) -> list[str]:
        """A key of the part that names files, also where that lies in another source."""
        node: Any = self.data
        for place, part in enumerate(parts):
            if part == "source" and isinstance(node, dict) and place < len(parts) - 1:
                inner = _inner(node.get("source"), parts[place + 1])
                if inner is not None:
                    return self._within([*parts[: place + 1], inner, *parts[place + 1 :]])
            node = node.get(part) if isinstance(node, dict) else None
        return parts

    def _fault(self, parts: list[str], value: Any) -> str | None:
        """What is wrong with a key, or with its value; None for what cannot be judged."""
        if parts == ["path"]:
            good = value is None or isinstance(value, (str, list))
            return None if good else "wrong type; allowed: a folder or file, or a list"
        node: Any = self.data
        for place, part in enumerate(parts):
            target = node.get("_target_") if isinstance(node, dict) else None
            if isinstance(target, str) and target.startswith(_OURS):
                rules = signature_of(target).rules
                if part not in rules:
                    hint = did_you_mean(part, rules)
                    return f"unknown key; allowed: {', '.join(rules)}{hint}"
                rule = rules[part]
                if place == len(parts) - 1 and rule is not None:
                    return rule.fault(value)
            elif target is None and isinstance(node, dict) and part not in node:
                where = f"the run's data has {', '.join(node)}{did_you_mean(part, node)}"
                return None if place > 1 else f"unknown key; {where}"
            node = node.get(part) if isinstance(node, dict) else None
        return None

    def _set_path(self, new: Any) -> None:
        """Other files to read all of, or a folder where the names of the run's files are."""
        source, node = self.data["source"], _reading(self.data["source"])
        given, old = "path" in self.data, self.data.get("path")
        self.is_other = True
        if given and source is not node and "local" in source:
            if _names_files(new):  # the reading part itself, without the name of the set
                node = {k: v for k, v in node.items() if k != "_partial_"}
                self.data["source"] = node
            else:
                source["path"] = new
                self.data["path"] = new
                return
        elif given and node.get("train") != old and node.get("path") == old:
            if not _names_files(new) and node.get("train") != ".":
                node["path"] = self.data["path"] = new
                return
        elif node.get("train") == old and given:
            self._take(node, new, node.get("path"))
            return
        self._take(node, new, None)

    def _take(self, node: dict[str, Any], train: Any, path: Any) -> None:
        """Read all of some files; the shares only say that there are no others."""
        node |= {"train": train, "valid": _SHARE, "test": _SHARE, "path": path}
        self.data["path"] = train

    def _set_of_source(self, parts: list[str], value: Any) -> None:
        node: Any = self.data["source"]
        reading = _reading(node)
        name = parts[-1]
        self.typed.add(name)
        for part in parts[:-1]:
            node = node.setdefault(part, {})
        self.is_other |= node is reading and name in ("path", "name")
        if isinstance(value, float):  # another share of the run's own data
            node[name] = value
            return
        if node is reading and name in SPLITS and _is_file(node.get("path")):
            node |= {"train": node["path"], "path": None}  # no folder that names are relative to
        if node is reading and name in SPLITS and name != "train":
            self.is_other, self.split = True, "test" if self.split == "test" else name
        if node is reading and name == "train" and self.split is None:
            self.is_other = True
            node |= {"valid": _SHARE, "test": _SHARE}
        node[name] = value

    def find_companions(self, old: str | None) -> None:
        """Annotations and labels of other files stand beside these, unless they were typed.

        Args:
            old: folder that the names of the run's files are relative to.
        """
        node = _reading(self.data["source"])
        made = _class_of(node)
        names = node.get(self.split or "train")
        names = node.get("train") if isinstance(names, float) else names
        if made is None or not self.is_other or not isinstance(names, (str, list)):
            return
        folder = Path((path := _path_of(self.data["source"])) or ".")
        listed = [str(folder / name) for name in ([names] if isinstance(names, str) else names)]
        for key, found in made.companions_of(node, listed, Path(old or ".")).items():
            if key not in self.typed:
                node[key] = _seen_from(path, found)

    def _set_knob(self, parts: list[str], value: Any) -> None:
        """A key that the source reads by `${...}`: what held its value holds the new one."""
        node: Any = self.data
        for part in parts[:-1]:
            node = node[part]
        old, node[parts[-1]] = node.get(parts[-1]), value
        if parts[0] in _NOT_READ:
            return
        replaced = _replaced(self.data["source"], old, value)
        self.is_other |= replaced != self.data["source"] and parts[-1] != "column"
        self.data["source"] = replaced


_NOT_READ = (
    *("batch_size", "batch_tokens", "num_workers", "seed", "cache", "on_error"),
    *("max_length", "longer", "keep", "window", "eval_window", "bptt"),
)


def _replaced(node: Any, old: Any, new: Any) -> Any:
    """A node in which a value, or a text inside of names, is another one."""
    if isinstance(node, dict):
        return {k: v if k == "_target_" else _replaced(v, old, new) for k, v in node.items()}
    if isinstance(node, list):
        return [_replaced(value, old, new) for value in node]
    if node == old and type(node) is type(old) and old is not None:
        return new
    if isinstance(node, str) and isinstance(old, str) and len(old) > 2 and isinstance(new, str):
        return node.replace(old, new)
    return node


def _inner(source: Any, part: str) -> str | None:
    """`local` or `source`, where a key is one of the source in it and not of the outer one."""
    target = source.get("_target_") if isinstance(source, dict) else None
    if not (isinstance(target, str) and target.startswith(_OURS)):
        return None
    if part in signature_of(target).rules:
        return None
    return next((k for k in ("local", "source") if isinstance(source.get(k), dict)), None)


def _path_of(source: dict[str, Any]) -> str | None:
    """The folder that the names of a source are relative to; of a named set, its own."""
    path = _reading(source).get("path") or source.get("path")
    return path if isinstance(path, str) else None


def _class_of(node: dict[str, Any]) -> type[FileSource] | None:
    """The source of a configuration, where it is one of ours that reads files."""
    target = node.get("_target_")
    if not (isinstance(target, str) and target.startswith(_OURS)):
        return None
    made = Maker().find(target, "data.source")
    return made if isinstance(made, type) and issubclass(made, FileSource) else None


def _seen_from(folder: str | None, names: str | list[str] | None) -> str | list[str] | None:
    """Names relative to a folder, where there is one."""
    if folder is None or names is None:
        return names
    seen = [
        os.path.relpath(name, folder) for name in ([names] if isinstance(names, str) else names)
    ]
    return seen if isinstance(names, list) else seen[0]


def _is_file(path: Any) -> bool:
    return isinstance(path, str) and Path(path).is_file()


def _names_files(new: Any) -> bool:
    """True for a list, a pattern and a file that is there; false for a folder."""
    if not isinstance(new, str):
        return isinstance(new, list)
    return any(mark in new for mark in "*?[") or _is_file(new)
