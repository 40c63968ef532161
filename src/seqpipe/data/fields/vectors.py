"""Pretrained word vectors of a vocabulary."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seqpipe.data.fields.vector_files import Floats, read_lines
from seqpipe.data.fields.word_segmentation import composed, lowered
from seqpipe.data.vocabulary import EOS, SPECIALS
from seqpipe.errors import ConfigError, DataError, first_of
from seqpipe.rules import refusal


class Pretrained:
    """The vectors of a vocabulary, of those of its words that a file holds.

    Args:
        file: see `vector_files.read_lines`. None: no vectors.
        lowercase: a word that the file lacks gets the vector of its small letters.

    Raises:
        ConfigError: there is no such file, or none and yet `lowercase`.
    """

    def __init__(self, file: str | None, *, lowercase: bool = False) -> None:
        if lowercase and file is None:
            allowed = "false, or also vectors=FILE"
            raise ConfigError(refusal("lowercase_vectors", True, "there are no vectors", allowed))
        if file is not None and not Path(file).is_file():
            wrong = f"no such file in {Path(file).resolve().parent}"
            raise ConfigError(refusal("vectors", file, wrong, "a file that exists, or null"))
        self.file = None if file is None else Path(file)
        self.lowercase = lowercase
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
            self._matrix = read_vectors(self.file, self._names, lowercase=self.lowercase)
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


def read_vectors(file: Path, names: Sequence[str], *, lowercase: bool = False) -> Floats:
    """Read the vectors of some words, line by line; the others are not kept.

    Of a word that occurs twice the first vector counts. Numbers are checked in the lines that
    are kept, their count in every line. Words are compared in Unicode's normal form C.

    Args:
        file: see `Pretrained`.
        names: of a vocabulary, by id.
        lowercase: see `Pretrained`.

    Returns:
        (V, D); NaN in the rows of words that the file lacks.

    Raises:
        DataError: a line is not a word and D finite numbers, there are fewer lines than the first
            one says, or none of the words.
    """
    words = {id_: composed(name) for id_, name in enumerate(names) if id_ > EOS}
    wanted = {word.encode(): id_ for id_, word in words.items()}
    small: dict[bytes, list[int]] = {}  # ids of words that are known by their small letters
    for id_, word in words.items() if lowercase else ():
        if lowered(word) != word:
            small.setdefault(lowered(word).encode(), []).append(id_)
    matrix: Floats | None = None
    spare: dict[int, Floats] = {}
    for line in read_lines(file):
        if matrix is None:
            matrix = np.full((len(names), line.width), np.nan, dtype=np.float32)
        if line.word in wanted:
            matrix[wanted.pop(line.word)] = line.vector
        if line.word in small:
            spare |= dict.fromkeys(small.pop(line.word), line.vector)
    for id_, vector in spare.items():
        assert matrix is not None, "vectors were read"
        if np.isnan(matrix[id_, 0]):
            matrix[id_] = vector
    if matrix is None or np.isnan(matrix[:, 0]).all():
        known = names[len(SPECIALS) :]
        text = f"holds none of the {len(known):,} words, {first_of(known, 5)}"
        case = "the field's lowercase (true or false) as the file has its words"
        raise DataError(f"{file}: {text}; allowed: vectors of these words, or {case}")
    return matrix
