"""Lines of text files, and formats with a token a line."""

import io
import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from seqpipe.data.base import Found
from seqpipe.data.sources.files import UNREADABLE, FileSource, decoded, open_bytes
from seqpipe.data.sources.text_encoding import check_start
from seqpipe.errors import DataError

_UNDECODED = re.compile("[\udc80-\udcff]")  # what surrogateescape puts for a byte


def text_lines(
    file: Path, encoding: str = "utf-8", limit: int = -1
) -> Iterator[tuple[int, str, DataError | None]]:
    r"""Each line with its line end, its number from 1, and what is wrong with its bytes.

    Unlike `lines`, it gives the text of a bad line too, so that whoever reads quoted cells over
    several lines keeps its place. \r\n comes as \n, a byte order mark is left out.

    Args:
        file: packed where its name ends in .gz.
        encoding: any that Python knows.
        limit: characters of a line after which it comes in parts; -1: never.

    Raises:
        DataError: a .gz file that is none, or broken; nothing of the encoding at all.
    """
    number, whole = 0, True
    try:
        with (
            open_bytes(file) as opened,
            io.TextIOWrapper(opened, encoding, errors="surrogateescape", newline="\n") as text,
        ):
            check_start(file, opened, encoding)
            while line := text.readline(limit):
                number += whole
                whole = line.endswith("\n")
                problem = _problem(file, number, line, encoding)
                line = line.removeprefix("\ufeff") if number == 1 else line
                yield number, line.replace("\r\n", "\n"), problem
    except UNREADABLE as error:
        raise DataError(f"{file}: cannot be read to its end ({error})") from None


def _problem(file: Path, number: int, line: str, encoding: str) -> DataError | None:
    if not _UNDECODED.search(line):
        return None
    found = decoded(file, number, line.encode(encoding, "surrogateescape"), encoding)
    return found if isinstance(found, DataError) else None


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
