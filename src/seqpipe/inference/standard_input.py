"""Standard input, of which the beginning is looked at before the whole is read."""

import io
import json
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seqpipe.data.sources.files import decoded, is_wide
from seqpipe.errors import ConfigError, DataError

_GZIP = b"\x1f\x8b"


class StandardInput:
    """What a pipe holds: lines as they come, or a file that it was copied to.

    Args:
        file: that it is read from.

    Attributes:
        head: its first bytes, as many as came together, unpacked.

    Raises:
        ConfigError: it cannot be read.
    """

    def __init__(self, file: Path) -> None:
        try:
            self._opened = file.open("rb")
            first = self._opened.peek()
        except OSError as error:
            text = f"standard input cannot be read ({error.strerror}); allowed: a pipe, or a file"
            raise ConfigError(f"input=-: {text}") from None
        self.is_packed = first.startswith(_GZIP)
        self.head = _unpacked(first) if self.is_packed else first

    def lines(self, encoding: str) -> Iterator[tuple[int, str | DataError]]:
        """Each line with its number as it comes, see `seqpipe.data.sources.files.lines`."""
        with self._opened as opened:
            found: Any = opened
            if is_wide(encoding):
                found = io.TextIOWrapper(opened, encoding, newline="\n")
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
    def beginning(self) -> Iterator[Path]:
        """A file with the whole lines of the beginning; all of it where there is no line end."""
        cut = self.head.rfind(b"\n") + 1
        with tempfile.TemporaryDirectory(prefix="seqpipe-") as folder:
            file = Path(folder) / "input"
            file.write_bytes(self.head[:cut] if cut else self.head)
            yield file

    @contextmanager
    def copied(self) -> Iterator[Path]:
        """A file with all of it, for what is read more than once."""
        with tempfile.TemporaryDirectory(prefix="seqpipe-") as folder, self._opened as opened:
            file = Path(folder) / ("input.gz" if self.is_packed else "input")
            with file.open("wb") as copy:
                shutil.copyfileobj(opened, copy)
            yield file


def _unpacked(head: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(head)
    except zlib.error:  # the reading of the whole says what is wrong
        return b""
