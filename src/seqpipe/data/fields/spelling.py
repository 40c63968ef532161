"""Words together with the characters they are spelled with."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from seqpipe.bounds import Count, Share, checked
from seqpipe.data.base import FieldSpec, Record
from seqpipe.data.columns import Array
from seqpipe.data.fields.text_field import Counts, TextField, unknown_rates
from seqpipe.data.fields.tokenization import (
    UNKNOWN,
    Listed,
    Tokens,
    UnknownSymbol,
    VocabularySize,
    Words,
)
from seqpipe.data.vocabulary import PAD, SPECIALS, UNK, Vocabulary, id_type
from seqpipe.errors import ConfigError
from seqpipe.rules import refusal


class Spelled(TextField):
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
        lowercase: make the letters small by which a word is known; its characters keep their case.
        unknown: the word that the texts themselves hold in place of unknown ones, `<unk>` in Penn
            Treebank: it becomes <UNK>, without characters. None: they hold none.
        normalize: the normal form of Unicode in which texts are read. `nfd` splits letters from
            their accents and syllables of Hangul into their letters (jamo), `nfkc` and `nfkd` also
            make one letter of its variants: of full width, in a ligature. What is written is
            composed again. None: normal form C.
        vectors: a file of word vectors that the embedding starts from (GloVe, word2vec or
            fastText .vec, plain or .gz, or word2vec .bin). None: random ones.
        lowercase_vectors: a word that the file lacks starts from the vector of its small letters.
        word_dropout: share of the words that are read as <UNK> in training, other ones in each
            epoch; their characters stay, so that the model learns to read these.

    Raises:
        ConfigError: an option out of range.
    """

    kind = "spelled"
    unspaced_remedy = (
        "the field seqpipe.data.fields.text.Text with by=characters or by=subwords, or lists of"
        " words"
    )
    way: Listed

    @checked()
    def __init__(
        self,
        column: str,
        *,
        by: Literal["tokens", "words"] = "tokens",
        characters: Count = 20,
        max_vocabulary: VocabularySize = None,
        min_count: Count = 2,
        lowercase: bool = True,
        unknown: UnknownSymbol = None,
        normalize: Literal["nfc", "nfd", "nfkc", "nfkd"] | None = None,
        vectors: str | None = None,
        lowercase_vectors: bool = False,
        word_dropout: Share = 0.0,
    ) -> None:
        super().__init__(
            column,
            Tokens if by == "tokens" else Words,
            max_vocabulary=max_vocabulary,
            min_count=min_count,
            lowercase=lowercase,
            unknown=unknown,
            normalize=normalize,
            vectors=vectors,
            lowercase_vectors=lowercase_vectors,
            word_dropout=word_dropout,
        )
        self.characters = characters
        self.alphabet = Vocabulary()
        self.counts: Counts = np.zeros(len(SPECIALS), dtype=np.int64)  # (V,), in training

    def fit(self, records: Iterable[Record]) -> None:
        """Learn the words and the characters, the most frequent first."""
        self.way.clear()
        self.unnamed.counts = {}
        spelled: Counter[str] = Counter()
        for record in records:
            words = self._words(record)
            spelled.update(words)
            entry = self.value(record)
            if self._may_be_unnamed:
                self.unnamed.see(entry)
            if isinstance(entry, str):
                self.way.observe(self.way.composed(entry))
        known: Counter[str] = Counter()
        letters: Counter[str] = Counter()
        for word, count in spelled.items():
            known[self._known_as(word)] += count
            for letter in "" if self._is_unknown(word) else word:
                letters[letter] += count
        self.way.learn(known)
        vocabulary = self.way.vocabulary
        self.counts = np.zeros(len(vocabulary), dtype=np.int64)
        np.add.at(self.counts, vocabulary.encode(known), list(known.values()))
        self.alphabet = Vocabulary.of(letters)
        self.vectors.fit(vocabulary.names)

    def encode(self, record: Record) -> Tensor:
        """(T, 1 + C) integers.

        Raises:
            DataError: neither text nor a list of words, or a word without characters.
        """
        words = self._words(record)
        vocabulary = self.way.vocabulary
        kept = id_type(max(len(vocabulary), len(self.alphabet)))
        ids = np.zeros((len(words), 1 + self.characters), dtype=kept)
        ids[:, 0] = vocabulary.encode(map(self._known_as, words))
        for row, word in zip(ids, words, strict=True):
            letters = "" if self._is_unknown(word) else word[: self.characters]
            spelled = self.alphabet.encode(letters)
            row[1 : 1 + len(spelled)] = spelled
        return torch.from_numpy(ids)

    def augment(self, values: Array, rng: np.random.Generator) -> Array:
        """A copy of the ids, (T, 1 + C), with some words as <UNK>, spelled as before."""
        words = super().augment(values[:, 0], rng)
        return np.concatenate([words[:, None], values[:, 1:]], axis=1)

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
        words = [self._word(row) for row in rows.tolist() if row[0] != PAD]
        return self.way.recomposed(self.way.join(words))

    @property
    def spec(self) -> FieldSpec:
        """Size: V, the words with the four special symbols; characters: the same of those."""
        names = self.way.names
        vectors, letters = self.vectors.matrix, len(self.alphabet)
        return FieldSpec(
            self.kind, len(names), names, unit="words", characters=letters, vectors=vectors
        )

    def describe(self, counts: object) -> str:
        """Numbers of words and characters, the share of <UNK>, and of words that have vectors."""
        text = f"{len(self.way.names):,} words of {len(self.alphabet):,} characters"
        text += unknown_rates({"train": self.counts})
        return "; ".join(filter(None, (text, self.vectors.describe(self.counts))))

    def state(self) -> dict[str, Any]:
        """The words, their vectors and the characters."""
        state = super().state()
        own = {"characters": self.alphabet.names[len(SPECIALS) :], "counts": self.counts}
        return {"words": state.pop("symbols"), **own, **state}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set the words, their vectors and the characters."""
        super().restore({**state, "symbols": state["words"]})
        self.alphabet = Vocabulary(state["characters"])
        self.counts = state["counts"]

    def _is_unknown(self, word: str) -> bool:
        return self.way.unknown is not None and self._known_as(word) == self.way.unknown

    def _words(self, record: Record) -> Sequence[str]:
        value = self.value(record)
        if isinstance(value, str):
            return self.way.tokens(self.way.composed(value))
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            self.refuse(value, "neither text nor a list of words")
        if "" in value:
            self.refuse(value, f"word {value.index('') + 1} has no characters")
        return [self.way.composed(word) for word in value]

    def _word(self, row: Sequence[int]) -> str:
        """As it was spelled; the end of a long word, whose characters are not kept, by its id."""
        word, spelled = row[0], [id_ for id_ in row[1:] if id_ != PAD]
        if not spelled:  # the text's own symbol: every word has characters
            return self.way.names[word]
        end = self.way.names[word][self.characters :] if word != UNK else ""
        names = self.alphabet.names
        return "".join(UNKNOWN if id_ == UNK else names[id_] for id_ in spelled) + end
