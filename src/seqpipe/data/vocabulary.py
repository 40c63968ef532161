"""Symbols and their ids."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

PAD, UNK, BOS, EOS = 0, 1, 2, 3
SPECIALS = ("<PAD>", "<UNK>", "<BOS>", "<EOS>")
_MOST_SHORT = int(np.iinfo(np.int16).max)


class Vocabulary:
    """A fixed list of symbols; the first four are special, a symbol's id is its index.

    Args:
        symbols: the symbols after the special ones, each once.
        unknown: the name of UNK; None: `<UNK>`.
    """

    def __init__(self, symbols: Iterable[str] = (), *, unknown: str | None = None) -> None:
        pad, unk, *rest = SPECIALS
        self.names: tuple[str, ...] = (pad, unknown or unk, *rest, *symbols)
        self._ids = {symbol: id_ for id_, symbol in enumerate(self.names) if id_ > EOS}

    @classmethod
    def of(
        cls, tokens: Iterable[str], *, max_size: int | None = None, min_count: int = 1
    ) -> "Vocabulary":
        """Make a vocabulary, the most frequent tokens first, equal counts in code point order.

        Args:
            tokens: every token of the training split, or a Counter of them.
            max_size: most symbols to keep, the four special ones included; None keeps all.
            min_count: leave out tokens that occur less often.
        """
        counts = Counter(tokens)
        kept = [token for token in counts if counts[token] >= min_count]
        kept.sort(key=lambda token: (-counts[token], token))
        return cls(kept if max_size is None else kept[: max_size - len(SPECIALS)])

    def __len__(self) -> int:
        """All symbols, the special ones included."""
        return len(self.names)

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """Return the id of each token, UNK for unknown ones."""
        ids = self._ids
        return [ids.get(token, UNK) for token in tokens]

    def decode(self, ids: Sequence[int]) -> list[str]:
        """Return the symbol of each id, special ones by their names."""
        return [self.names[id_] for id_ in ids]


def id_type(size: int) -> type[np.signedinteger[Any]]:
    """Return the narrowest signed integer type that holds ids 0..size-1."""
    return np.int16 if size <= _MOST_SHORT else np.int32
