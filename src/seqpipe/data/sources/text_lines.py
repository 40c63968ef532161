"""Lines of text files, packed or not, with the places of bytes that are not of the encoding."""

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from seqpipe.data.base import place
from seqpipe.data.sources.text_encoding import advice, check_start, is_wide
from seqpipe.errors import DataError

_UNREADABLE = (gzip.BadGzipFile, zlib.error, EOFError, UnicodeError)
_UNDECODED = re.compile("[\udc80-\udcff]")  # what surrogateescape puts for a byte


def open_bytes(file: Path) -> gzip.GzipFile | IO[bytes]:
    """Opens a file for reading bytes, unpacked where its name ends in .gz."""
    return gzip.open(file) if file.suffix.lower() == ".gz" else file.open("rb")


def lines(file: Path, encoding: str = "utf-8") -> Iterator[tuple[int, str | DataError]]:
    r"""Each line without its line end, with its number, from 1; a DataError for other bytes.

    Only \n and \r\n end a line: str.splitlines would also break at U+0085 and others. A byte
    order mark is left out. A last line without a line end counts.

    Raises:
        DataError: a .gz file that is none, or broken; another encoding from the start.
    """
    with open_bytes(file) as opened:
        yield from lines_in(file, opened, encoding)


def lines_in(
    file: Path, opened: Any, encoding: str, start: bytes | None = None
) -> Iterator[tuple[int, str | DataError]]:
    """The lines of what was opened for reading bytes; see `lines`.

    Args:
        file: its name, for messages.
        opened: with `peek`; it is closed.
        encoding: of its text.
        start: its first bytes, where it cannot be opened again; None: it can.
    """
    for number, line, problem in _decoded(file, opened, encoding, start=start):
        ended = line.endswith("\n")
        yield number, problem or (line[:-1] if ended else line.removesuffix("\r"))


def text_lines(
    file: Path, encoding: str = "utf-8", limit: int = -1
) -> Iterator[tuple[int, str, DataError | None]]:
    r"""Each line with its line end, its number from 1, and what is wrong with its bytes.

    Unlike `lines`, it gives the text of a bad line too, so that a reader of quoted cells over
    several lines keeps its place. \r\n becomes \n.

    Args:
        file: packed where its name ends in .gz.
        encoding: any that Python knows.
        limit: characters of a line after which it comes in parts; -1: never.

    Raises:
        DataError: a .gz file that is none, or broken; another encoding from the start.
    """
    with open_bytes(file) as opened:
        yield from _decoded(file, opened, encoding, limit=limit)


def _decoded(
    file: Path, opened: Any, encoding: str, *, limit: int = -1, start: bytes | None = None
) -> Iterator[tuple[int, str, DataError | None]]:
    number, ended = 0, True
    errors = (
        "strict" if is_wide(encoding) else "surrogateescape"
    )  # a bad byte of utf-16 has no line
    try:
        check_start(file, opened, encoding)
        with io.TextIOWrapper(opened, encoding, errors, newline="\n") as text:
            while line := text.readline(limit):
                number += ended
                ended = line.endswith("\n")
                bad = None if line.isascii() else _UNDECODED.search(line)
                problem = bad and _bad_byte(file, number, bad, encoding, start)
                line = line.removeprefix("\ufeff") if number == 1 else line
                yield number, f"{line[:-2]}\n" if line.endswith("\r\n") else line, problem
    except _UNREADABLE as error:
        raise DataError(f"{file}: cannot be read to its end ({error})") from None


def _bad_byte(
    file: Path, number: int, found: re.Match[str], encoding: str, start: bytes | None
) -> DataError:
    before = found.string[: found.start()].encode(encoding).removeprefix("".encode(encoding))
    text = f"byte 0x{ord(found[0]) - 0xDC00:02x} at column {len(before) + 1} is not {encoding}"
    allowed = advice(file, encoding, open_bytes, start)
    return DataError(f"{place(file, number)}: {text}; allowed: {allowed}")
