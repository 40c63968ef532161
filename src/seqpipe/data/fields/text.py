"""Text, by characters, by words, or by the tokens it is already parted in."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from seqpipe.data.base import Field, FieldSpec, Record
from seqpipe.data.vocabulary import BOS, EOS, PAD, SPECIALS, UNK, Vocabulary
from seqpipe.errors import ConfigError, did_you_mean

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*|([^\w\s])\1*")  # a word, or a run of one punctuation mark
_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")
_NO_SPACE_BEFORE = frozenset(".,;:!?)]}%\u2026\u201d\u2019")
_NO_SPACE_AFTER = frozenset("([{\u201c\u2018")
_UNKNOWN_CHARACTER = "\ufffd"
BY = ("characters", "words", "tokens")


class Text(Field):
    """Text as ids, (T,) int64. As y it ends in <EOS>, as x it does not.

    By words, a token is a word or a run of one punctuation mark, white space is dropped, and
    <EOS> ends every paragraph (what blank lines part), so that the end is learned. By tokens, a
    token is what white space parts, or an entry where the record holds a list of them.

    Args:
        column: the key of the entry in a record.
        by: what one step reads or writes.
        max_vocabulary: most symbols to know, <PAD> <UNK> <BOS> <EOS> included; None for all.
        min_count: symbols that occur less often in the training split become <UNK>. None: 1 for
            characters; else 2, since a model only learns what to do with <UNK> where it meets
            some, and a tenth of the words of a text occur once.
        lowercase: make all letters small first.
    """

    kind = "symbols"

    def __init__(
        self,
        column: str,
        *,
        by: Literal["characters", "words", "tokens"] = "characters",
        max_vocabulary: int | None = None,
        min_count: int | None = None,
        lowercase: bool = False,
    ) -> None:
        super().__init__(column)
        if by not in BY:
            hint = did_you_mean(by, BY)
            raise ConfigError(f"by={by}: not a way to read text; {', '.join(BY)}{hint}")
        if max_vocabulary is not None and max_vocabulary <= len(SPECIALS):
            least = f"must be at least {len(SPECIALS) + 1}, {len(SPECIALS)} symbols are special"
            raise ConfigError(f"max_vocabulary={max_vocabulary}: {least}")
        if min_count is None:
            min_count = 1 if by == "characters" else 2
        if min_count < 1:
            raise ConfigError(f"min_count={min_count}: must be at least 1")
        self.by = by
        self.max_vocabulary = max_vocabulary
        self.min_count = min_count
        self.lowercase = lowercase
        self.vocabulary = Vocabulary()

    def fit(self, records: Iterable[Record]) -> None:
        """Learn the vocabulary, the most frequent symbols first."""
        tokens = (token for record in records for part in self._parts(record) for token in part)
        self.vocabulary = Vocabulary.of(
            tokens, max_size=self.max_vocabulary, min_count=self.min_count
        )

    def encode(self, record: Record) -> Tensor:
        """(T,) int64, without an <EOS> at the end."""
        ids = self.encode_target(record)
        return ids if getattr(record, "goes_on", False) else ids[:-1]

    def encode_target(self, record: Record) -> Tensor:
        """(T + 1,) int64, ending in <EOS>; empty where the text is."""
        ids: list[int] = []
        for part in self._parts(record):
            ids += self.vocabulary.encode(part)
            ids.append(EOS)
        if getattr(record, "goes_on", False):
            ids = ids[:-1]
        return torch.tensor(ids, dtype=torch.int64)

    def decode(self, values: Tensor | Sequence[Any]) -> str:
        """The text, padding left out.

        By characters it ends at the first <EOS>, and an unknown character shows as U+FFFD. By
        words every <EOS> ends a paragraph, and spaces are put where they usually stand.
        """
        ids = [int(value) for value in values]
        ids = [id_ for id_ in ids if id_ not in (PAD, BOS)]
        if self.by == "characters":
            ids = ids[: ids.index(EOS)] if EOS in ids else ids
            names = self.vocabulary.names
            return "".join(_UNKNOWN_CHARACTER if id_ == UNK else names[id_] for id_ in ids)
        if self.by == "tokens":
            ids = ids[: ids.index(EOS)] if EOS in ids else ids
            return " ".join(self.vocabulary.decode(ids))
        paragraphs: list[list[int]] = [[]]
        for id_ in ids:
            if id_ == EOS:
                paragraphs.append([])
            else:
                paragraphs[-1].append(id_)
        return "\n\n".join(_spaced(self.vocabulary.decode(part)) for part in paragraphs if part)

    @property
    def spec(self) -> FieldSpec:
        """Size: V, the vocabulary with its four special symbols."""
        return FieldSpec(self.kind, len(self.vocabulary), self.vocabulary.names, unit=self.by)

    def describe(self, counts: Mapping[str, np.ndarray[Any, np.dtype[np.int64]]]) -> str:
        """The size of the vocabulary, and the share of <UNK> in each split that has any."""
        rates = {split: unknown_rate(count) for split, count in counts.items()}
        shown = ", ".join(f"{split} {rate:.2g}" for split, rate in rates.items() if rate)
        return f"{len(self.vocabulary):,} {self.by}" + (
            f" (share of <UNK>: {shown})" if shown else ""
        )

    def state(self) -> dict[str, Any]:
        """The vocabulary."""
        return {"symbols": self.vocabulary.names[len(SPECIALS) :]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up the vocabulary."""
        self.vocabulary = Vocabulary(state["symbols"])

    def _parts(self, record: Record) -> Iterable[Sequence[str]]:
        """Tokens of each part that <EOS> ends: the text by characters, a paragraph by words."""
        text = self.value(record)
        if self.by == "tokens" and isinstance(text, list):
            tokens = [token.lower() for token in text] if self.lowercase else text
            return [tokens] if tokens else []
        if not isinstance(text, str):
            self.refuse(text, "not text")
        text = text.lower() if self.lowercase else text
        if self.by == "tokens":
            return [tokens] if (tokens := text.split()) else []
        if self.by == "characters":
            return [text] if text else []
        paragraphs = ([m[0] for m in _WORD.finditer(part)] for part in _PARAGRAPH.split(text))
        return [tokens for tokens in paragraphs if tokens]


def unknown_rate(counts: np.ndarray[Any, np.dtype[np.int64]]) -> float:
    """The share of symbols that became <UNK>, the ends left out; counts: (V,)."""
    return float(counts[UNK]) / max(1, int(counts.sum() - counts[EOS]))


def _spaced(tokens: Sequence[str]) -> str:
    """Words and marks as a line to read: no space inside brackets, quotes or before a comma."""
    line = ""
    glue = True
    quoted = False
    for token in tokens:
        closing = token == '"' and quoted
        line += token if glue or closing or token[0] in _NO_SPACE_BEFORE else f" {token}"
        quoted = quoted != (token == '"')
        glue = token[-1] in _NO_SPACE_AFTER or (token == '"' and not closing)
    return line
