"""Ways to cut a text into symbols and to put it together again."""

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Any, ClassVar

import numpy as np

from seqpipe.data.fields.many_texts import CharacterTable, Ids, Known
from seqpipe.data.fields.word_segmentation import (
    READING,
    Spacing,
    WordCutter,
    composed,
    graphemes,
    normalized,
    one_blank,
)
from seqpipe.data.vocabulary import SPECIALS, UNK, Vocabulary, id_type
from seqpipe.errors import ConfigError
from seqpipe.rules import or_null, refusal, text, whole

UNKNOWN = "\ufffd"  # shown for <UNK>, and for bytes that are no text
_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")

Entry = str | list[str]
_SPECIAL = len(SPECIALS)
VocabularySize = Annotated[
    int | None, or_null(whole(_SPECIAL + 1)).because(f"{_SPECIAL} symbols are special")
]
UnknownSymbol = Annotated[str | None, or_null(text(r"\S+", "a symbol without blanks, as <unk>,"))]


@dataclass(eq=False)
class Way(ABC):
    """One way to write text as ids. The first four ids are special and stand for no text.

    Args:
        max_vocabulary: most symbols to know, the special ones included; None: as many as occur.
        min_count: symbols that occur less often become <UNK>; None: as suits this way.
        unknown: how the texts themselves write an unknown symbol; it is <UNK>. None: they do not.
        form: the normal form of Unicode in which texts are read, `nfc`, `nfd`, `nfkc` or `nfkd`;
            what was decomposed is written composed. None: as suits this way.

    Attributes:
        reading: see `seqpipe.data.fields.word_segmentation.READING`.

    Raises:
        ConfigError: an option out of range.
    """

    unit: ClassVar[str]
    """The name of a symbol, in the plural."""
    of_words: ClassVar[bool] = False
    """True where a symbol is a word, which may have a vector of its own."""
    has_unknown: ClassVar[bool] = True
    """True where a text may hold symbols that are not in the vocabulary."""
    takes_lists: ClassVar[bool] = False
    """True where an entry may be split already."""
    ends_paragraphs: ClassVar[bool] = False
    """True where every paragraph is ended, False where only the whole text is."""
    composes: ClassVar[bool] = False
    """True where texts are read in Unicode's normal form C."""

    max_vocabulary: int | None = None
    min_count: int | None = None
    unknown: str | None = None
    form: str | None = None

    reading = READING

    def __post_init__(self) -> None:
        if not self.has_unknown and self.unknown is not None:
            wrong = f"by {self.unit} nothing is unknown"
            raise ConfigError(refusal("unknown", self.unknown, wrong, "null"))

    @property
    def unspaced(self) -> bool:
        """True where the texts that were fitted have no blanks between their words."""
        return False

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """The name of each symbol, by id."""

    @abstractmethod
    def fit(self, entries: Iterable[Entry]) -> None:
        """Learn the symbols. Goes through the entries once."""

    @abstractmethod
    def encode(self, entry: Entry) -> list[list[int]]:
        """The ids of each part that <EOS> is to end; none of an empty text."""

    def encode_many(self, texts: Sequence[str]) -> list[Ids]:
        """The ids of each text of one part, (T,) without <EOS>.

        Args:
            texts: without line ends where `ends_paragraphs`; UTF-8 can encode them.
        """
        kept = id_type(len(self.names))
        return [np.array([*chain.from_iterable(self.encode(one))], dtype=kept) for one in texts]

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """The text of one part; ids: without <PAD>, <BOS> and <EOS>."""

    def state(self) -> dict[str, Any]:
        """The result of `fit`, to be kept."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set what an earlier `fit` learned."""
        self.reading = state.get("reading", 1)

    def composed(self, text: str) -> str:
        """The text in the normal form of Unicode in which it is read."""
        if self.form is not None:
            return normalized(text, self.form)
        return composed(text) if self.composes and self.reading > 1 else text

    def recomposed(self, text: str) -> str:
        """A text that is written: in normal form C if it was read decomposed."""
        return composed(text) if self.form in ("nfd", "nfkd") else text

    def steps(self, entry: Entry) -> tuple[list[str], Callable[[Sequence[str]], str]]:
        """The text of each step, none where it is no text, and a function that joins them."""
        return [], "".join

    def between(self, before: str, text: str) -> str:
        """The white space between a text and another that continues it."""
        return ""

    def spaced(self, text: str) -> str:
        """A text as it is compared: without differences in white space that is not read."""
        return text


class Listed(Way):
    """Ways whose symbols are listed in a vocabulary, the most frequent first."""

    default_min_count: ClassVar[int]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.clear()

    @property
    def names(self) -> tuple[str, ...]:
        """See `Way`."""
        return self.vocabulary.names

    def clear(self) -> None:
        """Forget what was learned."""
        self._set_symbols(())

    @abstractmethod
    def parts(self, entry: Entry) -> Iterable[Sequence[str]]:
        """The symbols of each part that <EOS> is to end."""

    def tokens(self, entry: Entry) -> list[str]:
        """The symbols of all parts."""
        return [token for part in self.parts(entry) for token in part]

    def fit(self, entries: Iterable[Entry]) -> None:
        """Count and list the symbols."""
        self.clear()
        self.learn(Counter(chain.from_iterable(map(self._observed_tokens, entries))))

    def _observed_tokens(self, entry: Entry) -> list[str]:
        self.observe(entry)
        return self.tokens(entry)

    def observe(self, entry: Entry) -> None:
        """Notice what else than its symbols is to be learned of an entry: here nothing."""

    def learn(self, counts: Counter[str]) -> None:
        """List the symbols, and learn what was observed.

        Args:
            counts: how often each symbol occurs.
        """
        known = Counter({token: count for token, count in counts.items() if token != self.unknown})
        least = self.default_min_count if self.min_count is None else self.min_count
        found = Vocabulary.of(known, max_size=self.max_vocabulary, min_count=least)
        self._set_symbols(found.names[_SPECIAL:])

    def encode(self, entry: Entry) -> list[list[int]]:
        """The ids of each part; <UNK> for what is not listed."""
        return [self.vocabulary.encode(part) for part in self.parts(entry)]

    def state(self) -> dict[str, Any]:
        """The vocabulary."""
        return {"symbols": self.names[_SPECIAL:]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set the vocabulary."""
        super().restore(state)
        self._set_symbols(state["symbols"])

    def steps(self, entry: Entry) -> tuple[list[str], Callable[[Sequence[str]], str]]:
        """The symbols."""
        return self.tokens(entry), self.join

    def join(self, symbols: Sequence[str]) -> str:
        """Symbols as a text."""
        return " ".join(symbols)

    def decode(self, ids: Sequence[int]) -> str:
        """The symbols as a text."""
        return self.join(self.vocabulary.decode(ids))

    def _set_symbols(self, symbols: Sequence[str]) -> None:
        self.vocabulary = Vocabulary(symbols, unknown=self.unknown)


class Characters(Listed):
    """A symbol is a code point, with none left out; an unknown one shows as U+FFFD."""

    unit, default_min_count = "characters", 1

    def parts(self, entry: Entry) -> Iterable[Sequence[str]]:
        """The text itself."""
        assert isinstance(entry, str)
        if self.unknown is None or self.unknown not in entry:
            return [self.cut(entry)] if entry else []
        first, *rest = map(self.cut, entry.split(self.unknown))
        return [[*first, *(one for part in rest for one in (self.unknown, *part))]]

    def cut(self, text: str) -> Sequence[str]:
        """The characters of a text."""
        return text

    def encode_many(self, texts: Sequence[str]) -> list[Ids]:
        """See `Way`."""
        if self.unknown is not None and any(self.unknown in text for text in texts):
            return super().encode_many(texts)
        return CharacterTable(self.vocabulary).ids_of_texts(texts)

    def join(self, symbols: Sequence[str]) -> str:
        """Characters as a text."""
        return "".join(symbols)

    def decode(self, ids: Sequence[int]) -> str:
        """The characters."""
        names, unknown = self.names, self.unknown or UNKNOWN
        return "".join(unknown if id_ == UNK else names[id_] for id_ in ids)


class Graphemes(Characters):
    """A symbol is what readers take for one character, a letter with its marks, a joined emoji.

    Source: Unicode Standard Annex #29, extended grapheme clusters.
    """

    unit = "graphemes"
    composes = True

    def cut(self, text: str) -> Sequence[str]:
        """The grapheme clusters of a text."""
        return text if text.isascii() and "\r\n" not in text else graphemes(text)

    def encode_many(self, texts: Sequence[str]) -> list[Ids]:
        """See `Way`."""
        return Way.encode_many(self, texts)


class Separated(Listed):
    """Ways whose symbols never reach across white space.

    Attributes:
        cut: splits a text into symbols.
    """

    cut: Callable[[str], list[str]]

    def encode_many(self, texts: Sequence[str]) -> list[Ids]:
        """See `Way`."""
        return self._known.ids_of_texts(texts)

    def _set_symbols(self, symbols: Sequence[str]) -> None:
        super()._set_symbols(symbols)
        self._known = Known(self.vocabulary, self.cut)


class Tokens(Separated):
    """A symbol is what white space separates, or an item of a list."""

    unit, default_min_count = "tokens", 2
    of_words = takes_lists = composes = True
    cut = staticmethod(str.split)

    def parts(self, entry: Entry) -> Iterable[Sequence[str]]:
        """The tokens."""
        tokens = self.cut(entry) if isinstance(entry, str) else entry
        return [tokens] if tokens else []

    def spaced(self, text: str) -> str:
        """One blank between two tokens."""
        return " ".join(text.split())

    def between(self, before: str, text: str) -> str:
        """A blank."""
        return " " if before else ""


class Words(Separated):
    """A symbol is a word or a run of one punctuation mark; white space is dropped.

    Where blanks stand is learned, so that what is written reads as the training texts do.
    """

    unit, default_min_count = "words", 2
    of_words = ends_paragraphs = composes = True
    cut: WordCutter

    def clear(self) -> None:
        """Forget the words, and where blanks stand."""
        self.spacing = Spacing()
        super().clear()

    def observe(self, entry: Entry) -> None:
        """Notice where blanks stand."""
        for part in () if self.spacing.full else _paragraphs(entry):
            self.spacing.see([*self.cut.spaced(part)])

    def learn(self, counts: Counter[str]) -> None:
        """List the words, and learn where blanks stand."""
        super().learn(counts)
        self.spacing.learn()

    @property
    def unspaced(self) -> bool:
        """See `Way`."""
        return self.spacing.unspaced

    def parts(self, entry: Entry) -> Iterable[Sequence[str]]:
        """The words of each paragraph that has any."""
        return [words for words in map(self.cut, _paragraphs(entry)) if words]

    def encode(self, entry: Entry) -> list[list[int]]:
        """The ids of each paragraph; what white space parts is looked up, for most come again."""
        ids_of = self._known.__getitem__
        found = [[*chain.from_iterable(map(ids_of, one.split()))] for one in _paragraphs(entry)]
        return [ids for ids in found if ids]

    def _set_symbols(self, symbols: Sequence[str]) -> None:
        self.cut = WordCutter(self.unknown, self.reading)
        super()._set_symbols(symbols)

    def join(self, symbols: Sequence[str]) -> str:
        """Words as a text, with blanks where they stood in training."""
        return self.spacing.write(symbols)

    def spaced(self, text: str) -> str:
        """White space of any kind and length as one blank."""
        return one_blank(text)

    def between(self, before: str, text: str) -> str:
        """The blank between the last word of the one and the first of the other."""
        words = self.cut(before)
        if not words or not text or before[-1].isspace():
            return ""
        return self.spacing.write(self.cut(text)[:2], words).partition(text[:1])[0]

    def state(self) -> dict[str, Any]:
        """The vocabulary, and where blanks stand."""
        return {**super().state(), "spacing": self.spacing.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set the vocabulary, and the places of blanks."""
        super().restore(state)
        self.spacing = Spacing()
        if "spacing" in state:
            self.spacing.restore(state["spacing"])


def _paragraphs(entry: Entry) -> list[str]:
    assert isinstance(entry, str)
    return _PARAGRAPH.split(entry) if "\n" in entry else [entry]
