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

    def count(self, items: int) -> int:
        """How many folds there are.

        Args:
            items: distinct ones, that are split.

        Raises:
            DataError: there are too few items for these folds, or too few folds for this one.
        """
        if items < 2:
            text = f"there is {items} distinct item; allowed: data with two or more"
            raise DataError(f"data.folds={self.of}: {text}")
        count = self.of if isinstance(self.of, int) else items
        if count > items:
            text = f"there are {items} distinct items; allowed: 2 to {items}, or leave_one_out"
            raise DataError(f"data.folds={self.of}: {text}")
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
