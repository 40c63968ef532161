"""Text, by characters, bytes, words, subwords, or the tokens it is already cut into."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from seqpipe.bounds import Count, Share, checked
from seqpipe.data.base import FieldSpec, Record
from seqpipe.data.columns import Array
from seqpipe.data.fields.subwords import Bytes, Subwords
from seqpipe.data.fields.text_field import Counts, TextField, unknown_rates
from seqpipe.data.fields.tokenization import (
    Characters,
    Entry,
    Graphemes,
    Tokens,
    UnknownSymbol,
    VocabularySize,
    Way,
    Words,
)
from seqpipe.data.vocabulary import BOS, EOS, PAD, id_type
from seqpipe.errors import ConfigError, DataError
from seqpipe.rules import refusal

_HALVES = re.compile("[\ud800-\udfff]")  # of surrogate pairs
_PARAGRAPH_END = re.compile(r"\n[^\S\n]*\n\s*\Z")
WAYS: dict[str, type[Way]] = {
    way.unit: way for way in (Characters, Words, Tokens, Bytes, Subwords, Graphemes)
}


class Text(TextField):
    """Text as ids, (T,) integers. As y it ends in <EOS>, as x it does not.

    By words, a token is a word or a run of one punctuation mark (see
    `word_segmentation.WordCutter`), white space is dropped and put back as training has
    it, and <EOS> ends every paragraph (blank lines separate them), so that the end is learned. By
    tokens, a token is what white space separates, or an entry where the record holds a list of
    them. By characters, a symbol is a code point as it stands; by graphemes, it is what readers
    take for one character: a letter with its marks, a joined emoji. Words, tokens and graphemes
    are read in Unicode's normal form C. By bytes and by subwords (pieces of words learned from the
    training split) nothing is unknown.

    Args:
        column: the key of the entry in a record.
        by: what one step reads or writes. `data.x.by=spelled` on the command line chooses the field
            `spelling.Spelled`: words together with their characters.
        max_vocabulary: most symbols to know, <PAD> <UNK> <BOS> <EOS> included; None for all, or
            for 500 to 8000 subwords, by the size of the training split (`subwords.default_size`).
            There are always 260 bytes, and at least as many subwords.
        min_count: symbols that occur less often in the training split become <UNK>. None: 1 for
            characters and graphemes; else 2, since a model only learns what to do with <UNK> where
            it meets some, and a tenth of the words of a text occur once. Subwords are not joined
            to one that occurs less often; bytes are all kept, so that it must be None.
        lowercase: make all letters small first.
        unknown: the symbol that the texts themselves hold in place of unknown words, `<unk>` in
            Penn Treebank and WikiText: it becomes the <UNK> of the vocabulary. None: they hold
            none. Not by bytes or subwords.
        normalize: the normal form of Unicode in which texts are read. `nfd` splits letters from
            their accents and syllables of Hangul into their letters (jamo), `nfkc` and `nfkd` also
            make one letter of its variants: of full width, in a ligature. What is written is
            composed again. None: normal form C for words, tokens and graphemes, and
            characters, bytes and subwords as they stand.
        vectors: a file of word vectors that the embedding starts from (GloVe, word2vec or
            fastText .vec, plain or .gz, or word2vec .bin); by words or tokens only. None: random
            ones.
        lowercase_vectors: a word that the file lacks starts from the vector of its small letters.
        word_dropout: share of the symbols that are read as <UNK> in training, other ones in each
            epoch; x only. Where few symbols are rare, it teaches what to do with unknown ones.

    Raises:
        ConfigError: an unknown way, or an option out of its range.
    """

    kind = "symbols"
    unspaced_remedy = (
        "{key}.by=characters, {key}.by=subwords, or texts with blanks between their words"
    )

    @checked()
    def __init__(
        self,
        column: str,
        *,
        by: Literal[
            "characters", "words", "tokens", "bytes", "subwords", "graphemes", "spelled"
        ] = "characters",
        max_vocabulary: VocabularySize = None,
        min_count: Count | None = None,
        lowercase: bool = False,
        unknown: UnknownSymbol = None,
        normalize: Literal["nfc", "nfd", "nfkc", "nfkd"] | None = None,
        vectors: str | None = None,
        lowercase_vectors: bool = False,
        word_dropout: Share = 0.0,
    ) -> None:
        if by == "spelled":
            wrong = "words with their characters are read by the field Spelled, and never written"
            raise ConfigError(refusal("by", by, wrong, "words or characters; as x also spelled"))
        if vectors is not None and not WAYS[by].of_words:
            allowed = "null, or also by=words, by=tokens or, of an x, by=spelled"
            raise ConfigError(refusal("vectors", vectors, "are of words", allowed))
        super().__init__(
            column,
            WAYS[by],
            max_vocabulary=max_vocabulary,
            min_count=min_count,
            lowercase=lowercase,
            unknown=unknown,
            normalize=normalize,
            vectors=vectors,
            lowercase_vectors=lowercase_vectors,
            word_dropout=word_dropout,
        )

    def fit(self, records: Iterable[Record]) -> None:
        """Learn the vocabulary."""
        entries = (self._entry(record) for record in records)
        self.way.fit(self.unnamed.seen(entries) if self._may_be_unnamed else entries)
        self.vectors.fit(self.way.names)

    def encode(self, record: Record) -> Tensor:
        """(T,) integers, without an <EOS> at the end."""
        ids = self._ids(record)
        return self._tensor(ids if getattr(record, "goes_on", False) else ids[:-1])

    def encode_target(self, record: Record) -> Tensor:
        """(T + 1,) integers, ending in <EOS>; empty where the text is."""
        return self._tensor(self._ids(record))

    def encode_many(self, records: Sequence[Record]) -> list[Array | DataError]:
        """See `Field`; a subclass may encode single entries in its own way."""
        if type(self) is not Text:
            return super().encode_many(records)
        texts = [self._plain(record) for record in records]
        known = iter(self.way.encode_many([text for text in texts if text is not None]))
        every = zip(texts, records, strict=True)
        return [self._encode_or_error(one) if text is None else next(known) for text, one in every]

    def _plain(self, record: Record) -> str | None:
        """The text of a record, if it is one part that ends with the record; None for others."""
        text = record.get(self.column)
        if type(text) is not str or getattr(record, "goes_on", False):
            return None
        if self.way.ends_paragraphs and "\n" in text:
            return None
        if text.isascii():
            return text.lower() if self.lowercase else text
        return None if _HALVES.search(text) else self._known_as(text)

    def _ids(self, record: Record) -> list[int]:
        ids: list[int] = []
        for part in self.way.encode(self._entry(record)):
            ids += part
            ids.append(EOS)
        if getattr(record, "goes_on", False) and not self._ends_paragraph(record):
            ids = ids[:-1]
        return ids

    def _tensor(self, ids: list[int]) -> Tensor:
        return torch.from_numpy(np.array(ids, dtype=id_type(len(self.way.names))))

    def decode(self, values: Tensor | Sequence[Any]) -> str:
        """The text, padding left out, up to the first <EOS>; by words all its paragraphs."""
        parts: list[list[int]] = [[]]
        for id_ in map(int, values):
            if id_ == EOS:
                parts.append([])
            elif id_ not in (PAD, BOS):
                parts[-1].append(id_)
        if not self.way.ends_paragraphs:
            return self.way.recomposed(self.way.decode(parts[0]))
        texts = (self.way.decode(part) for part in parts if part)
        return self.way.recomposed("\n\n".join(texts))

    def truth(self, record: Record) -> str:
        """The text as it is read; where white space is dropped, runs of it as one blank."""
        entry = self._entry(record)
        text = entry if isinstance(entry, str) else " ".join(entry)
        return self.way.spaced(self.way.recomposed(text))

    def _compared(self, ids: Sequence[int]) -> str:
        return self.way.spaced(self.decode(ids))

    def _cut(self, text: str) -> Sequence[str]:
        return self.way.steps(self.way.composed(text))[0]

    @property
    def spec(self) -> FieldSpec:
        """Size: V, the vocabulary with its four special symbols."""
        names = self.way.names
        return FieldSpec(
            self.kind,
            len(names),
            names,
            unit=self.way.unit,
            vectors=self.vectors.matrix,
            text=self._compared,
            cut=None if self.way.unknown is None else self._cut,
        )

    def describe(self, counts: Mapping[str, Counts]) -> str:
        """The size of the vocabulary, the share of <UNK> in each split, how many have vectors."""
        text = f"{len(self.way.names):,} {self.way.unit}{unknown_rates(counts)}"
        return "; ".join(filter(None, (text, self.vectors.describe(counts.get("train")))))

    def between(self, before: str, text: str) -> str:
        """The white space between a text and another that continues it."""
        return self.way.between(before, text)

    def _ends_paragraph(self, record: Record) -> bool:
        """True where a piece of a longer text ends with a paragraph; by words only."""
        text = self.value(record)
        return self.way.ends_paragraphs and bool(_PARAGRAPH_END.search(text))

    def _entry(self, record: Record) -> Entry:
        value = self.value(record)
        if isinstance(value, str):
            return self._known_as(value if value.isascii() else self._sound(value))
        is_list = isinstance(value, list) and all(isinstance(token, str) for token in value)
        if not (self.way.takes_lists and is_list):
            self.refuse(value, "not text" + (", nor a list of it" if self.way.takes_lists else ""))
        if "" in value:
            text = "is missing; allowed: a token for each step"
            raise DataError(f"{self.column}[{value.index('')}]='': {text}")
        return [self._known_as(token) for token in value]

    def _sound(self, text: str) -> str:
        """The text, if it can be written as UTF-8: half a surrogate pair cannot."""
        try:
            text.encode()
        except UnicodeEncodeError as error:
            self.refuse(text, f"character {error.start + 1} is half of a surrogate pair")
        return text
