"""`data.path`: the files to train on, or the folder that names are relative to."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from seqpipe.config.config_view import Tree

_PATH = "${data.path}"


def settle_path(cfg: DictConfig) -> None:
    """Makes `data.path` fit the source of a composed configuration; a second time changes nothing.

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
        if path in (None, "???") and "data.path" not in tree.references():
            cfg.data.path = None  # OmegaConf cannot delete what is missing
            del cfg.data["path"]
        for key in ("data.source", "data.source.source"):
            if tree.raw(f"{key}.path") == _PATH and _is_train(path, tree, key):
                OmegaConf.update(cfg, f"{key}.train", _PATH)
                OmegaConf.update(cfg, f"{key}.path", None)


def _is_train(path: Any, tree: Tree, source: str) -> bool:
    """True where files are given in place of a folder, and what to take of one was not typed."""
    train = tree.raw(f"{source}.train")
    if not isinstance(train, str) or not (train == "." or "*" in train):
        return False
    if isinstance(path, list):
        return True
    named = [split for split in ("valid", "test") if isinstance(tree.raw(f"{source}.{split}"), str)]
    return isinstance(path, str) and _is_file(path) and ("*" in train or bool(named))


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False
