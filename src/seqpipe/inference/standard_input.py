"""Standard input, of which the beginning is looked at before the whole is read."""

import codecs
import io
import json
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from seqpipe.data.base import Found, PlacedRecord
from seqpipe.data.sources.text_lines import is_wide, lines_in
from seqpipe.errors import ConfigError, DataError

_GZIP = b"\x1f\x8b"
_JUDGED = 2**20  # bytes of what is packed, and of what is in them


class _Again(io.RawIOBase):
    """A stream from its start, of which some bytes were read.

    Args:
        taken: those bytes.
        rest: what is left of the stream.
    """

    def __init__(self, taken: bytes, rest: io.BufferedReader) -> None:
        self._taken, self._rest = io.BytesIO(taken), rest

    def readable(self) -> bool:
        """See `io`."""
        return True

    def readinto(self, buffer: Any) -> int:
        """See `io`."""
        read = self._taken.read(len(buffer)) or self._rest.read1(len(buffer))
        buffer[: len(read)] = read
        return len(read)

    def close(self) -> None:
        """The rest too."""
        self._rest.close()
        super().close()


class StandardInput:
    """Standard input: its lines as they come, or a copy of it in a file.

    Args:
        file: that it is read from.

    Attributes:
        head: its first bytes, unpacked: as many as came together, and the whole first line.

    Raises:
        ConfigError: it cannot be read.
    """

    def __init__(self, file: Path) -> None:
        try:
            self._opened = file.open("rb")
            first = self._opened.peek()
            self.is_packed = first.startswith(_GZIP)
            if self.is_packed or b"\n" not in first:  # else the first line is there at once
                first = self._opened.read(_JUDGED) if self.is_packed else self._opened.readline()
                self._opened = io.BufferedReader(_Again(first, self._opened))
        except OSError as error:
            text = f"standard input cannot be read ({error.strerror}); allowed: a pipe, or a file"
            raise ConfigError(f"input=-: {text}") from None
        self.head = _unpacked(first) if self.is_packed else first

    def lines(self, encoding: str) -> Iterator[tuple[int, str | DataError]]:
        """Each line with its number as it comes, see `seqpipe.data.sources.text_lines.lines`."""
        with self._opened as opened:
            yield from lines_in(Path("input"), opened, encoding, self.head)

    def first_object(self, encoding: str) -> dict[str, Any] | None:
        """The JSON object in the first line, where one is."""
        line = self.head.decode(encoding, "replace").removeprefix("\ufeff").lstrip()
        try:
            found = json.loads(line.partition("\n")[0])
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    @contextmanager
    def beginning(self, encoding: str) -> Iterator[Path]:
        """A file with the whole lines of the beginning; all of it where there is no line end."""
        cut = self.head.rfind(b"\n") + 1
        whole = self.head[:cut] if cut else self.head
        if is_wide(encoding):  # a line end is some bytes, and the last sign may be cut
            with suppress(UnicodeError):  # the reading says what is wrong
                text = codecs.getincrementaldecoder(encoding)("replace").decode(self.head)
                whole = (text[: text.rfind("\n") + 1] or text).encode(encoding)
        with tempfile.TemporaryDirectory(prefix="seqpipe-") as folder:
            file = Path(folder) / "input"
            file.write_bytes(whole)
            with self._named(file):
                yield file

    @contextmanager
    def copied(self) -> Iterator[Path]:
        """A file with all of it, for what is read more than once."""
        with tempfile.TemporaryDirectory(prefix="seqpipe-") as folder, self._opened as opened:
            file = Path(folder) / ("input.gz" if self.is_packed else "input")
            with file.open("wb") as copy:
                shutil.copyfileobj(opened, copy)
            with self._named(file):
                yield file

    @contextmanager
    def _named(self, file: Path) -> Iterator[None]:
        try:
            yield
        except DataError as error:
            self._opened.close()
            raise called_input(error, file) from None


def called_input(one: Found, file: Path) -> Any:
    """A record or an error of a copy of standard input, called so."""
    if isinstance(one, DataError):
        return type(one)([text.replace(f"{file}", "input") for text in one.problems])
    if isinstance(one, PlacedRecord):
        return PlacedRecord(one, "input", one.line, goes_on=one.goes_on)
    return one


def _unpacked(head: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(head, _JUDGED)
    except zlib.error:  # the reading of the whole says what is wrong
        return b""
