"""Text, by characters, bytes, words, subwords, or the tokens it is already parted in."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from seqpipe.data.base import Field, FieldSpec, Record
from seqpipe.data.fields.subwords import Subwords
from seqpipe.data.fields.tokenizing import Bytes, Characters, Entry, Tokens, Way, Words
from seqpipe.data.fields.vectors import Pretrained
from seqpipe.data.vocabulary import BOS, EOS, PAD, UNK, id_type
from seqpipe.errors import ConfigError, did_you_mean

_PARAGRAPH_END = re.compile(r"\n[^\S\n]*\n\s*\Z")
Counts = np.ndarray[Any, np.dtype[np.int64]]
WAYS: dict[str, type[Way]] = {way.unit: way for way in (Characters, Words, Tokens, Bytes, Subwords)}


class Text(Field):
    """Text as ids, (T,) integers. As y it ends in <EOS>, as x it does not.

    By words, a token is a word or a run of one punctuation mark, white space is dropped, and
    <EOS> ends every paragraph (what blank lines part), so that the end is learned. By tokens, a
    token is what white space parts, or an entry where the record holds a list of them. By bytes
    and by subwords (pieces of words learned from the training split) nothing is unknown.

    Args:
        column: the key of the entry in a record.
        by: what one step reads or writes.
        max_vocabulary: most symbols to know, <PAD> <UNK> <BOS> <EOS> included; None for all, or
            8000 subwords. There are always 260 bytes, and at least as many subwords.
        min_count: symbols that occur less often in the training split become <UNK>. None: 1 for
            characters; else 2, since a model only learns what to do with <UNK> where it meets
            some, and a tenth of the words of a text occur once. Subwords are not joined to one
            that occurs less often; bytes are all kept, so that it must be None.
        lowercase: make all letters small first.
        vectors: a file of word vectors that the embedding starts from (GloVe, word2vec or
            fastText, as text or .gz); by words or tokens only. None: random ones.

    Raises:
        ConfigError: an unknown way, or an option out of its range.
    """

    kind = "symbols"

    def __init__(
        self,
        column: str,
        *,
        by: Literal["characters", "words", "tokens", "bytes", "subwords"] = "characters",
        max_vocabulary: int | None = None,
        min_count: int | None = None,
        lowercase: bool = False,
        vectors: str | None = None,
    ) -> None:
        super().__init__(column)
        if by not in WAYS:
            hint = did_you_mean(by, WAYS)
            raise ConfigError(f"by={by}: not a way to read text; {', '.join(WAYS)}{hint}")
        self.lowercase = lowercase
        self.way = WAYS[by](max_vocabulary, min_count)
        if vectors is not None and not isinstance(self.way, Words | Tokens):
            raise ConfigError(f"vectors={vectors}: are of words; by=words, by=tokens, or null")
        self.vectors = Pretrained(vectors)

    @property
    def extras(self) -> tuple[str, ...]:
        """That of the way, where it needs one."""
        return () if self.way.extra is None else (self.way.extra,)

    def fit(self, records: Iterable[Record]) -> None:
        """Learn the vocabulary."""
        self.way.fit(self._entry(record) for record in records)
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

    @property
    def spec(self) -> FieldSpec:
        """Size: V, the vocabulary with its four special symbols."""
        names = self.way.names
        unit, vectors = self.way.unit, self.vectors.matrix
        return FieldSpec(self.kind, len(names), names, unit=unit, vectors=vectors)

    def describe(self, counts: Mapping[str, Counts]) -> str:
        """The size of the vocabulary, the share of <UNK> in each split, how many have vectors."""
        told = f"{len(self.way.names):,} {self.way.unit}{unknown_rates(counts)}"
        return "; ".join(filter(None, (told, self.vectors.describe(counts.get("train")))))

    def inputs(self) -> list[Path]:
        """The file of vectors, where there is one."""
        return self.vectors.inputs()

    def state(self) -> dict[str, Any]:
        """The vocabulary and its vectors."""
        return self.way.state() | self.vectors.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up the vocabulary and its vectors."""
        self.way.restore(state)
        self.vectors.restore(state)

    def _ends_paragraph(self, record: Record) -> bool:
        """Whether a piece of a longer text ends where a paragraph does, which is by words only."""
        text = self.value(record)
        return self.way.ends_paragraphs and bool(_PARAGRAPH_END.search(text))

    def _entry(self, record: Record) -> Entry:
        value = self.value(record)
        if isinstance(value, str):
            value = value.lower() if self.lowercase else value
            return value if value.isascii() else self._sound(value)
        is_list = isinstance(value, list) and all(isinstance(token, str) for token in value)
        if not (self.way.takes_lists and is_list):
            self.refuse(value, "not text" + (", nor a list of it" if self.way.takes_lists else ""))
        return [token.lower() for token in value] if self.lowercase else list(value)

    def _sound(self, text: str) -> str:
        """The text, if it can be written as UTF-8: half a surrogate pair cannot."""
        try:
            text.encode()
        except UnicodeEncodeError as error:
            self.refuse(text, f"character {error.start + 1} is half of a surrogate pair")
        return text


def unknown_rate(counts: Counts) -> float:
    """The share of symbols that became <UNK>, the ends left out; counts: (V,)."""
    return float(counts[UNK]) / max(1, int(counts.sum() - counts[EOS]))


def unknown_rates(counts: Mapping[str, Counts]) -> str:
    """` (share of <UNK>: valid 0.02)` of the splits that have any; counts: (V,) by split."""
    rates = {split: unknown_rate(count) for split, count in counts.items()}
    shown = ", ".join(f"{split} {rate:.2g}" for split, rate in rates.items() if rate)
    return f" (share of <UNK>: {shown})" if shown else ""
