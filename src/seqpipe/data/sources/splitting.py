"""Splits of records in train, valid and test."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from seqpipe.data.error_collector import MOST_PROBLEMS
from seqpipe.data.folds import Fold
from seqpipe.data.hashing import plain
from seqpipe.data.sources.given_splits import SplitColumns
from seqpipe.data.splits import SPLITS, Found, Record, Splits
from seqpipe.errors import DataError, did_you_mean


class Reread:
    """Records that are read again each time they are iterated.

    Args:
        read: starts to read them.
    """

    def __init__(self, read: Callable[[], Iterator[Found]]) -> None:
        self.read = read

    def __iter__(self) -> Iterator[Found]:
        return self.read()


def split_shares(
    records: Mapping[str, Iterable[Found]],
    shares: Mapping[str, float],
    *,
    group: Sequence[str],
    stratify: str | None,
    order: str,
    seed: int,
    fold: Fold | None = None,
    grouped: bool = False,
) -> tuple[Splits, list[str]]:
    """The three splits, and warnings about columns that name splits.

    Args:
        records: of each split that is no share of train.
        shares: see `part`, as are the other arguments; may be empty.
        group: columns.
        stratify: a column.
        order: `random` or `file`.
        seed: of the random order.
        fold: the one to test; then `test` is among the shares.
        grouped: see `part`.

    Raises:
        DataError: as `part`.
    """
    if not shares:
        return Splits(**records), []
    whole = records["train"]
    columns = SplitColumns()
    watched = columns.watched(whole)
    how: dict[str, Any] = {"group": group, "stratify": stratify, "order": order, "seed": seed}
    of = part(watched, shares, **how, fold=fold, grouped=grouped)
    views: dict[str, Iterable[Found]] = {
        split: Reread(partial(_part_of, whole, of, split)) for split in ("train", *shares)
    }
    return Splits(**{**records, **views}), columns.warnings(shares)


def _part_of(whole: Iterable[Found], of: np.ndarray[Any, Any], split: str) -> Iterator[Found]:
    """The records that were given to one split; what cannot be read belongs to train."""
    code, places = SPLITS.index(split), iter(of)
    for found in whole:
        if isinstance(found, DataError):
            if split == "train":
                yield found
            continue
        place = next(places, None)
        if place is None:
            where = getattr(found, "file", None) or "data.source"
            raise DataError(f"{where}: changed while it was read; allowed: once it is finished")
        if place == code:
            yield found


def part(
    found: Iterable[Found],
    shares: Mapping[str, float],
    *,
    group: Sequence[str] = (),
    stratify: str | None = None,
    order: str = "random",
    seed: int = 0,
    fold: Fold | None = None,
    grouped: bool = False,
) -> np.ndarray[Any, np.dtype[np.int8]]:
    """The split of each record, by its place in SPLITS, (records,) int8.

    Shares are of the distinct items. An item is drawn by what it holds and the seed, so neither
    the order of the file nor its other records change the draw. 17 bytes a record are kept
    while splitting, 1 after it.

    Args:
        found: the records, gone through once; DataErrors are left out.
        shares: of valid, test or both; the rest is trained on.
        group: columns; records alike in all of them are one item. Empty: alike in every column.
        stratify: a column; the shares hold for each of its values.
        order: `random`, or `file`: the last items of the file are tested, those before validated.
        seed: of the random order.
        fold: is tested instead of a share; that of valid is then of the other folds, one item at
            least.
        grouped: the user chose the columns of `group`.

    Raises:
        DataError: a column is missing, or a split would be empty.
    """
    items = _distinct(found, group, stratify, usual=None if fold is None else fold.stratify)
    salt = np.array([item_number([seed])], dtype=np.uint64)
    luck = items.first.astype(np.uint64) if order == "file" else _mixed(items.numbers ^ salt)
    if fold is None:
        split = _by_shares(items, luck, shares)
    else:
        count = fold.count(len(luck), grouped=grouped, valid=shares.get("valid"))
        split = _by_folds(items, luck, fold.number, count, shares.get("valid"))
    if items.bad and (split == SPLITS.index("train")).sum() == len(split):
        raise DataError(items.bad)  # the rest cannot show which shares work
    _check_filled(split, shares, "group" if grouped else "item")
    of_records: np.ndarray[Any, np.dtype[np.int8]] = split[items.of_record]
    return of_records


@dataclass(frozen=True)
class _Items:
    """The distinct items of records.

    Args:
        numbers: a hash of each, (items,).
        first: the first record of each, (items,).
        of_record: the item of each record, (records,).
        stratum: the number of the value of `stratify` of each, (items,).
        bad: problems of records that cannot be read, the first of them.
    """

    numbers: np.ndarray[Any, np.dtype[np.uint64]]
    first: np.ndarray[Any, np.dtype[np.int64]]
    of_record: np.ndarray[Any, np.dtype[np.int64]]
    stratum: np.ndarray[Any, np.dtype[np.int64]]
    bad: list[str]


def _distinct(
    found: Iterable[Found],
    group: Sequence[str],
    stratify: str | None = None,
    usual: str | None = None,
) -> _Items:
    """The distinct items; usual: a column to stratify by where none is given, if it is there."""
    keys, strata = [], []
    names: dict[str, int] = {}
    bad: list[str] = []
    for record in found:
        if isinstance(record, DataError):
            bad += record.problems[: MOST_PROBLEMS - len(bad)]
            continue
        columns = [_value(record, column) for column in group] if group else dict(record)
        keys.append(item_number(columns))
        if stratify is not None:
            strata.append(names.setdefault(str(_value(record, stratify)), len(names)))
        elif usual is not None:
            strata.append(names.setdefault(str(record.get(usual)), len(names)))
    items, first, of_item = np.unique(
        np.array(keys, dtype=np.uint64), return_index=True, return_inverse=True
    )
    stratum = np.array(strata, dtype=np.int64)[first] if strata else np.zeros(len(items), np.int64)
    return _Items(items, first, of_item.reshape(-1), stratum, bad)


def count_folds(
    found: Iterable[Found],
    fold: Fold,
    shares: Mapping[str, float],
    group: Sequence[str],
    grouped: bool,
) -> int:
    """How many folds the distinct items make; the arguments are those of `part`.

    Raises:
        DataError: a column is missing, no record can be used, or there are too few items.
    """
    items = _distinct(found, group)
    if items.bad and not len(items.numbers):
        raise DataError(items.bad)
    return fold.count(len(items.numbers), grouped=grouped, valid=shares.get("valid"))


def _by_shares(
    items: _Items, luck: np.ndarray[Any, Any], shares: Mapping[str, float]
) -> np.ndarray[Any, np.dtype[np.int8]]:
    """The split of each item, shares of each stratum, those with the most luck tested."""
    split = np.zeros(len(luck), dtype=np.int8)
    for value in np.unique(items.stratum):
        drawn = np.flatnonzero(items.stratum == value)
        drawn = drawn[np.argsort(luck[drawn], kind="stable")]
        counts = {name: round(share * len(drawn)) for name, share in shares.items()}
        end = len(drawn)
        for name in ("test", "valid"):
            if name in counts:
                split[drawn[end - counts[name] : end]] = SPLITS.index(name)
                end -= counts[name]
    return split


def _by_folds(
    items: _Items, luck: np.ndarray[Any, Any], number: int, count: int, valid: float | None
) -> np.ndarray[Any, np.dtype[np.int8]]:
    """The split of each item: a fold is tested, a share of the others validated.

    With a share, one of the others at least is validated, and one trained on.

    The items are put in one order, by luck within each stratum, with the strata spread evenly over
    it. Folds are stretches of it: two of them differ by one item at most, and by two or three in a
    stratum. Those just before the tested stretch are validated; the order is a circle.
    """
    total = len(luck)
    by_luck = np.lexsort((luck, items.stratum))
    sizes = np.bincount(items.stratum)
    starts = np.cumsum(sizes) - sizes
    of = items.stratum[by_luck]
    spread = (np.arange(total) - starts[of] + 0.5) / sizes[of]
    order = by_luck[np.argsort(spread, kind="stable")]
    start, end = (place * total // count for place in (number, number + 1))
    others = np.roll(order, -end)[: total - (end - start)]  # from the end of the fold on
    split = np.zeros(total, dtype=np.int8)
    split[order[start:end]] = SPLITS.index("test")
    if valid is not None:
        validated = min(max(round(valid * len(others)), 1), len(others) - 1)
        split[others[len(others) - validated :]] = SPLITS.index("valid")
    return split


def _check_filled(split: np.ndarray[Any, Any], shares: Mapping[str, float], item: str) -> None:
    for name in ("train", *shares):
        if not (split == SPLITS.index(name)).any():
            given = " ".join(f"data.source.{k}={v}" for k, v in shares.items())
            text = f"{name} would be empty, there are {len(split)} distinct {item}s"
            raise DataError(f"{given}: {text}; allowed: shares that come to one {item} or more")


def _value(record: Record, column: str) -> Any:
    if column not in record:
        hint = did_you_mean(column, record)
        raise DataError(f"column={column}: not in the record; it has {', '.join(record)}{hint}")
    return record[column]


def item_number(value: object) -> int:
    """64 bits of a hash of what a value holds."""
    text = json.dumps(value, sort_keys=True, default=plain, ensure_ascii=False)
    raw = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "little")


def _mixed(numbers: np.ndarray[Any, np.dtype[np.uint64]]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Scatters 64-bit numbers; the finaliser of SplitMix64 (Steele, Lea & Flood 2014)."""
    z = numbers
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    return z ^ (z >> np.uint64(31))


def with_problems(splits: Splits, problems: Sequence[DataError]) -> Splits:
    """The splits, with problems of the whole source before the first record of train."""
    return replace(splits, train=Reread(lambda: chain(problems, splits.train)))
