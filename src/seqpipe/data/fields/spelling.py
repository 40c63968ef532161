"""Words together with the characters they are spelled with."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqpipe.data.base import Field, FieldSpec, Record
from seqpipe.data.fields.text import unknown_rate
from seqpipe.data.vocabulary import PAD, SPECIALS, UNK, Vocabulary
from seqpipe.errors import ConfigError


class Spelled(Field):
    """Words with their characters, (T, 1 + C) int32: the word's id, then C ids of characters.

    A word that training never showed is <UNK>, and still has its characters: names, endings and
    capitals tell much of it. x only. A word is what white space parts, or an entry where the
    record holds a list.

    Args:
        column: the key of the entry in a record.
        characters: C, how many of a word's are read: the first ones. A shorter word is filled up
            with 0.
        max_vocabulary: most words to know, the four special symbols included; None for all.
        min_count: words that occur less often in the training split become <UNK>; with 1 no
            training word does, and nothing is learned of <UNK>. Characters are all known.
        lowercase: make the letters small by which a word is known; its characters stay.

    Raises:
        ConfigError: an option out of range.
    """

    kind = "spelled"

    def __init__(
        self,
        column: str,
        *,
        characters: int = 20,
        max_vocabulary: int | None = None,
        min_count: int = 2,
        lowercase: bool = False,
    ) -> None:
        super().__init__(column)
        if characters < 1:
            raise ConfigError(f"characters={characters}: must be at least 1")
        if max_vocabulary is not None and max_vocabulary <= len(SPECIALS):
            least = f"must be at least {len(SPECIALS) + 1}, {len(SPECIALS)} symbols are special"
            raise ConfigError(f"max_vocabulary={max_vocabulary}: {least}")
        if min_count < 1:
            raise ConfigError(f"min_count={min_count}: must be at least 1")
        self.characters = characters
        self.max_vocabulary = max_vocabulary
        self.min_count = min_count
        self.lowercase = lowercase
        self.vocabulary = Vocabulary()
        self.alphabet = Vocabulary()

    def fit(self, records: Iterable[Record]) -> None:
        """Learn the words and the characters, the most frequent first."""
        spelled = Counter(word for record in records for word in self._words(record))
        words: Counter[str] = Counter()
        letters: Counter[str] = Counter()
        for word, count in spelled.items():
            words[self._known_by(word)] += count
            for letter in word:
                letters[letter] += count
        self.vocabulary = Vocabulary.of(
            words, max_size=self.max_vocabulary, min_count=self.min_count
        )
        self.alphabet = Vocabulary.of(letters)

    def encode(self, record: Record) -> Tensor:
        """(T, 1 + C) int32.

        Raises:
            DataError: neither text nor a list of words, or a word without characters.
        """
        words = self._words(record)
        ids = np.zeros((len(words), 1 + self.characters), dtype=np.int32)
        ids[:, 0] = self.vocabulary.encode(map(self._known_by, words))
        for row, word in zip(ids, words, strict=True):
            spelled = self.alphabet.encode(word[: self.characters])
            row[1 : 1 + len(spelled)] = spelled
        return torch.from_numpy(ids)

    def encode_target(self, record: Record) -> Tensor:
        """Refused: spelled words are read, not written.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("data.y=Spelled: can only be read; use Text, by words or by characters")

    def decode(self, values: Tensor | Sequence[Any]) -> str:
        """The words with spaces between, padding left out; an unknown character is U+FFFD."""
        rows = np.asarray(values).reshape(-1, 1 + self.characters)
        return " ".join(self._word(row) for row in rows.tolist() if row[0] != PAD)

    @property
    def spec(self) -> FieldSpec:
        """Size: V, the words with the four special symbols; characters: the same of those."""
        names = self.vocabulary.names
        return FieldSpec(self.kind, len(names), names, unit="words", characters=len(self.alphabet))

    def describe(self, counts: Mapping[str, np.ndarray[Any, np.dtype[np.int64]]]) -> str:
        """How many words and characters, and the share of <UNK> in each split that has any."""
        rates = {split: unknown_rate(count) for split, count in counts.items()}
        shown = ", ".join(f"{split} {rate:.2g}" for split, rate in rates.items() if rate)
        told = f"{len(self.vocabulary):,} words of {len(self.alphabet):,} characters"
        return told + (f" (share of <UNK>: {shown})" if shown else "")

    def state(self) -> dict[str, Any]:
        """The words and the characters."""
        return {
            "words": self.vocabulary.names[len(SPECIALS) :],
            "characters": self.alphabet.names[len(SPECIALS) :],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up the words and the characters."""
        self.vocabulary = Vocabulary(state["words"])
        self.alphabet = Vocabulary(state["characters"])

    def _known_by(self, word: str) -> str:
        return word.lower() if self.lowercase else word

    def _words(self, record: Record) -> Sequence[str]:
        value = self.value(record)
        words = value.split() if isinstance(value, str) else value
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            self.refuse(value, "neither text nor a list of words")
        if "" in words:
            self.refuse(value, f"word {words.index('') + 1} has no characters")
        return words

    def _word(self, row: Sequence[int]) -> str:
        """As it was spelled; by its id where that says more: the end of a long word."""
        word, spelled = row[0], [id_ for id_ in row[1:] if id_ != PAD]
        if word != UNK and len(spelled) == self.characters:
            return self.vocabulary.names[word]
        names = self.alphabet.names
        return "".join("\ufffd" if id_ == UNK else names[id_] for id_ in spelled)
