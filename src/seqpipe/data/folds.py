"""Folds of cross-validation: how many there are, and the one that is tested."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from seqpipe.errors import DataError


@dataclass(frozen=True)
class Fold:
    """The fold that a run is tested on; it is trained and validated on all others.

    Args:
        number: from 0.
        of: how many folds there are; `leave_one_out`: one for each item.
        stratify: a column whose values are spread evenly over the folds, where the source names
            none; None: no column.
    """

    number: int
    of: int | Literal["leave_one_out"]
    stratify: str | None = None

    def count(self, items: int, *, grouped: bool = False, valid: float | None = None) -> int:
        """How many folds there are.

        Args:
            items: distinct ones, that are split.
            grouped: each of them is a group of records, which the user chose.
            valid: the share of the other folds that is validated; None: files of its own are.

        Raises:
            DataError: there are too few items for these folds, or to train and validate on; or too
                few folds for this one.
        """
        name = "group" if grouped else "item"
        if items < 2:
            text = f"there is {items} distinct {name}; allowed: data with two or more"
            raise DataError(f"data.folds={self.of}: {text}")
        count = self.of if isinstance(self.of, int) else items
        if count > items:
            text = f"there are {items} distinct {name}s; allowed: 2 to {items}, or leave_one_out"
            raise DataError(f"data.folds={self.of}: {text}")
        tested = -(-items // count)  # in the largest fold
        if valid is not None and items - tested < 2:
            left = f"one of {items} distinct {name}s is left to train on, and none to validate on"
            more = "data.folds=leave_one_out" if items > 2 else "data with three or more"
            text = f"with data.folds={self.of}, {left}; allowed: a file, or {more}"
            raise DataError(f"data.source.valid={valid}: {text}")
        if self.number >= count:
            text = f"there are {count} folds; allowed: 0 to {count - 1}"
            raise DataError(f"data.fold={self.number}: {text}")
        return count


def fold_faults(folds: int | str | None, fold: int | None) -> Iterator[tuple[str, str]]:
    """Yield folds without the one to test, and one without folds: (argument, text).

    Args:
        folds: see `SequenceData`.
        fold: see `SequenceData`.
    """
    if folds is None and fold is not None:
        yield "fold", "nothing is split in folds; allowed: null, or also folds=10"
    if folds is not None and fold is None:
        yield "folds", "a run is tested on one fold; allowed: null, or also fold=0"
    if isinstance(folds, int) and fold is not None and fold >= folds:
        yield "fold", f"there are folds={folds}; allowed: 0 to {folds - 1}"
