"""Lines of text files, packed or not: their encoding, and the places of bad bytes."""

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from seqpipe.data.base import Found, place
from seqpipe.errors import ConfigError, DataError

_HEAD = 4096  # bytes at the start of a file that are looked at
_JUDGED = 2**20  # bytes by which the advice on a bad one is judged
_MARKS = {  # the longer ones first: that of utf-32-le starts with that of utf-16-le
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}


def packed_too(*suffixes: str) -> tuple[str, ...]:
    """Suffixes of files, each also with the .gz of a packed one.

    >>> packed_too(".csv", ".tsv")
    ('.csv', '.csv.gz', '.tsv', '.tsv.gz')
    """
    return tuple(suffix + packed for suffix in suffixes for packed in ("", ".gz"))


def check_encoding(encoding: str, key: str = "data.source.encoding") -> None:
    """Refuse an encoding that Python does not know.

    Args:
        encoding: its name.
        key: as typed, for the message.

    Raises:
        ConfigError: it does not.
    """
    try:
        "".encode(encoding)
    except LookupError:
        allowed = "utf-8, latin-1, cp1252, utf-16 and others that Python knows"
        raise ConfigError(f"{key}={encoding}: no such encoding; allowed: {allowed}") from None


def _advice(file: Path, encoding: str, start: bytes | None) -> str:
    """Advice on a byte that is not of the encoding; start: see `lines_in`."""
    if start is None:
        is_mostly = _is_mostly_utf_8(file, file.stat().st_mtime_ns)
    else:
        is_mostly = _mostly_utf_8(start)
    if not is_mostly:
        return "data.source.encoding=latin-1, cp1252, ... as the file was written"
    same = codecs.lookup(encoding).name == "utf-8"
    return "utf-8 here too, as other lines hold it" if same else "data.source.encoding=utf-8"


@lru_cache(maxsize=8)
def _is_mostly_utf_8(file: Path, changed: int) -> bool:
    with open_bytes(file) as opened:
        return _mostly_utf_8(opened.read(_JUDGED))


def misread(head: bytes, encoding: str) -> str | None:
    r"""The encoding of a file that was surely not written in another one; None: it may have been.

    Args:
        head: the first bytes of the file, at most 4096.
        encoding: that it is to be read in.

    >>> misread("a\n".encode("utf-16-le"), "utf-8"), misread(b"a\n", "utf-8")
    ('utf-16-le', None)
    """
    mark = next((mark for mark in _MARKS if head.startswith(mark)), b"")
    found = _MARKS.get(mark) or _by_zeros(head)
    own = codecs.lookup(encoding).name
    if found is None:
        return "utf-8" if is_wide(encoding) and head and _is_utf_8(head, cut=True) else None
    width = found.rpartition("-")[0] if mark and found != "utf-8" else found
    fits = own in (found, width, *(("utf-8-sig",) if found == "utf-8" else ()))
    return None if fits else width


def _by_zeros(head: bytes) -> str | None:
    """utf-16 or utf-32 without a mark: in both, a line end holds bytes that are zero."""
    if b"\0" not in head:
        return None
    for width in (4, 2):
        for order in ("le", "be"):
            encoding = f"utf-{8 * width}-{order}"
            newline = "\n".encode(encoding)
            units = [head[at : at + width] for at in range(0, len(head) - width + 1, width)]
            short = sum(b"\n" in unit and unit != newline for unit in units)
            ascii_ = sum(_is_ascii(unit, order) for unit in units)
            if ascii_ >= 2 and not short and 8 * ascii_ > len(units):
                return encoding
    return None


def _is_ascii(unit: bytes, order: str) -> bool:
    low = unit[0] if order == "le" else unit[-1]
    return 0 < low < 128 and unit.count(0) == len(unit) - 1


def is_wide(encoding: str) -> bool:
    """True where a line end is not one byte, as in utf-16; a mark at the start is no part of it."""
    return not "\n\n".encode(encoding).endswith(b"\n\n")


def _is_utf_8(data: bytes, *, cut: bool = False) -> bool:
    """True for bytes of utf-8, without a zero; cut: the last sign may be a part of one."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data, final=not cut)
    except UnicodeDecodeError:
        return False
    return b"\0" not in data


def _mostly_utf_8(data: bytes) -> bool:
    """True where half the lines with letters beyond ASCII, or more, are utf-8."""
    lines = [line for line in data.split(b"\n") if not line.isascii()]
    right = sum(map(_is_utf_8, lines))
    return right > 0 and 2 * right >= len(lines)


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
        if other := misread(opened.peek(_HEAD)[:_HEAD], encoding):
            wrong = f"is written in {other}, not in {encoding}"
            raise DataError(f"{place(file, 1)}: {wrong}; allowed: data.source.encoding={other}")
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
    allowed = _advice(file, encoding, start)
    return DataError(f"{place(file, number)}: {text}; allowed: {allowed}")


def at_least_one(found: Iterable[Found], problem: str) -> Iterator[Found]:
    """The records of a file; a DataError with the problem where that is nothing."""
    empty = True
    for one in found:
        empty = False
        yield one
    if empty:
        raise DataError(problem)
