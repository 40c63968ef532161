"""Collection of the errors in the data."""

from collections import Counter
from collections.abc import Iterable

from seqpipe.data.base import Found, PlacedRecord
from seqpipe.errors import DataError

MOST_PROBLEMS = 10  # shown at once
SKIP = "or data.on_error=skip, which leaves such records out and counts them"
_MOST_READ = 1000  # problems before reading stops, as each line may have the same one


class Problems:
    """Problems of the data: the first ten are raised at once, or skipped records are counted.

    Args:
        skip: leave bad records out instead of stopping.
    """

    def __init__(self, skip: bool) -> None:
        self.skip = skip
        self.usable = 0  # records; without any, skipping is no help
        self.shown: list[str] = []
        self._more: Counter[str] = Counter()
        self._read = 0

    def add(self, place: str, problems: Iterable[str]) -> None:
        """Add the problems of one record.

        Raises:
            DataError: there are too many.
        """
        for problem in problems:
            self._read += 1
            self._more[problem] += 1
            if self._more[problem] == 1 and len(self.shown) < MOST_PROBLEMS:
                self.shown.append(f"{place}{problem}")
        if not self.skip and (len(self._more) >= MOST_PROBLEMS or self._read >= _MOST_READ):
            self.check()

    def check(self) -> None:
        """Stop if anything was wrong and nothing may be skipped.

        Raises:
            DataError: lists the first ten different problems.
        """
        if self.shown and not self.skip:
            texts = [self._with_count(text) for text in self.shown]
            advised = any("data.on_error=skip" in text for text in texts)
            raise DataError(texts, hint=SKIP if self.usable and not advised else "")

    def _with_count(self, text: str) -> str:
        for problem, count in self._more.items():
            if count > 1 and text.endswith(problem):
                return f"{text} (and in {count - 1:,} more)"
        return text


def place_of(one: Found, split: str, number: int) -> str:
    """Format the start of a message: `reviews.csv:17: `, or without a file `train[16]: `."""
    if isinstance(one, PlacedRecord) and one.file is not None:
        return f"{one.place}: "
    return f"{split}[{number}]: "
