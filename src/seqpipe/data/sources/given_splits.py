"""Splits that data comes with: folders, files, or arrays that are called train, valid and test."""

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from glob import glob
from pathlib import Path
from typing import Any

from seqpipe.data.base import SPLITS

_EVAL = "eval"  # the test split, or beside one of its own the one to validate on
_WORDS = {
    "train": "train|training|trainset|traindata",
    "valid": "valid|validation|validset|validdata|validate|val|valset|dev|devel|development|devset"
    "|testa",
    "test": "test|testing|testset|testdata|testb|holdout|heldout|held[_-]out",
    _EVAL: "eval|evaluation|evalset|evaldata",
}
_TOKENS = {  # Xtrain and train1 too
    split: re.compile(rf"(?:^|[^0-9a-z])[xy]?(?:{words})[xy]?\d*(?=$|[^0-9a-z])", re.IGNORECASE)
    for split, words in _WORDS.items()
}
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z][a-z])")  # of GunPointTrain
_SIGNS = "._- "
_TYPES = 5  # shown of the files that are not read


def _kind(name: str) -> str | None:
    spaced = _HUMP.sub("_", name)
    found = [split for split, token in _TOKENS.items() if token.search(spaced)]
    return found[0] if len(found) == 1 else None


def split_of(name: str) -> str | None:
    """The split that a name names; None where it names none, or several.

    >>> split_of("GunPoint_TRAIN.tsv"), split_of("dev"), split_of("testimony.txt")
    ('train', 'valid', None)
    """
    found = _kind(name)
    return "test" if found == _EVAL else found


def splits_of(names: Iterable[str]) -> dict[str, str]:
    """The splits that names beside each other say they hold, where they say one.

    >>> splits_of(["train", "dev", "eval"]), splits_of(["train", "test", "eval", "more"])
    ({'train': 'train', 'dev': 'valid', 'eval': 'test'}, \
{'train': 'train', 'test': 'test', 'eval': 'valid'})
    """
    kinds = {name: kind for name in names if (kind := _kind(name)) is not None}
    held = set(kinds.values())
    meant = "valid" if "test" in held and "valid" not in held else "test"
    return {name: meant if kind == _EVAL else kind for name, kind in kinds.items()}


def without_split(name: str) -> str:
    """A name without the word for its split: `a.csv` for `a_train.csv`."""
    name = _HUMP.sub("_", name)
    for token in _TOKENS.values():
        name = token.sub("", name)
    return name.strip(_SIGNS)


def split_of_array(name: str, wanted: str) -> str | None:
    """The split of an array that another one holds, by its name; None where it holds none.

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
    names = list(names)
    splits = splits_of(names)
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(splits.get(name, ""), []).append(name)
    return found if "train" in found and {"valid", "test"} & found.keys() else {}


class InFolder:
    """The folders and files of each split in a folder, at any depth.

    Where the folders or files that lie beside each other are called by splits, train among them,
    they hold given splits, and so does what lies in them.

    Args:
        folder: to look into.
        files: of it, at any depth, those that a source takes.

    Attributes:
        found: split -> the outermost folders and files that are called by it.
        places: folders that hold such folders and files.
        rest: files that are in no split.
    """

    def __init__(self, folder: Path, files: Iterable[Path]) -> None:
        self.folder = folder
        self.found: dict[str, list[Path]] = {}
        self.places: list[Path] = []
        self.rest: list[Path] = []
        self._depth: int | None = None  # parts of a path below those called train, the fewest
        self._look(folder, [(file, file.relative_to(folder).parts) for file in sorted(files)])

    def _look(self, place: Path, files: list[tuple[Path, tuple[str, ...]]]) -> None:
        """Files with what is left of their path from a place."""
        inside: dict[str, list[tuple[Path, tuple[str, ...]]]] = {}
        for file, parts in files:
            inside.setdefault(parts[0], []).append((file, parts[1:]))
        splits = by_split(inside)
        self.places += [place] if splits else []
        for split, names in splits.items():
            if split:
                self.found.setdefault(split, []).extend(place / name for name in names)
        below = [len(parts) for name in splits.get("train", []) for _, parts in inside[name]]
        self._depth = min([*below, *([] if self._depth is None else [self._depth])], default=None)
        for name in splits.get("", []) if splits else inside:
            deeper = [(file, parts) for file, parts in inside[name] if parts]
            self.rest += [file for file, parts in inside[name] if not parts]
            if deeper:
                self._look(place / name, deeper)

    def are_used(self, class_depth: int) -> bool:
        """True where it is plain which files belong to which split.

        Args:
            class_depth: parts of a path from the folder on that is called by a class: that may be
                train, or hold a folder for each split. 0: no folder is.
        """
        if not self.found:
            return False
        if not self._depth:  # files are called by splits
            return not self.rest
        below = [file for file in self.rest if file.parent != self.folder]
        if class_depth == 0:
            return True
        if self._depth < class_depth or len(self.places) > 1:
            return not below and len(self.places) == 1
        return not below or self.places == [self.folder]


def of_folder(
    folder: Path, train: str, files: Iterable[Path], shares: Collection[str], class_depth: int
) -> tuple[dict[str, str | list[str]], list[str]]:
    """The names of what a folder holds of each split, nothing where none is used; what to say.

    Args:
        folder: to look into.
        train: what names it, as typed.
        files: of it, at any depth, those that a source takes.
        shares: the splits that were not typed.
        class_depth: see `InFolder.are_used`.
    """
    inside = InFolder(folder, files)
    found, rest = inside.found, inside.rest
    if not inside.are_used(class_depth):
        return {}, merged(train, found, shares) or unread_beside(folder, shares)
    names = {
        split: [str(Path(train) / path.relative_to(folder)) for path in found[split]]
        for split in ("train", *shares)
        if split in found
    }
    unread = f"; not read: {rest[0]} and {len(rest) - 1} more" if rest else ""
    (text,) = used(folder, names, shares)
    return {s: n if len(n) > 1 else n[0] for s, n in names.items()}, [text + unread]


def typed_files(folder: Path, typed: Mapping[str, object]) -> set[Path]:
    """Files that were typed for valid and test.

    Args:
        folder: that names are relative to.
        typed: the names of each split, or its share.
    """
    names = [name for split in ("valid", "test") for name in _listed(typed[split])]
    return {folder / name for name in names if isinstance(name, str)}


def used(key: object, found: Mapping[str, object], shares: Collection[str]) -> list[str]:
    """A warning that given splits are used, and which.

    Args:
        key: that named them all, as typed.
        found: what each split is read from.
        shares: the splits that were not typed.
    """
    shown = ", ".join(f"{split}: {_shown(found[split])}" for split in SPLITS if split in found)
    left = [split for split in SPLITS if split in shares and split not in found]
    share = f"; {shares_of('train', left)}" if left else ""
    return [f"{key} holds splits, which are used ({shown}){share}"]


def shares_of(whole: str, splits: Iterable[str]) -> str:
    """`valid and test are shares of train`."""
    listed = list(splits)
    return f"{' and '.join(listed)} {'is a share' if len(listed) == 1 else 'are shares'} of {whole}"


def merged(train: object, found: Mapping[str, list[Path]], shares: Collection[str]) -> list[str]:
    """A warning that files are read as one although their names name splits; or nothing.

    Args:
        train: what names them all, as typed.
        found: split -> what is called by it.
        shares: the splits that are a share of train.
    """
    if not found:
        return []
    parents = [path.parent for paths in found.values() for path in paths]
    common = os.path.commonpath(parents)
    names = {s: [os.path.relpath(p, common) for p in found[s]] for s in SPLITS if s in found}
    shown = ", ".join(f"{split}: {_shown(names[split])}" for split in names)
    text = f"holds what looks like given splits ({shown}); all are merged"
    by = f", and {shares_of('the whole', shares)}" if shares else " in train"
    typed = f"[{','.join(map(str, train))}]" if isinstance(train, list) else train
    use = "data.source.train=FILE data.source.test=FILE uses given ones"
    return [f"data.source.train={typed}: {text}{by}; {use}"]


def named(place: Path, inside: Callable[[Path], tuple[list[Path], list[Path]]]) -> list[Path]:
    """The files that one name means.

    Args:
        place: a file, a folder or a pattern.
        inside: of a folder, the files that are taken, and others.
    """
    if place.is_dir():
        return inside(place)[0]
    return [place] if place.is_file() else sorted(map(Path, glob(str(place), recursive=True)))


def of_several(train: object, files: Collection[Path], shares: Collection[str]) -> list[str]:
    """Warnings about the splits of files that are read as one; or nothing.

    Args:
        train: what names them all, a list or a pattern, as typed.
        files: that it names.
        shares: the splits that are a share of them.
    """
    absolute = sorted({file.absolute() for file in files})
    if not absolute:
        return []
    common = Path(os.path.commonpath([file.parent for file in absolute]))
    found = InFolder(common, absolute)
    if found.found:
        return merged(train, found.found, shares)
    return unread_beside(absolute[0], shares) or unread_beside(common, shares)


def unread_inside(place: Path, inside: Mapping[str, object], shares: Collection[str]) -> list[str]:
    """A warning that a file holds other splits than the one that is trained on; or nothing.

    Args:
        place: `rolls.mat/traindata`.
        inside: what the file holds of each split.
        shares: the splits that are a share of train.
    """
    unread = {
        split: [str(place.parent / Path(str(name)).name) for name in _listed(inside[split])]
        for split in shares
        if split in inside
    }
    if split_of(place.name) != "train" or not unread:
        return []
    names = ", ".join(Path(name).name for listed in unread.values() for name in listed)
    use = " ".join(f"data.source.{split}={listed[0]}" for split, listed in unread.items())
    return [f"{place}: {names} is not read; {shares_of('train', shares)}; {use} uses given ones"]


def unread_beside(place: Path, shares: Collection[str]) -> list[str]:
    """A warning that the other splits of a file or folder are not read; or nothing.

    Args:
        place: all that is trained on.
        shares: the splits that are a share of it.
    """
    place = place.absolute()
    listed: list[str] = []
    with suppress(OSError):  # a folder that may be passed through, but not listed
        listed += [one.name for one in place.parent.iterdir() if one.is_dir() == place.is_dir()]
    splits = splits_of(listed)
    if splits.get(place.name, "train") != "train" or (place.is_dir() and place.name not in splits):
        return []
    beside = sorted(
        name
        for name in listed
        if splits.get(name) in shares and _same(name) == _same(place.name) and name[0] != "."
    )
    if not beside:
        above = place.parent  # corpus/train/a.csv and corpus/test/a.csv
        is_first = place.is_file() and split_of(above.name) == "train"
        return unread_beside(above, shares) if is_first else []
    text = f"{_shown(beside)} beside it is not read; {shares_of('train', shares)}"
    key = next(s for s in ("test", "valid") if s in {splits[name] for name in beside})
    return [f"{place}: {text}; data.source.{key}=FILE uses a given one"]


def _same(name: str) -> str:
    """The name without its split and the numbers of its pieces."""
    return re.sub(r"\d+", "0", without_split(name).lower())


def other_types(others: Iterable[Path], count: int, suffixes: Collection[str]) -> str:
    """The number of files in a folder whose types are not read, and the types; or nothing.

    Args:
        others: those files.
        count: of all files.
        suffixes: of those that are read.
    """
    types = Counter(file.suffix.lower() or "without an ending" for file in others)
    if not types:
        return ""
    shown = ", ".join(f"{number:,} {type_}" for type_, number in types.most_common(_TYPES))
    shown += ", ..." if len(types) > _TYPES else ""
    read = f"; read are *{', *'.join(suffixes)}" if suffixes else ""
    return f"{types.total():,} of {count:,} files are of other types and not read ({shown}){read}"


_MOST_SPLITS = 8  # by other names, as train1 and train2
_COLUMNS = frozenset(
    "split splits data_split dataset_split set subset data_set partition fold usage".split()
)


def split_columns(names: Iterable[object]) -> list[str]:
    """The columns that may name the split of each record."""
    return [name for name in names if isinstance(name, str) and name.lower() in _COLUMNS]


class SplitColumn:
    """Records that are iterated, and a search for a column that names their splits.

    Args:
        found: the records.
    """

    def __init__(self, found: Iterable[Any]) -> None:
        self.found = found
        self.values: dict[str, set[str] | None] = {}

    def __iter__(self) -> Iterator[Any]:
        for record in self.found:
            self.look(record)
            yield record

    def look(self, record: object) -> None:
        """Note the splits that a record names."""
        if not isinstance(record, Mapping):
            return
        for name in split_columns(record):
            value, seen = record[name], self.values.setdefault(name, set())
            if seen is None or not isinstance(value, str) or len(seen | {value}) > _MOST_SPLITS:
                self.values[name] = None
            else:
                seen.add(value)

    def remarks(self, shares: Iterable[str]) -> list[str]:
        """Warnings that a column names the split of each record and is not used; or nothing."""
        warnings = []
        for name, values in self.values.items():
            found = by_split(values or ())
            if found and "" not in found:
                text = f"names given splits ({_shown(sorted(values or ()))}), which are not used"
                use = "a file for each uses them, data.source.train, valid and test"
                warnings.append(f"column {name}: {text}; {shares_of('all', shares)}; {use}")
        return warnings


def _listed(names: object) -> list[object]:
    return names if isinstance(names, list) else [names]


def _shown(names: object) -> str:
    listed = _listed(names)
    return ", ".join(map(str, listed[:3])) + (", ..." if len(listed) > 3 else "")
