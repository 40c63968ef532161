"""What the formats with a token a line share."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from seqpipe.data.base import Found
from seqpipe.data.sources.files import FileSource
from seqpipe.errors import DataError


class Sentence:
    """A sentence while its lines are read.

    Args:
        names: of the columns that are kept.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.columns: dict[str, list[str]] = {name: [] for name in names}
        self.lines: list[int] = []
        self.problems: list[str] = []

    def add(self, line: int, cells: Mapping[str, str]) -> None:
        """A token; its line, and its entries by column."""
        for name, cell in cells.items():
            self.columns[name].append(cell)
        self.lines.append(line)

    def __bool__(self) -> bool:
        """True where anything was read."""
        return bool(self.lines or self.problems)


class TokenLines(FileSource):
    """What both formats share: a token a line, white space alone between sentences."""

    def parse(self, file: Path) -> Iterator[Found]:
        """The sentences of a file, in their order.

        Raises:
            DataError: it holds no tokens, or its lines have too few columns.
        """
        empty = True
        for found in self.sentences(file):
            empty = False
            yield found
        if empty:
            raise DataError(f"{file}: holds no tokens; allowed: one a line, {self.wanted()}")

    @abstractmethod
    def sentences(self, file: Path) -> Iterator[Found]:
        """The sentences, none for an empty file."""

    @abstractmethod
    def wanted(self) -> str:
        """What a line should hold, for messages."""
