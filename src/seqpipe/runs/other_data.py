"""Other data for a trained model: the configuration of its source, changed by the user's keys.

The source is made of the run's resolved configuration, not composed again: the command that a
record holds is not run, and a field or a source of the user's own is no obstacle.
"""

import copy
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from seqpipe.data.sources.splitting import Reread
from seqpipe.errors import ConfigError, did_you_mean
from seqpipe.inference.instantiate import Maker
from seqpipe.rules import Problem

_SHARE = 0.1
_LEAVE_OUT = "allowed: leave it out"
_OF_TRAINING = (  # keys of data that no source reads
    *("batch_size", "batch_tokens", "num_workers", "seed", "cache", "on_error"),
    *("max_length", "longer", "keep", "window", "eval_window", "bptt"),
)


@dataclass
class OtherData:
    """The data to measure in place of the run's own split.

    Args:
        data: the configuration of the data, changed.
        split: the one that is read.
        whole: all records of that split, or where it is a share of train, all of train.
    """

    data: dict[str, Any]
    split: str
    whole: bool

    @property
    def name(self) -> str:
        """`test`, or `all` where no split is drawn."""
        is_share = isinstance(_innermost(self.data["source"]).get(self.split), float)
        return "all" if self.whole and is_share else self.split


class Counted(Source):
    """One split of another source, whose records are counted by file.

    Args:
        source: that is read.
        split: the only one that has records.
        whole: see `OtherData`.
        counts: of each file; filled while it is read.
    """

    inner = "source"

    def __init__(self, source: Source, split: str, *, whole: bool, counts: dict[str, int]) -> None:
        self.source, self.split, self.is_whole, self.counts = source, split, whole, counts

    def read(self) -> Splits:
        """The one split; the others are empty."""
        if self.is_whole:
            found = self.source.whole(self.split)
        else:
            found = self.source.read().by_name()[self.split]

        def read() -> Iterator[Found]:
            self.counts.clear()
            return counted(found, self.counts)

        views: dict[str, Iterable[Found]] = {split: [] for split in SPLITS}
        return Splits(**{**views, self.split: Reread(read)})


def counted(found: Iterable[Found], counts: dict[str, int]) -> Iterator[Found]:
    """Yield the records, and count in `counts` how many came from each file."""
    for one in found:
        if isinstance(one, PlacedRecord) and one.file is not None:
            name = str(one.file).partition(": ")[0]  # `rolls.mat: piece 3`
            counts[name] = counts.get(name, 0) + 1
        yield one


def files_read(counts: dict[str, int], left_out: int = 0) -> str:
    """`records read: 12 of a.csv, 30 of b.csv`, the first five files, and how many are unused."""
    listed = [f"{count:,} of {name}" for name, count in counts.items()]
    if len(listed) > 5:
        listed[5:] = [f"{sum([*counts.values()][5:]):,} of {len(listed) - 5} more files"]
    unused = f"; {left_out:,} could not be used and were left out" if left_out else ""
    return f"records read: {', '.join(listed)}{unused}" if counts else ""


def changed(config: dict[str, Any], typed: Sequence[str], split: str | None) -> OtherData:
    """Apply the keys of the command line to the data of a run.

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
    change = _Change(copy.deepcopy(config["data"]))
    if any(override.key_or_group == "data" for override in overrides):
        other, _ = compose(typed)
        change.data["source"] = OmegaConf.to_container(other.data.source, resolve=True)
        change.is_other = True
    else:
        for override in sorted(overrides, key=lambda one: one.key_or_group != "data.path"):
            change.apply(override)
        if not change.problems:
            change.find_companions(_path_of(config["data"]["source"]))
    problems = change.problems or list(_unread(overrides, whole=change.is_other))
    if problems:
        raise ConfigError(problems)
    split = split or change.split
    if change.is_other and isinstance(_innermost(change.data["source"]).get(split or ""), float):
        shares = f"{' '.join(typed)} is measured whole, and data.source.{split} is a share of it"
        allowed = f"leave it out, or data.source.{split}=FILE"
        raise ConfigError(f"split={split}: {shares}; allowed: {allowed}")
    return OtherData(change.data, split or "test", change.is_other)


def _unread(overrides: Iterable[Typed], *, whole: bool) -> Iterator[str]:
    """Problems of keys that would change nothing; whole: all of the data is measured."""
    for override in overrides:
        key, name = override.key_or_group, override.key_or_group.rpartition(".")[2]
        if whole and key.startswith("data.source.") and name in OF_SHARES:
            text = f"all of the data is measured, so nothing is drawn; {_LEAVE_OUT}"
            yield f"{override.input_line}: {text}"
        if key == "data.seed":
            text = f"is of the order in training, a measurement has none; {_LEAVE_OUT}"
            yield f"{override.input_line}: {text}"


@dataclass
class _Change:
    """Changes of the data of a run, one key after the other.

    Args:
        data: the resolved configuration of the data.
        split: the one that a key gave other files.
        is_other: the files are no longer those of the run.
        typed: arguments of the source that were given.
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
        """`source.local.train` for `source.train`, where only the inner source takes that."""
        node: Any = self.data
        for place, part in enumerate(parts[:-1]):
            node = node.get(part) if isinstance(node, dict) else None
            inner = _inner_of(node) if part == "source" and isinstance(node, dict) else None
            known = inner is None or parts[place + 1] in _rules(node)
            if inner is not None and not known and _class_of(node) is not None:
                return self._within([*parts[: place + 1], inner, *parts[place + 1 :]])
        return parts

    def _fault(self, parts: list[str], value: Any) -> str | None:
        """The problem of a key or its value; None also where it cannot be judged."""
        if parts == ["path"]:
            good = value is None or isinstance(value, (str, list))
            return None if good else "wrong type; allowed: a folder or file, or a list"
        node: Any = self.data
        for place, part in enumerate(parts):
            if not isinstance(node, dict):
                return None
            if _class_of(node) is not None:
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

    def _set_path(self, new: Any) -> None:
        """Other files to read all of, or a folder that holds what the run's names stand for."""
        source, node = self.data["source"], _innermost(self.data["source"])
        given, old = "path" in self.data, self.data.get("path")
        folder = given and not _names_files(new)
        self.is_other = True
        inner = _inner_of(source)
        if given and inner is not None and source[inner].get("_partial_"):
            if folder:
                source["path"] = self.data["path"] = new
                return
            # The source of the files itself, without the name of the set.
            node = {k: v for k, v in node.items() if k != "_partial_"}
            self.data["source"] = node
        elif given and node.get("train") == old:
            self._take(node, new, node.get("path"))
            return
        elif folder and node.get("path") == old and node.get("train") != ".":
            node["path"] = self.data["path"] = new
            return
        self._take(node, new, None)

    def _take(self, node: dict[str, Any], train: Any, path: Any) -> None:
        """Read all of some files; the shares only say that there are no others."""
        node |= {"train": train, "valid": _SHARE, "test": _SHARE, "path": path}
        self.data["path"] = train

    def _set_of_source(self, parts: list[str], value: Any) -> None:
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

    def find_companions(self, old: str | None) -> None:
        """Use annotations and labels that are beside the new files, unless they were given.

        Args:
            old: folder that the names of the run's files are relative to.
        """
        node = _innermost(self.data["source"])
        made, path = _class_of(node), _path_of(self.data["source"])
        names = node.get(self.split or "train")
        names = node.get("train") if isinstance(names, float) else names
        if not (self.is_other and isinstance(names, (str, list))):
            return
        if made is None or not issubclass(made, FileSource):
            return
        folder = Path(path or ".")
        listed = [str(folder / name) for name in ([names] if isinstance(names, str) else names)]
        for key, found in made.companions_of(node, listed, Path(old or ".")).items():
            if key not in self.typed:
                node[key] = _relative_to(path, found)

    def _set_knob(self, parts: list[str], value: Any) -> None:
        """A key that the source reads by `${...}`: wherever its value was, the new one is put."""
        node: Any = self.data
        for part in parts[:-1]:
            node = node[part]
        old, node[parts[-1]] = node.get(parts[-1]), value
        if parts[0] not in _OF_TRAINING:
            replaced = _replaced(self.data["source"], old, value)
            self.is_other |= replaced != self.data["source"] and parts[-1] != "column"
            self.data["source"] = replaced


def _replaced(node: Any, old: Any, new: Any) -> Any:
    """A node in which a value, or a text inside of names, is replaced."""
    if isinstance(node, dict):
        return {k: v if k == "_target_" else _replaced(v, old, new) for k, v in node.items()}
    if isinstance(node, list):
        return [_replaced(value, old, new) for value in node]
    if node == old and type(node) is type(old) and old is not None:
        return new
    if isinstance(node, str) and isinstance(old, str) and len(old) > 2 and isinstance(new, str):
        return node.replace(old, new)
    return node


def _class_of(node: Mapping[str, Any]) -> type[Source] | None:
    """The class of a source; None for one of the user's own, which is not imported."""
    target = node.get("_target_")
    if not (isinstance(target, str) and target.startswith("seqpipe.data.sources.")):
        return None
    made: Any = Maker().find(target, "data.source")
    return made if isinstance(made, type) else None


def _rules(node: Mapping[str, Any]) -> Mapping[str, Any]:
    return signature_of(str(node["_target_"])).rules


def _inner_of(node: Mapping[str, Any]) -> str | None:
    """The argument of a source that holds another one, which names the files."""
    made = _class_of(node)
    key = "source" if made is None else made.inner
    return key if key is not None and isinstance(node.get(key), dict) else None


def _innermost(source: dict[str, Any]) -> dict[str, Any]:
    """The source that names the files: the chosen one of a named set, the table of sounds."""
    inner = _inner_of(source)
    return source if inner is None else _innermost(source[inner])


def _path_of(source: dict[str, Any]) -> str | None:
    """The folder that the names of a source are relative to; of a named set, its own."""
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


def _names_files(new: Any) -> bool:
    """True for a list, a pattern and an existing file; false for a folder."""
    if not isinstance(new, str):
        return isinstance(new, list)
    return any(mark in new for mark in "*?[") or _is_file(new)
