"""Collects errors in the data as they are found."""

from collections import Counter
from collections.abc import Iterable

from seqpipe.data.base import Found, PlacedRecord
from seqpipe.errors import DataError

MOST_PROBLEMS = 10  # shown at once
SKIP = "or data.on_error=skip, which leaves such records out and counts them"
_MOST_READ = 1000  # problems, before reading stops: the same one may stand in every line


class Problems:
    """Faults of the data as they are found: all of the first ten at once, or left out and counted.

    Args:
        skip: leave a bad record out in place of stopping.
    """

    def __init__(self, skip: bool) -> None:
        self.skip = skip
        self.usable = 0  # records; without any, skipping the others is no advice
        self.told: list[str] = []
        self._more: Counter[str] = Counter()
        self._read = 0

    def add(self, place: str, problems: Iterable[str]) -> None:
        """Take up what is wrong with one record.

        Raises:
            DataError: there are too many to go on looking for others.
        """
        for problem in problems:
            self._read += 1
            self._more[problem] += 1
            if self._more[problem] == 1 and len(self.told) < MOST_PROBLEMS:
                self.told.append(f"{place}{problem}")
        if not self.skip and (len(self._more) >= MOST_PROBLEMS or self._read >= _MOST_READ):
            self.check()

    def check(self) -> None:
        """Stop if anything was wrong and nothing may be skipped.

        Raises:
            DataError: with the first ten, each kind once.
        """
        if self.told and not self.skip:
            told = [self._with_count(text) for text in self.told]
            said = any("data.on_error=skip" in text for text in told)
            raise DataError(told, hint=SKIP if self.usable and not said else "")

    def _with_count(self, text: str) -> str:
        for problem, count in self._more.items():
            if count > 1 and text.endswith(problem):
                return f"{text} (and in {count - 1:,} more)"
        return text


def place_of(one: Found, split: str, number: int) -> str:
    """`reviews.csv:17: ` or, for a record that stands in no file, `train[16]: `."""
    if isinstance(one, PlacedRecord) and one.file is not None:
        return f"{one.place}: "
    return f"{split}[{number}]: "
