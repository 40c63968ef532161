"""Splits that data comes with: folders, files, or arrays that are called train, valid and test."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from seqpipe.data.base import SPLITS

_WORDS = {
    "train": "train|training|trainset|traindata",
    "valid": "valid|validation|validset|validdata|val|valset|dev|devel|devset",
    "test": "test|testing|testset|testdata",
}
_TOKENS = {
    split: re.compile(rf"(?:^|[._\- ])(?:{words})(?=$|[._\- ])", re.IGNORECASE)
    for split, words in _WORDS.items()
}


def split_of(name: str) -> str | None:
    """Which split a name says that it holds; None where it says none, or several.

    >>> split_of("GunPoint_TRAIN.tsv"), split_of("dev"), split_of("testimony.txt")
    ('train', 'valid', None)
    """
    found = [split for split, token in _TOKENS.items() if token.search(name)]
    return found[0] if len(found) == 1 else None


def without_split(name: str) -> str:
    """What is left of a name without the word for its split: `X_train` and `train_X` are X."""
    for token in _TOKENS.values():
        name = token.sub("", name)
    return name.strip("._- ")


def split_of_array(name: str, wanted: str) -> str | None:
    """Which split of an array another one holds, by its name; None where it is none of it.

    >>> [split_of_array(name, "X") for name in ("x_train", "testX", "Xval", "y_test", "max")]
    ['train', 'test', 'valid', None, None]
    """
    name, wanted = name.lower(), wanted.lower()
    for rest in (name.removeprefix(wanted), name.removesuffix(wanted)):
        if rest != name and not without_split(rest):
            return split_of(rest)
    return None


def without_split_of_array(name: str) -> str | None:
    """The array that one holds a split of, by its name; None where it names no split.

    >>> without_split_of_array("X_train"), without_split_of_array("trainX"), split_of("X")
    ('X', 'X', None)
    """
    words = "|".join(_WORDS.values())
    found = re.fullmatch(rf"(?:{words})[._\- ]*(.+?)|(.+?)[._\- ]*(?:{words})", name, re.IGNORECASE)
    return (found[1] or found[2]) if found else None


def by_split(names: Iterable[str]) -> dict[str, list[str]]:
    """The names of each split, those of none under ""; nothing without train and another one."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(split_of(name) or "", []).append(name)
    return found if "train" in found and {"valid", "test"} & found.keys() else {}


def in_folder(folder: Path, files: Iterable[Path]) -> tuple[dict[str, list[Path]], list[Path]]:
    """What a folder holds of each split, and what it holds besides.

    Folders that are called by a split are taken where there are some, else files.

    Args:
        folder: to look into, not below.
        files: of it, those that a source takes.
    """
    below = [f for f in sorted(folder.iterdir()) if f.is_dir() and f.name[0] != "."]
    folders = by_split(f.name for f in below)
    listed = sorted(files)
    if folders and "" not in folders:
        of_split = {s: [folder / name for name in names] for s, names in folders.items()}
        inside = [f for f in listed if f.parent != folder]
        return of_split, [f for f in listed if f not in inside]
    direct = [f for f in listed if f.parent == folder]
    found = by_split(f.name for f in direct)
    rest = [f for f in listed if f.parent != folder or split_of(f.name) is None]
    return {s: [folder / n for n in names] for s, names in found.items() if s}, rest


def told(key: str, found: Mapping[str, object]) -> str:
    """That given splits are used, and which.

    Args:
        key: that named them all, as typed.
        found: what each split is read from.
    """
    shown = ", ".join(f"{split}: {_shown(found[split])}" for split in SPLITS if split in found)
    left = [split for split in ("valid", "test") if split not in found]
    share = f"; {' and '.join(left)} is a share of train" if left else ""
    return f"{key} holds splits, which are used ({shown}){share}"


def merged(train: str, files: Iterable[Path]) -> list[str]:
    """That files are read as one although their names speak of splits; or nothing.

    Args:
        train: what names them all, as typed.
        files: that it names.
    """
    found = by_split(file.name for file in files)
    found.pop("", None)
    if not found:
        return []
    shown = ", ".join(f"{split}: {_shown(names)}" for split, names in found.items())
    text = (
        f"holds files that look like given splits ({shown}) and others; all are merged, and split"
    )
    return [f"data.source.train={train}: {text} by shares; data.source.test=FILE uses a given one"]


def unread_beside(file: Path) -> list[str]:
    """That the other splits of a file lie beside it and are not read; or nothing."""
    if split_of(file.name) != "train":
        return []
    beside = sorted(
        other.name
        for other in file.parent.iterdir()
        if other.is_file()
        and split_of(other.name) in ("valid", "test")
        and without_split(other.name).lower() == without_split(file.name).lower()
    )
    if not beside:
        return []
    text = f"{_shown(list(beside))} beside it is not read; valid and test are shares of train"
    return [f"{file}: {text}; data.source.test=FILE uses a given one"]


def _shown(names: object) -> str:
    listed = names if isinstance(names, list) else [names]
    return ", ".join(map(str, listed[:3])) + (", ..." if len(listed) > 3 else "")
