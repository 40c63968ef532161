"""Standard input: its beginning shows the format before all of it is read."""

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
_HEAD = 2**20  # bytes of a gzip stream that are examined, and of their content


class _Rejoined(io.RawIOBase):
    """A stream whose first bytes were read, from its start.

    Args:
        taken: those bytes.
        rest: the rest of the stream.
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
        """Close the rest of the stream."""
        self._rest.close()
        super().close()


class StandardInput:
    """Standard input: its lines as they come, or a copy of it in a file.

    Args:
        file: the file to read.

    Attributes:
        head: its first bytes, decompressed: as many as came at once, and the whole first line.

    Raises:
        ConfigError: it cannot be read.
    """

    def __init__(self, file: Path) -> None:
        try:
            self._opened = file.open("rb")
            first = self._opened.peek()
            self.is_packed = first.startswith(_GZIP)
            if self.is_packed or b"\n" not in first:  # else the first line is there at once
                first = self._opened.read(_HEAD) if self.is_packed else self._opened.readline()
                self._opened = io.BufferedReader(_Rejoined(first, self._opened))
        except OSError as error:
            text = f"standard input cannot be read ({error.strerror}); allowed: a pipe, or a file"
            raise ConfigError(f"input=-: {text}") from None
        self.head = _unpacked(first) if self.is_packed else first

    def lines(self, encoding: str) -> Iterator[tuple[int, str | DataError]]:
        """Yield each line with its number as it comes, see `text_lines.lines`."""
        with self._opened as opened:
            yield from lines_in(Path("input"), opened, encoding, self.head)

    def first_object(self, encoding: str) -> dict[str, Any] | None:
        """Return the JSON object in the first line, if there is one."""
        line = self.head.decode(encoding, "replace").removeprefix("\ufeff").lstrip()
        try:
            found = json.loads(line.partition("\n")[0])
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    @contextmanager
    def beginning(self, encoding: str) -> Iterator[Path]:
        """A file with the complete lines of the beginning, or all of it without a line end."""
        cut = self.head.rfind(b"\n") + 1
        whole = self.head[:cut] if cut else self.head
        if is_wide(encoding):  # a line end has several bytes, and the last character may be cut
            with suppress(UnicodeError):  # reported when the lines are read
                text = codecs.getincrementaldecoder(encoding)("replace").decode(self.head)
                whole = (text[: text.rfind("\n") + 1] or text).encode(encoding)
        with tempfile.TemporaryDirectory(prefix="seqpipe-") as folder:
            file = Path(folder) / "input"
            file.write_bytes(whole)
            with self._named(file):
                yield file

    @contextmanager
    def copied(self) -> Iterator[Path]:
        """A file with all of it, for formats that are read more than once."""
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
    """Name `input` as the place of a record or an error, not the temporary copy."""
    if isinstance(one, DataError):
        return type(one)([text.replace(f"{file}", "input") for text in one.problems])
    if isinstance(one, PlacedRecord):
        return PlacedRecord(one, "input", one.line, goes_on=one.goes_on)
    return one


def _unpacked(head: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(head, _HEAD)
    except zlib.error:  # reported when all of it is read
        return b""
