"""Files of word vectors: GloVe, word2vec and fastText as text, word2vec in binary."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from seqpipe.data.placed import place
from seqpipe.data.sources.text_lines import open_bytes
from seqpipe.errors import DataError, counted

Floats = np.ndarray[Any, np.dtype[np.float32]]

_LONGEST_WORD = 10_000  # bytes; a longer one means that the file is something else
_FASTTEXT_MODEL = (793712314).to_bytes(4, "little")  # its first bytes


class Line:
    """A word and its numbers, which are converted where they are wanted.

    Args:
        word: as the file has it, UTF-8.
        place: for messages, `vectors.txt:17`.
        numbers: as text or as little-endian float32.
        width: how many numbers there are, D.
    """

    __slots__ = ("numbers", "place", "width", "word")

    def __init__(self, word: bytes, place: str, numbers: bytes | Floats, width: int) -> None:
        self.word, self.place, self.numbers, self.width = word, place, numbers, width

    @property
    def vector(self) -> Floats:
        """(D,).

        Raises:
            DataError: a number is none, or is not finite.
        """
        if isinstance(self.numbers, bytes):
            return _numbers(self.numbers, self.place)
        if not np.isfinite(self.numbers).all():
            raise DataError(f"{self.place}: holds NaN or infinity; allowed: finite numbers")
        return self.numbers


def read_lines(file: Path) -> Iterator[Line]:
    """Read a file of vectors word by word.

    Args:
        file: a word and its numbers in each line, with spaces between, or, where its name ends in
            .bin, as the original word2vec writes it; each plain or .gz. The first line may say how
            many words and numbers follow; of .bin it must.

    Raises:
        DataError: a line is not a word and D numbers, or fewer lines than the first one says.
    """
    binary = ".bin" in file.suffixes
    try:
        with open_bytes(file) as opened:
            yield from (_binary if binary else _text)(opened, file)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{file}: cannot be read to its end ({error})") from None


def _text(opened: gzip.GzipFile | IO[bytes], file: Path) -> Iterator[Line]:
    width, said, found = 0, None, 0
    for number, line in enumerate(opened, 1):
        line = line.rstrip()
        if not line:
            continue
        if number == 1 and (header := _header(line)):
            said, width = header
            continue
        width = width or len(line.split()) - 1
        found += 1
        where = place(file, number)
        word, numbers = _word_and_numbers(line, width, where)
        yield Line(word, where, numbers, width)
    if said is not None and said != found:
        text = f"announces {said:,} words, and {found:,} follow; allowed: a whole file"
        raise DataError(f"{place(file, 1)}: {text}")


def _binary(opened: gzip.GzipFile | IO[bytes], file: Path) -> Iterator[Line]:
    """Source: the original word2vec.c (Mikolov 2013): `word` blank D floats [line end]."""
    first = opened.readline(_LONGEST_WORD)
    header = _header(first.rstrip())
    if header is None:
        wrong = "does not start with the numbers of words and dimensions"
        if first.startswith(_FASTTEXT_MODEL):
            wrong = "is a model of fastText, not its vectors"
        raise DataError(f"{file}: {wrong}; allowed: word2vec's .bin, or a text file, .vec or .txt")
    count, width = header
    for number in range(1, count + 1):
        where = f"{file}: word {number:,}"
        word = bytearray()
        while (byte := opened.read(1)) not in (b" ", b"") and len(word) < _LONGEST_WORD:
            word += byte
        numbers = opened.read(4 * width)
        if byte != b" " or len(numbers) < 4 * width:
            text = f"is cut off, of {count:,} that are announced; allowed: a whole file"
            raise DataError(f"{where} {text}")
        yield Line(bytes(word).lstrip(b"\n"), where, np.frombuffer(numbers, dtype="<f4"), width)


def _header(line: bytes) -> tuple[int, int] | None:
    """The numbers of words and of dimensions, where the line holds just these."""
    parts = line.split()
    if len(parts) != 2 or not all(part.isdigit() for part in parts):
        return None
    return int(parts[0]), int(parts[1])


def _word_and_numbers(line: bytes, width: int, where: str) -> tuple[bytes, bytes]:
    """The word and the rest. In some files of GloVe words hold spaces: `. . .`, `at name@site`."""
    if width == 0:
        raise DataError(f"{where}: holds no numbers; allowed: a word and its numbers")
    if line.count(b" ") == width and not line.startswith(b" "):
        word, _, numbers = line.partition(b" ")
        return word, numbers
    parts = line.rsplit(None, width)
    surplus = parts[0].split()[1:]
    if len(parts) <= width or (surplus and all(map(_is_number, surplus))):
        text = f"holds {counted(len(line.split()) - 1, 'number')}"
        raise DataError(f"{where}: {text}; allowed: {width}, as the lines before it")
    return parts[0], b" ".join(parts[1:])


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _numbers(text: bytes, where: str) -> Floats:
    parts = text.split()
    bad = [part for part in parts if not _is_number(part) or not np.isfinite(float(part))]
    if bad:
        shown = bad[0].decode(errors="replace")
        problem = f"{shown} is not a finite number; allowed: 0.25, -1e-3, ..."
        raise DataError(f"{where}: {problem}")
    return np.array(parts, dtype="S").astype(np.float32)
