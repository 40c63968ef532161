"""How the bytes of a text file were written, judged by the bytes themselves."""

import codecs
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from seqpipe.data.base import place
from seqpipe.errors import ConfigError, DataError

HEAD = 4096
"""Bytes at the start of a file that are looked at."""
_JUDGED = 2**20  # bytes by which the advice on a bad one is judged
_MARKS = {  # the longer ones first: that of utf-32-le starts with that of utf-16-le
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}


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


def check_start(file: Path, opened: Any, encoding: str) -> None:
    """Refuse a file whose first bytes cannot be of an encoding.

    Args:
        file: for the message.
        opened: it, for reading bytes; none are taken.
        encoding: that it is to be read in.

    Raises:
        DataError: with the encoding that they are of.
    """
    if other := misread(opened.peek(HEAD)[:HEAD], encoding):
        text = f"is written in {other}, not in {encoding}"
        raise DataError(f"{place(file, 1)}: {text}; allowed: data.source.encoding={other}")


def advice(
    file: Path, encoding: str, opener: Callable[[Path], Any], start: bytes | None = None
) -> str:
    """What to do about a byte that is not of the encoding.

    Args:
        file: that it stands in.
        encoding: that the file is read in.
        opener: opens the bytes of a file.
        start: its first bytes, where it cannot be opened again; None: it can.
    """
    if start is None:
        is_mostly = _is_mostly_utf_8(file, file.stat().st_mtime_ns, opener)
    else:
        is_mostly = mostly_utf_8(start)
    if not is_mostly:
        return "data.source.encoding=latin-1, cp1252, ... as the file was written"
    same = codecs.lookup(encoding).name == "utf-8"
    return "utf-8 here too, as other lines hold it" if same else "data.source.encoding=utf-8"


@lru_cache(maxsize=8)
def _is_mostly_utf_8(file: Path, changed: int, opener: Callable[[Path], Any]) -> bool:
    with opener(file) as opened:
        return mostly_utf_8(opened.read(_JUDGED))


def misread(head: bytes, encoding: str) -> str | None:
    r"""The encoding of a file that was surely not written in another one; None: it may have been.

    Args:
        head: the first bytes of the file, at most `HEAD`.
        encoding: that it is to be read in.

    >>> misread("a\n".encode("utf-16-le"), "utf-8"), misread(b"a\n", "utf-8")
    ('utf-16-le', None)
    """
    mark = next((mark for mark in _MARKS if head.startswith(mark)), b"")
    found = _MARKS.get(mark) or _by_zeros(head)
    own = codecs.lookup(encoding).name
    if found is None:
        return "utf-8" if is_wide(encoding) and head and is_utf_8(head, cut=True) else None
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


def is_utf_8(data: bytes, *, cut: bool = False) -> bool:
    """True for bytes of utf-8, without a zero; cut: the last sign may be a part of one."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data, final=not cut)
    except UnicodeDecodeError:
        return False
    return b"\0" not in data


def mostly_utf_8(data: bytes) -> bool:
    """True where half the lines with letters beyond ASCII, or more, are utf-8."""
    lines = [line for line in data.split(b"\n") if not line.isascii()]
    right = sum(map(is_utf_8, lines))
    return right > 0 and 2 * right >= len(lines)
