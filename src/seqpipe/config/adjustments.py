"""Adjustments of a composed configuration: replaced classes, data.path, what `auto` means."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from seqpipe.config.config_view import Tree
from seqpipe.config.key_names import SPECIAL
from seqpipe.config.schema import GIVEN_BY_THE_RUN, TAKEN_BY_THE_RUN
from seqpipe.config.signatures import TargetError, signature_of
from seqpipe.files import is_file, is_folder

_TARGET = "._target_"
_PATH = "${data.path}"
_X = "data.x"
_DECODER = "architecture.decoder.bidirectional"
_TEXT, _SPELLED = "seqpipe.data.fields.text.Text", "seqpipe.data.fields.spelling.Spelled"


def drop_inherited(cfg: DictConfig, overrides: Iterable[str]) -> None:
    """Remove what a new class does not take from the keys that the option gave to the old one.

    `data.source._target_=...` replaces the class and leaves the keys written for the one before it.
    Those that the new class does not take, or of another type, are removed; what was typed stays.
    `data.x.by=spelled` replaces the class as well.

    Args:
        cfg: the composed configuration, which is changed.
        overrides: what was typed, `data.source._target_=mine.Source`.
    """
    typed = {line.lstrip("+~").partition("=")[0] for line in overrides}
    replaced = {name.removesuffix(_TARGET) for name in typed if name.endswith(_TARGET)}
    replaced |= _spelled(cfg)
    tree = Tree(cfg)
    for key in sorted(replaced):
        written = tree.raw(key)
        if not isinstance(written, dict):
            continue
        node = OmegaConf.select(cfg, key)
        kept = {*SPECIAL, *TAKEN_BY_THE_RUN.get(key, ())}
        kept |= set(GIVEN_BY_THE_RUN.get(key.partition(".")[0], ()))
        try:
            signature = signature_of(str(tree.get(f"{key}{_TARGET}")))
        except TargetError:  # reported where the values are checked
            continue
        for name, value in {str(name): value for name, value in written.items()}.items():
            if name in kept or any(f"{one}.".startswith(f"{key}.{name}.") for one in typed):
                continue
            rule = signature.rules.get(name)
            unknown = name not in signature.rules and not signature.takes_any
            interpolated = isinstance(value, str) and "${" in value
            if unknown or not (rule is None or interpolated or rule.accepts(value)):
                with open_dict(node):
                    del node[name]


def _spelled(cfg: DictConfig) -> set[str]:
    """Name the field of spelled words where a text is to be read so. Returns the changed keys."""
    written = Tree(cfg).raw(_X)
    if not isinstance(written, dict) or written.get("_target_") != _TEXT:
        return set()
    if written.get("by") != "spelled":
        return set()
    OmegaConf.select(cfg, _X).update({"_target_": _SPELLED, "by": "words"})
    return {_X}


def settle(cfg: DictConfig) -> None:
    """Writes what a composed configuration leaves open; a second time changes nothing.

    Args:
        cfg: the whole configuration, interpolations unresolved; changed in place.
    """
    _settle_path(cfg)
    _settle_direction(cfg)


def _settle_path(cfg: DictConfig) -> None:
    """Makes `data.path` fit the source of a composed configuration; a second time changes nothing.

    Where it is null and the source has a default folder that exists, it is that folder.
    Where `data.source.train` was given in its place, nothing reads it, and it need not be there.
    Where a source reads it as a folder and takes everything in it, or what fits a pattern, files
    in its place are what it trains on: several, or one beside files to validate and to test on.

    Args:
        cfg: the whole configuration, interpolations unresolved; changed in place.
    """
    tree = Tree(cfg)
    if not tree.has("data.path"):
        return
    path = tree.raw("data.path")
    with open_dict(cfg):
        if path is None and tree.raw("data.source.path") == _PATH:
            path = existing_folder(tree.get("data.source.default_folder"))
            cfg.data.path = path
        if path in (None, "???") and "data.path" not in tree.references():
            cfg.data.path = None  # OmegaConf cannot delete what is missing
            del cfg.data["path"]
        for key in ("data.source", "data.source.source"):
            if tree.raw(f"{key}.path") == _PATH and _is_train(path, tree, key):
                OmegaConf.update(cfg, f"{key}.train", _PATH)
                OmegaConf.update(cfg, f"{key}.path", None)


def existing_folder(name: Any) -> str | None:
    """A folder, relative to the current one, if it is given and exists; else None."""
    return name if isinstance(name, str) and is_folder(Path(name)) else None


def _settle_direction(cfg: DictConfig) -> None:
    """Writes what `bidirectional=auto` means: true where x may be read to its end before an answer.

    It is false for a stack that writes y, for lanes that carry the state forwards (`data.bptt`),
    and for an architecture without recurrence.

    Args:
        cfg: the whole configuration, interpolations unresolved; changed in place.
    """
    tree = Tree(cfg)
    if not tree.has("bidirectional") or tree.raw("bidirectional") != "auto":
        return
    writes = tree.has(_DECODER) and "${bidirectional}" in str(tree.raw(_DECODER))
    lanes = tree.has("data.bptt") and tree.get("data.bptt") is not None
    with read_write(cfg):
        cfg.bidirectional = "bidirectional" in tree.references("architecture") and not (
            writes or lanes
        )


def settle_monitor(cfg: DictConfig, monitor: str) -> None:
    """Writes the metric that `task.monitor=auto` means; callbacks read it from there.

    Args:
        cfg: the whole configuration, which may be read-only; changed in place.
        monitor: `val/...`.
    """
    with read_write(cfg):
        cfg.task.monitor = monitor


def _is_train(path: Any, tree: Tree, source: str) -> bool:
    """True where files are given in place of a folder, and what to take of one was not typed."""
    train = tree.raw(f"{source}.train")
    if not isinstance(train, str) or not (train == "." or "*" in train):
        return False
    if isinstance(path, list):
        return True
    named = [split for split in ("valid", "test") if isinstance(tree.raw(f"{source}.{split}"), str)]
    return isinstance(path, str) and is_file(Path(path)) and ("*" in train or bool(named))
