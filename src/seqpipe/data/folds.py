"""Folds of cross-validation: how many there are, and the one that is tested."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from seqpipe.errors import DataError, counted


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
            DataError: there are too few items for these folds, or too few folds for this one.
        """
        name, needed = "group" if grouped else "item", "one to test and one to train on"
        if valid is not None:
            needed = "one to test, one to validate and one to train on"
        few = 2 if valid is None else 3
        there = f"data.folds={self.of}: there {'is' if items == 1 else 'are'}"
        there += f" {counted(items, f'distinct {name}')}"
        if items < few:
            raise DataError(f"{there}; allowed: data with {few} or more, {needed}")
        count = self.of if isinstance(self.of, int) else items
        fewest = few if items == few else 2  # with more items, half of them are enough for the rest
        if not fewest <= count <= items:
            allowed = f"{fewest} to {items}" if fewest < items else f"{items}"
            raise DataError(f"{there}; allowed: {allowed}, or leave_one_out: {needed}")
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
