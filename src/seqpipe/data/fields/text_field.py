"""Texts that are cut into symbols: what their fields share, and the share of unknown symbols."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from seqpipe.data.base import Field
from seqpipe.data.columns import Array
from seqpipe.data.fields.augmentation import replaced
from seqpipe.data.fields.tokenization import Entry, Way
from seqpipe.data.fields.vectors import Pretrained
from seqpipe.data.fields.word_segmentation import lowered
from seqpipe.data.vocabulary import EOS, UNK
from seqpipe.errors import ConfigError
from seqpipe.rules import refusal

Counts = np.ndarray[Any, np.dtype[np.int64]]
_UNSPACED = (
    "{key}.by=words: no blanks separate the words of these texts (as in Chinese, Japanese, Thai,"
    " Lao, Khmer, Burmese), so that each run of letters counts as one word; allowed: {remedy}"
)


class TextField(Field):
    """The base of fields that cut a text into symbols of a vocabulary.

    Args:
        column: the key of the entry in a record.
        way: how texts are cut.
        max_vocabulary: see `Way`.
        min_count: see `Way`.
        lowercase: make the letters small by which a symbol is known.
        unknown: see `Way`.
        normalize: see `Way`, its `form`.
        vectors: see `Pretrained`.
        lowercase_vectors: see `Pretrained`.
        word_dropout: share of the symbols of x that are read as <UNK> in training, other ones in
            each epoch, see `augmentation.replaced`.
    """

    augmentations = ("word_dropout",)
    unspaced_remedy: ClassVar[str]
    """What to choose for texts without blanks between words; {key} is that of the field."""

    def __init__(
        self,
        column: str,
        way: type[Way],
        *,
        max_vocabulary: int | None,
        min_count: int | None,
        lowercase: bool,
        unknown: str | None,
        normalize: str | None,
        vectors: str | None,
        lowercase_vectors: bool,
        word_dropout: float,
    ) -> None:
        super().__init__(column)
        self.lowercase, self.word_dropout = lowercase, word_dropout
        own = lowered(unknown) if unknown is not None and lowercase else unknown
        self.way = way(max_vocabulary, min_count, own, normalize)
        self.unnamed = Unnamed()
        if lowercase and lowercase_vectors:
            wrong, allowed = "all words are in small letters", "false, or also lowercase=false"
            raise ConfigError(refusal("lowercase_vectors", True, wrong, allowed))
        self.vectors = Pretrained(vectors, lowercase=lowercase_vectors)

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

    def augment(self, values: Array, rng: np.random.Generator) -> Array:
        """A copy of the ids, (T,), with some as <UNK>."""
        return replaced(values, self.word_dropout, UNK, rng)

    def notes(self, key: str) -> list[str]:
        """Words that no blanks separate, and symbols for unknown words that nobody named."""
        remedy = self.unspaced_remedy.format(key=key)
        unspaced = [_UNSPACED.format(key=key, remedy=remedy)] if self.way.unspaced else []
        return [*unspaced, *self.unnamed.notes(key)]

    def steps(self, value: Any) -> tuple[list[str], Callable[[Sequence[str]], str]]:
        """The text of each step, and a function that joins them."""
        if isinstance(value, str):
            symbols, join = self.way.steps(self.way.composed(value))
            return symbols, lambda chosen: self.way.recomposed(join(chosen))
        return super().steps(value)

    @property
    def _may_be_unnamed(self) -> bool:
        """True where a text may hold a symbol for unknown words that no option names."""
        return self.way.has_unknown and self.way.unknown is None

    def _known_as(self, text: str) -> str:
        """The text in the form that it is looked up in."""
        text = self.way.composed(text)
        if not self.lowercase:
            return text
        return text.lower() if self.way.reading == 1 else lowered(text)


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
