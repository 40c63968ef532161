"""Text, by characters, bytes, words, subwords, or the tokens it is already cut into."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from seqpipe.bounds import Count, checked
from seqpipe.data.base import Field, FieldSpec, Record
from seqpipe.data.fields.subwords import Subwords
from seqpipe.data.fields.tokenization import (
    Bytes,
    Characters,
    Entry,
    Graphemes,
    Listed,
    Tokens,
    VocabularySize,
    Way,
    Words,
)
from seqpipe.data.fields.vectors import Pretrained
from seqpipe.data.fields.word_segmentation import composed, lowered
from seqpipe.data.vocabulary import BOS, EOS, PAD, UNK, id_type
from seqpipe.errors import ConfigError, DataError
from seqpipe.rules import refusal

_PARAGRAPH_END = re.compile(r"\n[^\S\n]*\n\s*\Z")
Counts = np.ndarray[Any, np.dtype[np.int64]]
WAYS: dict[str, type[Way]] = {
    way.unit: way for way in (Characters, Words, Tokens, Bytes, Subwords, Graphemes)
}


class Text(Field):
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
        by: what one step reads or writes.
        max_vocabulary: most symbols to know, <PAD> <UNK> <BOS> <EOS> included; None for all, or
            8000 subwords. There are always 260 bytes, and at least as many subwords.
        min_count: symbols that occur less often in the training split become <UNK>. None: 1 for
            characters and graphemes; else 2, since a model only learns what to do with <UNK> where
            it meets some, and a tenth of the words of a text occur once. Subwords are not joined
            to one that occurs less often; bytes are all kept, so that it must be None.
        lowercase: make all letters small first.
        unknown: the symbol that the texts themselves hold in place of unknown words, `<unk>` in
            Penn Treebank and WikiText: it becomes the <UNK> of the vocabulary. None: they hold
            none. Not by bytes or subwords.
        vectors: a file of word vectors that the embedding starts from (GloVe, word2vec or
            fastText, as text or .gz); by words or tokens only. None: random ones.

    Raises:
        ConfigError: an unknown way, or an option out of its range.
    """

    kind = "symbols"

    @checked()
    def __init__(
        self,
        column: str,
        *,
        by: Literal[
            "characters", "words", "tokens", "bytes", "subwords", "graphemes"
        ] = "characters",
        max_vocabulary: VocabularySize = None,
        min_count: Count | None = None,
        lowercase: bool = False,
        unknown: str | None = None,
        vectors: str | None = None,
    ) -> None:
        super().__init__(column)
        self.lowercase = lowercase
        own = lowered(unknown) if unknown is not None and lowercase else unknown
        self.way = WAYS[by](max_vocabulary, min_count, own)
        self.unnamed = Unnamed()
        if vectors is not None and not isinstance(self.way, Words | Tokens):
            allowed = "null, or also by=words or by=tokens"
            raise ConfigError(refusal("vectors", vectors, "are of words", allowed))
        self.vectors = Pretrained(vectors)

    @property
    def extras(self) -> tuple[str, ...]:
        """That of the way, where it needs one."""
        return () if self.way.extra is None else (self.way.extra,)

    def fit(self, records: Iterable[Record]) -> None:
        """Learn the vocabulary."""
        entries = (self._entry(record) for record in records)
        listed = isinstance(self.way, Listed) and self.way.unknown is None
        self.way.fit(self.unnamed.seen(entries) if listed else entries)
        self.vectors.fit(self.way.names)

    def encode(self, record: Record) -> Tensor:
        """(T,) integers, without an <EOS> at the end."""
        ids = self._ids(record)
        return self._tensor(ids if getattr(record, "goes_on", False) else ids[:-1])

    def encode_target(self, record: Record) -> Tensor:
        """(T + 1,) integers, ending in <EOS>; empty where the text is."""
        return self._tensor(self._ids(record))

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
            return self.way.decode(parts[0])
        return "\n\n".join(self.way.decode(part) for part in parts if part)

    def truth(self, record: Record) -> str:
        """The text as it is read; where white space is dropped, runs of it as one blank."""
        entry = self._entry(record)
        return self.way.spaced(entry if isinstance(entry, str) else " ".join(entry))

    def _compared(self, ids: Sequence[int]) -> str:
        return self.way.spaced(self.decode(ids))

    def _cut(self, text: str) -> Sequence[str]:
        return self.way.steps(text)[0]

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

    def inputs(self) -> list[Path]:
        """The file of vectors, where there is one."""
        return self.vectors.inputs()

    def state(self) -> dict[str, Any]:
        """The vocabulary and its vectors, and how texts are read."""
        read = {"reading": self.way.reading, "unnamed": self.unnamed.counts}
        return self.way.state() | self.vectors.state() | read

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set the vocabulary and its vectors."""
        self.way.restore(state)
        self.vectors.restore(state)
        self.unnamed.counts = dict(state.get("unnamed", {}))

    def notes(self, key: str) -> list[str]:
        """Words that no blanks separate, and symbols for unknown words that nobody named."""
        return [*self.way.notes(key), *self.unnamed.notes(key)]

    def steps(self, value: Any) -> tuple[list[str], Callable[[Sequence[str]], str]]:
        """The text of each step, and a function that joins them."""
        if isinstance(value, str):
            return self.way.steps(self._composed(value))
        return super().steps(value)

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
            return self._read(value if value.isascii() else self._sound(value))
        is_list = isinstance(value, list) and all(isinstance(token, str) for token in value)
        if not (self.way.takes_lists and is_list):
            self.refuse(value, "not text" + (", nor a list of it" if self.way.takes_lists else ""))
        if "" in value:
            text = "is missing; allowed: a token for each step"
            raise DataError(f"{self.column}[{value.index('')}]='': {text}")
        return [self._read(token) for token in value]

    def _read(self, text: str) -> str:
        """The text in the form that it is looked up in."""
        text = self._composed(text)
        if not self.lowercase:
            return text
        return text.lower() if self.way.reading == 1 else lowered(text)

    def _composed(self, text: str) -> str:
        return composed(text) if self.way.composes and self.way.reading > 1 else text

    def _sound(self, text: str) -> str:
        """The text, if it can be written as UTF-8: half a surrogate pair cannot."""
        try:
            text.encode()
        except UnicodeEncodeError as error:
            self.refuse(text, f"character {error.start + 1} is half of a surrogate pair")
        return text


class Unnamed:
    """Symbols for unknown words that texts hold, and that no option names.

    Attributes:
        counts: how often training holds each.
    """

    usual = ("<unk>", "<UNK>", "<unknown>", "[UNK]")
    few = 5

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def seen(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """The entries, counted."""
        self.counts = {}
        for entry in entries:
            self.see(entry)
            yield entry

    def see(self, entry: Entry) -> None:
        """Counts those of one entry."""
        for symbol in self.usual:
            if symbol in entry:
                self.counts[symbol] = self.counts.get(symbol, 0) + entry.count(symbol)

    def notes(self, key: str) -> list[str]:
        """Advice about them; key: of the field."""
        return [
            f"{key}.unknown=null: the texts hold {symbol} {count:,} times, which is a symbol like"
            " any other here, not the one for words that training never showed; allowed:"
            f" \"+{key}.unknown='{symbol}'\" if it stands for unknown words"
            for symbol, count in self.counts.items()
            if count >= self.few
        ]


def unknown_rate(counts: Counts) -> float:
    """The share of symbols that became <UNK>, the ends left out; counts: (V,)."""
    return float(counts[UNK]) / max(1, int(counts.sum() - counts[EOS]))


def unknown_rates(counts: Mapping[str, Counts]) -> str:
    """` (share of <UNK>: valid 0.02)` of the splits that have any; counts: (V,) by split."""
    rates = {split: unknown_rate(count) for split, count in counts.items()}
    shown = ", ".join(f"{split} {rate:.2g}" for split, rate in rates.items() if rate)
    return f" (share of <UNK>: {shown})" if shown else ""
