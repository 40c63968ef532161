"""Pretrained word vectors: GloVe, word2vec and fastText, in text form."""

import gzip
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seqpipe.data.base import place
from seqpipe.data.sources.text_lines import open_bytes
from seqpipe.data.vocabulary import EOS, SPECIALS
from seqpipe.errors import ConfigError, DataError
from seqpipe.rules import refusal

Floats = np.ndarray[Any, np.dtype[np.float32]]


class Pretrained:
    """The vectors of a vocabulary, of those of its words that a file holds.

    Args:
        file: a word and its numbers in each line, with spaces between, plain or .gz; word2vec and
            fastText say in the first line how many words and numbers follow. None: no vectors.

    Raises:
        ConfigError: there is no such file.
    """

    def __init__(self, file: str | None) -> None:
        if file is not None and not Path(file).is_file():
            wrong = f"no such file in {Path(file).resolve().parent}"
            raise ConfigError(refusal("vectors", file, wrong, "a file that exists, or null"))
        self.file = None if file is None else Path(file)
        self._names: Sequence[str] = ()
        self._matrix: Floats | None = None

    def fit(self, names: Sequence[str]) -> None:
        """Set the vocabulary; the file is read when its vectors are needed."""
        self._names, self._matrix = names, None

    @property
    def matrix(self) -> Floats | None:
        """(V, D); NaN in the rows of words that the file lacks. None without a file.

        Raises:
            DataError: a line is not a word and its numbers, or no word of the file is known.
        """
        if self.file is not None and self._matrix is None:
            self._matrix = read_vectors(self.file, self._names)
        return self._matrix

    def inputs(self) -> list[Path]:
        """The file, where there is one."""
        return [] if self.file is None else [self.file]

    def state(self) -> dict[str, Any]:
        """The matrix, where there is one."""
        return {} if self.matrix is None else {"vectors": self.matrix}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set the matrix."""
        self._matrix = state.get("vectors")

    def describe(self, counts: np.ndarray[Any, np.dtype[np.int64]] | None) -> str:
        """`vectors for 85 % of the words, 93 % of the tokens`; empty without any.

        Args:
            counts: how often each symbol occurs in the training split, (V,); None: not counted.
        """
        if self.matrix is None:
            return ""
        known = ~np.isnan(self.matrix[:, 0])
        text = f"vectors for {_percent(known[len(SPECIALS) :].mean())} of the words"
        if counts is None:
            return text
        share = counts[known].sum() / max(1, counts.sum() - counts[EOS])
        return f"{text}, {_percent(share)} of the tokens"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def read_vectors(file: Path, names: Sequence[str]) -> Floats:
    """Read the vectors of some words, line by line; the others are not kept.

    Of a word that occurs twice the first vector counts. Numbers are checked in the lines that
    are kept, their count in every line.

    Args:
        file: see `Pretrained`.
        names: of a vocabulary, by id.

    Returns:
        (V, D); NaN in the rows of words that the file lacks.

    Raises:
        DataError: a line is not a word and D finite numbers, there are fewer lines than the first
            one says, or none of the words.
    """
    wanted = {name.encode(): id_ for id_, name in enumerate(names) if id_ > EOS}
    matrix: Floats | None = None
    for number, word, numbers in _lines(file):
        if matrix is None:
            width = len(numbers.split())
            matrix = np.full((len(names), width), np.nan, dtype=np.float32)
        id_ = wanted.pop(word, None)
        if id_ is not None:
            matrix[id_] = _numbers(numbers, file, number)
    if matrix is None or np.isnan(matrix[:, 0]).all():
        words = names[len(SPECIALS) :]
        shown = ", ".join(words[:5]) + (", ..." if len(words) > 5 else "")
        text = f"holds none of the {len(words):,} words, {shown}"
        raise DataError(f"{file}: {text}; allowed: vectors of these words, or lowercase: true")
    return matrix


def _lines(file: Path) -> Iterator[tuple[int, bytes, bytes]]:
    """Line by line its number, the word, and the word's numbers as they are written."""
    width, said, found = 0, None, 0
    try:
        with open_bytes(file) as opened:
            for number, line in enumerate(opened, 1):
                line = line.rstrip()
                if not line:
                    continue
                if number == 1 and (header := _header(line)):
                    said, width = header
                    continue
                width = width or len(line.split()) - 1
                found += 1
                yield number, *_word_and_numbers(line, width, place(file, number))
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{file}: cannot be read to its end ({error})") from None
    if said is not None and said != found:
        text = f"announces {said:,} words, and {found:,} follow; allowed: a whole file"
        raise DataError(f"{place(file, 1)}: {text}")


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
        text = f"holds {len(line.split()) - 1} numbers; allowed: {width}, as the lines before it"
        raise DataError(f"{where}: {text}")
    return parts[0], b" ".join(parts[1:])


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _numbers(text: bytes, file: Path, line: int) -> Floats:
    parts = text.split()
    bad = [part for part in parts if not _is_number(part) or not np.isfinite(float(part))]
    if bad:
        shown = bad[0].decode(errors="replace")
        problem = f"{shown} is not a finite number; allowed: 0.25, -1e-3, ..."
        raise DataError(f"{place(file, line)}: {problem}")
    return np.array(parts, dtype="S").astype(np.float32)
