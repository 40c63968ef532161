"""Words together with the characters they are spelled with."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from seqpipe.bounds import Count, checked
from seqpipe.data.base import Field, FieldSpec, Record
from seqpipe.data.fields.text import Counts, Unnamed, unknown_rates
from seqpipe.data.fields.tokenization import UNKNOWN, VocabularySize, check_unknown
from seqpipe.data.fields.vectors import Pretrained
from seqpipe.data.fields.word_segmentation import READING, Spacing, WordCutter, composed, lowered
from seqpipe.data.vocabulary import PAD, SPECIALS, UNK, Vocabulary, id_type
from seqpipe.errors import ConfigError
from seqpipe.rules import refusal

UNSPACED = (
    "{key}.by=words: no blanks separate the words of these texts (as in Chinese, Japanese, Thai,"
    " Lao, Khmer, Burmese), so that each run of letters counts as one word; allowed: the field"
    " seqpipe.data.fields.text.Text with by=characters or by=subwords, or lists of words"
)


class Spelled(Field):
    """Words with their characters, (T, 1 + C) integers: the word's id, then C ids of characters.

    A word that training never showed is <UNK>, and still has its characters: names, endings and
    capitals. x only.

    Args:
        column: the key of the entry in a record; text, or a list of words.
        by: what is a word of a text: `tokens`, what white space separates; `words`, a word or a
            run of one punctuation mark. A list holds words already. Both are read in Unicode's
            normal form C.
        characters: C, how many of a word's are read: the first ones. A shorter word is filled up
            with 0.
        max_vocabulary: most words to know, the four special symbols included; None for all.
        min_count: words that occur less often in the training split become <UNK>; with 1 no
            training word does, and nothing is learned of <UNK>. Characters are all known.
        lowercase: make the letters small by which a word is known; its characters stay.
        unknown: the word that the texts themselves hold in place of unknown ones, `<unk>` in Penn
            Treebank: it becomes <UNK>, without characters. None: they hold none.
        vectors: a file of word vectors that the embedding starts from (GloVe, word2vec or
            fastText, as text or .gz). None: random ones.

    Raises:
        ConfigError: an option out of range.
    """

    kind = "spelled"

    @checked()
    def __init__(
        self,
        column: str,
        *,
        by: Literal["tokens", "words"] = "tokens",
        characters: Count = 20,
        max_vocabulary: VocabularySize = None,
        min_count: Count = 2,
        lowercase: bool = False,
        unknown: str | None = None,
        vectors: str | None = None,
    ) -> None:
        super().__init__(column)
        self.by, self.characters = by, characters
        self.max_vocabulary = max_vocabulary
        self.min_count = min_count
        self.lowercase, self.reading = lowercase, READING
        check_unknown(unknown)
        self.unknown = lowered(unknown) if unknown is not None and lowercase else unknown
        self.unnamed = Unnamed()
        self.cut, self.spacing = WordCutter(self.unknown), Spacing()
        self.vocabulary = Vocabulary(unknown=self.unknown)
        self.alphabet = Vocabulary()
        self.counts: Counts = np.zeros(len(SPECIALS), dtype=np.int64)  # (V,), in training
        self.vectors = Pretrained(vectors)

    def fit(self, records: Iterable[Record]) -> None:
        """Learn the words and the characters, the most frequent first."""
        self.spacing = Spacing()
        spelled = Counter(word for record in self._seen(records) for word in self._words(record))
        self.spacing.learn()
        words: Counter[str] = Counter()
        letters: Counter[str] = Counter()
        for word, count in spelled.items():
            words[self._known_by(word)] += count
            for letter in "" if self._is_unknown(word) else word:
                letters[letter] += count
        known = {word: count for word, count in words.items() if word != self.unknown}
        found = Vocabulary.of(
            Counter(known), max_size=self.max_vocabulary, min_count=self.min_count
        )
        self.vocabulary = Vocabulary(found.names[len(SPECIALS) :], unknown=self.unknown)
        self.counts = np.zeros(len(self.vocabulary), dtype=np.int64)
        np.add.at(self.counts, self.vocabulary.encode(words), list(words.values()))
        self.alphabet = Vocabulary.of(letters)
        self.vectors.fit(self.vocabulary.names)

    def encode(self, record: Record) -> Tensor:
        """(T, 1 + C) integers.

        Raises:
            DataError: neither text nor a list of words, or a word without characters.
        """
        words = self._words(record)
        kept = id_type(max(len(self.vocabulary), len(self.alphabet)))
        ids = np.zeros((len(words), 1 + self.characters), dtype=kept)
        ids[:, 0] = self.vocabulary.encode(map(self._known_by, words))
        for row, word in zip(ids, words, strict=True):
            letters = "" if self._is_unknown(word) else word[: self.characters]
            spelled = self.alphabet.encode(letters)
            row[1 : 1 + len(spelled)] = spelled
        return torch.from_numpy(ids)

    def encode_target(self, record: Record) -> Tensor:
        """Refused: spelled words are read, not written.

        Raises:
            ConfigError: always.
        """
        allowed = "Text, by words or by characters"
        raise ConfigError(refusal("data.y", "Spelled", "can only be read", allowed))

    def decode(self, values: Tensor | Sequence[Any]) -> str:
        """The words as a text, padding left out; an unknown character is U+FFFD."""
        rows = np.asarray(values).reshape(-1, 1 + self.characters)
        return self._join([self._word(row) for row in rows.tolist() if row[0] != PAD])

    def notes(self, key: str) -> list[str]:
        """Words that no blanks separate, and symbols for unknown words that nobody named."""
        unspaced = [UNSPACED.format(key=key)] if self.spacing.unspaced else []
        return [*unspaced, *self.unnamed.notes(key)]

    def steps(self, value: Any) -> tuple[list[str], Callable[[Sequence[str]], str]]:
        """The words of an entry, and what joins them."""
        if isinstance(value, str):
            return self._cut(self._composed(value)), self._join
        return super().steps(value)

    @property
    def spec(self) -> FieldSpec:
        """Size: V, the words with the four special symbols; characters: the same of those."""
        names = self.vocabulary.names
        vectors, letters = self.vectors.matrix, len(self.alphabet)
        return FieldSpec(
            self.kind, len(names), names, unit="words", characters=letters, vectors=vectors
        )

    def describe(self, counts: object) -> str:
        """Numbers of words and characters, the share of <UNK>, and of words that have vectors."""
        text = f"{len(self.vocabulary):,} words of {len(self.alphabet):,} characters"
        text += unknown_rates({"train": self.counts})
        return "; ".join(filter(None, (text, self.vectors.describe(self.counts))))

    def inputs(self) -> list[Path]:
        """The file of vectors, where there is one."""
        return self.vectors.inputs()

    def state(self) -> dict[str, Any]:
        """The words, their vectors and the characters."""
        return self.vectors.state() | {
            "words": self.vocabulary.names[len(SPECIALS) :],
            "characters": self.alphabet.names[len(SPECIALS) :],
            "counts": self.counts,
            "reading": self.reading,
            "spacing": self.spacing.state(),
            "unnamed": self.unnamed.counts,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set the words, their vectors and the characters."""
        self.vectors.restore(state)
        self.vocabulary = Vocabulary(state["words"], unknown=self.unknown)
        self.unnamed.counts = dict(state.get("unnamed", {}))
        self.alphabet = Vocabulary(state["characters"])
        self.counts = state["counts"]
        self.reading, self.spacing = state.get("reading", 1), Spacing()
        self.cut = WordCutter(self.unknown, self.reading)
        if "spacing" in state:
            self.spacing.restore(state["spacing"])

    def _is_unknown(self, word: str) -> bool:
        return self.unknown is not None and self._known_by(word) == self.unknown

    def _known_by(self, word: str) -> str:
        if not self.lowercase:
            return word
        return word.lower() if self.reading == 1 else lowered(word)

    def _composed(self, text: str) -> str:
        return text if self.reading == 1 else composed(text)

    def _cut(self, text: str) -> list[str]:
        return text.split() if self.by == "tokens" else self.cut(text)

    def _join(self, words: Sequence[str]) -> str:
        return " ".join(words) if self.by == "tokens" else self.spacing.write(words)

    def _seen(self, records: Iterable[Record]) -> Iterator[Record]:
        """The records; blanks between the words of texts are learned from them."""
        self.unnamed.counts = {}
        for record in records:
            text = self.value(record)
            if self.unknown is None and isinstance(text, (str, list)):
                self.unnamed.see(text)
            if self.by == "words" and isinstance(text, str) and not self.spacing.full:
                self.spacing.see([*self.cut.spaced(composed(text))])
            yield record

    def _words(self, record: Record) -> Sequence[str]:
        value = self.value(record)
        words = self._cut(self._composed(value)) if isinstance(value, str) else value
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            self.refuse(value, "neither text nor a list of words")
        if not isinstance(value, str):
            words = [self._composed(word) for word in words]
        if "" in words:
            self.refuse(value, f"word {words.index('') + 1} has no characters")
        return words

    def _word(self, row: Sequence[int]) -> str:
        """As it was spelled; by its id where that says more: the end of a long word."""
        word, spelled = row[0], [id_ for id_ in row[1:] if id_ != PAD]
        if not spelled:  # the text's own symbol: every word has characters
            return self.vocabulary.names[word]
        if word != UNK and len(spelled) == self.characters:
            return self.vocabulary.names[word]
        names = self.alphabet.names
        return "".join(UNKNOWN if id_ == UNK else names[id_] for id_ in spelled)
