"""Text files as the text they hold: line ends and bad bytes kept where they stand."""

import io
import re
from collections.abc import Iterator
from pathlib import Path

from seqpipe.data.sources.encodings import check_start
from seqpipe.data.sources.files import UNREADABLE, decoded, open_bytes
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
