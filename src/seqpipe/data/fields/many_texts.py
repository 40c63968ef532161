"""Ids of many texts at once: what they have in common is looked up once."""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain, pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from seqpipe.data.columns import Integers
from seqpipe.data.vocabulary import EOS, UNK, Vocabulary, id_type

_LONGEST_KNOWN, _MOST_KNOWN = 40, 100_000  # characters; entries, tens of MB
_BLANK = " "

Ids = np.ndarray[Any, np.dtype[np.signedinteger[Any]]]


class Known(dict[str, list[int]]):
    """Ids of what stands between white space: `word,` has two. Forgets when it holds many.

    Args:
        vocabulary: of the symbols.
        cut: splits a text into symbols.
    """

    def __init__(self, vocabulary: Vocabulary, cut: Callable[[str], Iterable[str]]) -> None:
        super().__init__()
        self.vocabulary, self.cut = vocabulary, cut

    def __missing__(self, text: str) -> list[int]:
        """Return the ids of a text that was not looked up before."""
        ids = self.vocabulary.encode(self.cut(text))
        if len(text) <= _LONGEST_KNOWN:
            if len(self) >= _MOST_KNOWN:
                self.clear()
            self[text] = ids
        return ids

    def ids_of_texts(self, texts: Sequence[str]) -> list[Ids]:
        """Return the ids of each text, (T,); every piece between two blanks is looked up once.

        Args:
            texts: UTF-8 can encode them; no symbol of theirs reaches across a blank.
        """
        pieces = _pieces(texts)
        found = [self[piece] for piece in pieces.dictionary.to_pylist()]
        sizes = np.fromiter(map(len, found), np.int64, len(found))
        ids = np.fromiter(chain.from_iterable(found), id_type(len(self.vocabulary)))
        chosen = pieces.indices.to_numpy()
        lengths = sizes[chosen]
        ends = _ends(lengths)
        if (sizes != 1).any():
            firsts = _ends(sizes)[:-1]
            chosen = np.repeat(firsts[chosen] - ends[:-1], lengths) + np.arange(ends[-1])
        counts = [text.count(_BLANK) + 1 for text in texts]
        return _split(ids[chosen], ends[_ends(counts)])


def _pieces(texts: Sequence[str]) -> pa.DictionaryArray:
    """The pieces between blanks of all texts, each with the blank that ends it."""
    joined = (_BLANK.join(texts) + _BLANK).encode()
    ends = np.flatnonzero(np.frombuffer(joined, dtype=np.uint8) == ord(_BLANK)) + 1
    bounds = np.concatenate([np.zeros(1, dtype=np.int64), ends])
    buffers = pa.py_buffer(bounds), pa.py_buffer(joined)
    return pa.LargeStringArray.from_buffers(len(ends), *buffers).dictionary_encode()


class CharacterTable:
    """The ids of characters by their code points, (code points + 1,); the last is UNK.

    Args:
        vocabulary: of single characters.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        names = enumerate(vocabulary.names)
        codes = {ord(name): id_ for id_, name in names if id_ > EOS and len(name) == 1}
        self.ids = np.full(max(codes, default=-1) + 2, UNK, dtype=id_type(len(vocabulary)))
        self.ids[list(codes)] = list(codes.values())

    def ids_of_texts(self, texts: Sequence[str]) -> list[Ids]:
        """Return the ids of each text, (T,). texts: without halves of surrogate pairs."""
        codes = np.frombuffer("".join(texts).encode("utf-32-le"), dtype="<u4")
        ids = self.ids[np.minimum(codes, len(self.ids) - 1)]
        return _split(ids, _ends([len(text) for text in texts]))


def _ends(lengths: Sequence[int] | Integers) -> Integers:
    """0 and the end of each part, (parts + 1,)."""
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)])


def _split(ids: Ids, bounds: Integers) -> list[Ids]:
    return [ids[start:end] for start, end in pairwise(bounds.tolist())]
