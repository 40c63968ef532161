"""Names of splits: which split a name means, of a file, a folder, an array or in a column."""

import re
from collections.abc import Iterable

_EVAL = "eval"  # the test split; beside one that is called test, the validation split
_WORDS = {
    "train": "train|training|trainset|traindata",
    "valid": "valid|validation|validset|validdata|validate|val|valset|dev|devel|development|devset"
    "|testa",
    "test": "test|testing|testset|testdata|testb|holdout|heldout|held[_-]out",
    _EVAL: "eval|evaluation|evalset|evaldata",
}
_PATTERNS = {  # also of Xtrain and train1
    kind: re.compile(rf"(?:^|[^0-9a-z])[xy]?(?:{words})[xy]?\d*(?=$|[^0-9a-z])", re.IGNORECASE)
    for kind, words in _WORDS.items()
}
_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z][a-z])")  # GunPointTrain: Gun, Point, Train
_SEPARATORS = "._- "


def _kind_of(name: str) -> str | None:
    """One of `_WORDS`; None where a name holds none of their words, or words of several."""
    separated = _WORD_START.sub("_", name)
    kinds = [kind for kind, pattern in _PATTERNS.items() if pattern.search(separated)]
    return kinds[0] if len(kinds) == 1 else None


def split_of(name: str) -> str | None:
    """The split that a name means; None where it means none, or several.

    >>> split_of("GunPoint_TRAIN.tsv"), split_of("dev"), split_of("testimony.txt")
    ('train', 'valid', None)
    """
    kind = _kind_of(name)
    return "test" if kind == _EVAL else kind


def splits_of(names: Iterable[str]) -> dict[str, str]:
    """The split that each of several names beside each other means, where it means one.

    >>> splits_of(["train", "dev", "eval"]), splits_of(["train", "test", "eval", "more"])
    ({'train': 'train', 'dev': 'valid', 'eval': 'test'}, \
{'train': 'train', 'test': 'test', 'eval': 'valid'})
    """
    kinds = {name: kind for name in names if (kind := _kind_of(name)) is not None}
    present = set(kinds.values())
    eval_split = "valid" if "test" in present and "valid" not in present else "test"
    return {name: eval_split if kind == _EVAL else kind for name, kind in kinds.items()}


def group_by_split(names: Iterable[str]) -> dict[str, list[str]]:
    """The names of each split; nothing unless one means train and another one valid or test.

    >>> group_by_split(["train1", "train2", "dev", "more"]), group_by_split(["train", "more"])
    ({'train': ['train1', 'train2'], 'valid': ['dev']}, {})
    """
    groups: dict[str, list[str]] = {}
    for name, split in splits_of(names).items():
        groups.setdefault(split, []).append(name)
    return groups if "train" in groups and len(groups) > 1 else {}


def without_split(name: str) -> str:
    """A name without the word for its split: `a.csv` for `a_train.csv`."""
    name = _WORD_START.sub("_", name)
    for pattern in _PATTERNS.values():
        name = pattern.sub("", name)
    return name.strip(_SEPARATORS)


def split_of_array(name: str, whole: str) -> str | None:
    """The split of the array `whole` that an array holds, by its name; None where it holds none.

    >>> [split_of_array(name, "X") for name in ("x_train", "testX", "Xval", "y_test", "max")]
    ['train', 'test', 'valid', None, None]
    """
    name, whole = name.lower(), whole.lower()
    for rest in (name.removeprefix(whole), name.removesuffix(whole)):
        if rest != name and not without_split(rest):
            return split_of(rest)
    return None


def without_split_of_array(name: str) -> str | None:
    """The array that another one holds a split of, by its name; None where it names no split.

    >>> without_split_of_array("X_train"), without_split_of_array("trainX"), split_of("X")
    ('X', 'X', None)
    """
    words = "|".join(_WORDS.values())
    found = re.fullmatch(rf"(?:{words})[._\- ]*(.+?)|(.+?)[._\- ]*(?:{words})", name, re.IGNORECASE)
    return (found[1] or found[2]) if found else None
