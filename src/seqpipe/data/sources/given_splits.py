"""Given splits: data that comes divided into train, valid and test.

Splits are given where, of names beside each other, one means train and another one valid or test
(`split_names` knows the words for them). The names may be those of files, of folders, of the arrays
in a file, or the values of a column.

They are used where `data.source.train` is one folder, or one file of several arrays, and it is
certain which files belong to which split (`FolderSplits.are_certain`). Each given split then
replaces a share of train; files that were typed for valid or test are kept.

Otherwise (several files, a pattern, a file with those of other splits beside it, a column) they are
not used, and a warning says so and how to use them.
"""

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seqpipe.data.base import SPLITS
from seqpipe.data.sources.split_names import group_by_split, split_of, splits_of, without_split
from seqpipe.errors import first_of
from seqpipe.files import is_file, is_folder


@dataclass(frozen=True)
class GivenSplits:
    """The given splits that are used, and warnings about these and those that are not.

    Args:
        names: split -> the files, folders or arrays that it is read from.
        warnings: for people.
    """

    names: Mapping[str, str | list[str]] = field(default_factory=dict)
    warnings: Sequence[str] = ()


class FolderSplits:
    """The given splits in a folder.

    The folder is searched from the top down. Where the entries of one place are called by splits,
    all that lies in them belongs to these splits; other entries are searched in the same way.

    Args:
        folder: to search.
        files: of it, at any depth, those that a source takes.

    Attributes:
        found: split -> the outermost folders and files that are called by it.
        places: the folders in which those lie.
        rest: files that are in no split.
    """

    def __init__(self, folder: Path, files: Iterable[Path]) -> None:
        self.folder = folder
        self.found: dict[str, list[Path]] = {}
        self.places: list[Path] = []
        self.rest: list[Path] = []
        self._train_depths: set[int] = set()  # how deep files lie in what is called train
        self._search(folder, sorted(files))

    def _search(self, place: Path, files: list[Path]) -> None:
        depth = len(place.parts)
        entries: dict[str, list[Path]] = {}  # the name of a file or folder -> its files
        for file in files:
            entries.setdefault(file.parts[depth], []).append(file)
        splits = group_by_split(entries)
        if splits:
            self.places.append(place)
        for split, names in splits.items():
            self.found.setdefault(split, []).extend(place / name for name in names)
            if split == "train":
                inside = [file for name in names for file in entries[name]]
                self._train_depths |= {len(file.parts) - depth - 1 for file in inside}
        named = {name for names in splits.values() for name in names}
        for name, inside in entries.items():
            if name in named:
                continue
            if inside == [place / name]:  # a file
                self.rest += inside
            else:
                self._search(place / name, inside)

    def are_certain(self, class_depth: int) -> bool:
        """True where it is certain which files belong to which split.

        Args:
            class_depth: how many parts of a path the folder of a class starts, 2 for `class/file`;
                0 where folders are no classes. A class may be called train, too, and each class
                may hold a folder for each split.
        """
        if not self.found:
            return False
        train_depth = min(self._train_depths)
        if train_depth == 0:  # files, not folders, are called by splits
            return not self.rest
        if class_depth == 0:
            return True
        if len(self.places) > 1:  # in the folders of the classes
            return False
        nothing_else = all(file.parent == self.folder for file in self.rest)
        may_be_class = train_depth < class_depth
        return nothing_else or (self.places == [self.folder] and not may_be_class)


def find_in_folder(
    folder: Path, train: str, files: Iterable[Path], shares: Collection[str], class_depth: int
) -> GivenSplits:
    """The given splits of a folder that `data.source.train` names.

    Args:
        folder: to search.
        train: its name, as typed.
        files: of it, at any depth, those that a source takes.
        shares: the splits that were not typed.
        class_depth: see `FolderSplits.are_certain`.
    """
    splits = FolderSplits(folder, files)
    if not splits.are_certain(class_depth):
        merged = warn_merged(train, splits.found, shares)
        return GivenSplits(warnings=merged or warn_unread_beside(folder, shares))
    names = {
        split: [str(Path(train) / path.relative_to(folder)) for path in splits.found[split]]
        for split in ("train", *shares)
        if split in splits.found
    }
    warning = warn_used(folder, names, shares)
    if splits.rest:
        warning += f"; not read: {splits.rest[0]} and {len(splits.rest) - 1} more"
    read = {split: paths if len(paths) > 1 else paths[0] for split, paths in names.items()}
    return GivenSplits(read, [warning])


def shares_of(whole: str, splits: Iterable[str]) -> str:
    """A half-sentence for warnings: `valid and test are shares of train`."""
    listed = list(splits)
    return f"{' and '.join(listed)} {'is a share' if len(listed) == 1 else 'are shares'} of {whole}"


def warn_used(key: object, found: Mapping[str, object], shares: Collection[str]) -> str:
    """A warning that given splits are used.

    Args:
        key: the folder or file that holds them.
        found: split -> what it is read from.
        shares: the splits that were not typed.
    """
    shown = ", ".join(f"{split}: {_shown(found[split])}" for split in SPLITS if split in found)
    left = [split for split in SPLITS if split in shares and split not in found]
    share = f"; {shares_of('train', left)}" if left else ""
    return f"{key} holds given splits, which are used ({shown}){share}"


def warn_merged(
    train: object, found: Mapping[str, Sequence[Path]], shares: Collection[str]
) -> list[str]:
    """A warning that files are merged although their names mean splits; none without such names.

    Args:
        train: names all of them, as typed.
        found: split -> the files and folders that are called by it.
        shares: the splits that were not typed.
    """
    if not found:
        return []
    common = os.path.commonpath([path.parent for paths in found.values() for path in paths])
    names = {s: [os.path.relpath(p, common) for p in found[s]] for s in SPLITS if s in found}
    shown = ", ".join(f"{split}: {_shown(names[split])}" for split in names)
    text = f"holds files that look like given splits ({shown}); all files are merged"
    by = f", and {shares_of('the whole', shares)}" if shares else " in train"
    typed = f"[{','.join(map(str, train))}]" if isinstance(train, list) else train
    use = "data.source.train=FILE data.source.test=FILE uses the given splits"
    return [f"data.source.train={typed}: {text}{by}; {use}"]


def warn_unused(train: object, files: Collection[Path], shares: Collection[str]) -> list[str]:
    """Warnings about the given splits of files that are read as one, or beside them.

    Args:
        train: names all of them, a list or a pattern, as typed.
        files: that it names.
        shares: the splits that were not typed.
    """
    absolute = sorted({file.absolute() for file in files})
    if not absolute:
        return []
    common = Path(os.path.commonpath([file.parent for file in absolute]))
    if found := FolderSplits(common, absolute).found:
        return warn_merged(train, found, shares)
    return warn_unread_beside(absolute[0], shares) or warn_unread_beside(common, shares)


def warn_unread_inside(
    place: Path, inside: Mapping[str, object], shares: Collection[str]
) -> list[str]:
    """A warning that the file of an array called train holds other splits, which are not read.

    Args:
        place: `rolls.mat/traindata`.
        inside: split -> the arrays of the file that hold it.
        shares: the splits that were not typed.
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
    return [
        f"{place}: {names} is not read; {shares_of('train', shares)}; {use} uses the given splits"
    ]


def warn_unread_beside(place: Path, shares: Collection[str]) -> list[str]:
    """A warning that other splits beside the only file or folder of train are not read.

    Beside `corpus.csv` or `corpus_train.csv` that is `corpus_test.csv`, beside the folder `train`
    or a file in it, the folder `test`.

    Args:
        place: the file or folder.
        shares: the splits that were not typed.
    """
    place = place.absolute()
    names = _names_beside(place)
    splits = splits_of(names)
    may_be_train = splits.get(place.name, None if is_folder(place) else "train") == "train"
    if not may_be_train:
        return []
    unread = sorted(
        name
        for name in names
        if splits.get(name) in shares and _same_data(name, place.name) and name[0] != "."
    )
    if not unread:
        is_in_train = is_file(place) and split_of(place.parent.name) == "train"
        return warn_unread_beside(place.parent, shares) if is_in_train else []
    key = next(split for split in ("test", "valid") if split in {splits[n] for n in unread})
    text = f"{_shown(unread)} beside it is not read; {shares_of('train', shares)}"
    return [f"{place}: {text}; data.source.{key}=FILE uses the given split"]


def _names_beside(place: Path) -> list[str]:
    """The names of all files beside a file, itself included; or of all folders beside a folder."""
    with suppress(OSError):  # a folder that may be passed through, but not listed
        return [one.name for one in place.parent.iterdir() if one.is_dir() == place.is_dir()]
    return []


def _same_data(name: str, other: str) -> bool:
    """True for names that differ in their split and in numbers (of pieces) only."""
    one, two = (re.sub(r"\d+", "0", without_split(text).lower()) for text in (name, other))
    return one == two


_MOST_SPLITS = 8  # values of a column that names splits, as train1 and train2
_COLUMNS = frozenset(
    "split splits data_split dataset_split set subset data_set partition fold usage".split()
)


def split_columns(names: Iterable[object]) -> list[str]:
    """The columns that may name the split of each record."""
    return [name for name in names if isinstance(name, str) and name.lower() in _COLUMNS]


class SplitColumns:
    """A search for columns that name the split of each record."""

    def __init__(self) -> None:
        self._values: dict[str, set[str] | None] = {}  # None: not of a column of splits

    def watched(self, records: Iterable[Any]) -> Iterator[Any]:
        """The records, each noted as it passes."""
        for record in records:
            self.note(record)
            yield record

    def note(self, record: object) -> None:
        """Note the values of a record; of a DataError nothing."""
        if not isinstance(record, Mapping):
            return
        for name in split_columns(record):
            value, seen = record[name], self._values.setdefault(name, set())
            if seen is None or not isinstance(value, str) or len(seen | {value}) > _MOST_SPLITS:
                self._values[name] = None
            else:
                seen.add(value)

    def warnings(self, shares: Iterable[str]) -> list[str]:
        """Warnings that a column names the split of each record, and is not used."""
        warnings = []
        for name, values in self._values.items():
            named = group_by_split(values or ())
            if values and sum(map(len, named.values())) == len(values):
                text = f"names given splits ({_shown(sorted(values))}), which are not used"
                use = "to use them, name a file for each of data.source.train, valid and test"
                warnings.append(f"column {name}: {text}; {shares_of('all', shares)}; {use}")
        return warnings


def _listed(names: object) -> list[object]:
    return names if isinstance(names, list) else [names]


def _shown(names: object) -> str:
    return first_of([*map(str, _listed(names))], 3)
