"""Standard input, of which the beginning is looked at before the whole is read."""

import codecs
import io
import json
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from seqpipe.data.sources.encodings import is_wide
from seqpipe.data.sources.files import decoded
from seqpipe.errors import ConfigError, DataError

_GZIP = b"\x1f\x8b"
_JUDGED = 2**20  # bytes of what is packed, and of what is in them


class StandardInput:
    """What a pipe holds: lines as they come, or a file that it was copied to.

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
            self._taken = b""  # read already; only of what does not show its first line at once
            if self.is_packed:
                self._taken = self._opened.read(_JUDGED)
            elif b"\n" not in first:
                self._taken = self._opened.readline()
        except OSError as error:
            text = f"standard input cannot be read ({error.strerror}); allowed: a pipe, or a file"
            raise ConfigError(f"input=-: {text}") from None
        self.head = _unpacked(self._taken) if self.is_packed else self._taken or first

    def lines(self, encoding: str) -> Iterator[tuple[int, str | DataError]]:
        """Each line with its number as it comes, see `seqpipe.data.sources.files.lines`."""
        with self._opened as opened:
            found: Any = chain([self._taken] if self._taken else [], opened)
            if is_wide(encoding):
                whole = io.BytesIO(self._taken + opened.read()) if self._taken else opened
                found = io.TextIOWrapper(whole, encoding, newline="\n")
            for number, raw in enumerate(found, 1):
                yield number, decoded(Path("input"), number, raw, encoding)

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
            text = codecs.getincrementaldecoder(encoding)("replace").decode(self.head)
            whole = (text[: text.rfind("\n") + 1] or text).encode(encoding)
        with tempfile.TemporaryDirectory(prefix="seqpipe-") as folder:
            file = Path(folder) / "input"
            file.write_bytes(whole)
            yield file

    @contextmanager
    def copied(self) -> Iterator[Path]:
        """A file with all of it, for what is read more than once."""
        with tempfile.TemporaryDirectory(prefix="seqpipe-") as folder, self._opened as opened:
            file = Path(folder) / ("input.gz" if self.is_packed else "input")
            with file.open("wb") as copy:
                copy.write(self._taken)
                shutil.copyfileobj(opened, copy)
            yield file


def _unpacked(head: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(head, _JUDGED)
    except zlib.error:  # the reading of the whole says what is wrong
        return b""
