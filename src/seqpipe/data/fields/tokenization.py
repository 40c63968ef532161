"""Ways to cut a text into symbols and to put it together again."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Annotated, Any, ClassVar

from seqpipe.data.fields.word_segmentation import READING, Spacing, WordCutter, graphemes, one_blank
from seqpipe.data.vocabulary import SPECIALS, UNK, Vocabulary
from seqpipe.errors import ConfigError
from seqpipe.rules import Rule, or_null, refusal, require, text, whole

UNKNOWN = "\ufffd"  # shown for <UNK>, and for bytes that are no text
_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")
_LONGEST_KNOWN, _MOST_KNOWN = 40, 100_000  # characters; entries, tens of MB

UNSPACED = (
    "{key}.by=words: no blanks separate the words of these texts (as in Chinese, Japanese, Thai,"
    " Lao, Khmer, Burmese), so that each run of letters counts as one word; allowed:"
    " {key}.by=characters, {key}.by=subwords, or texts with blanks between their words"
)
Entry = str | list[str]
EVERY_BYTE = (len(SPECIALS) + 256, f"256 bytes and {len(SPECIALS)} special symbols")


class Way(ABC):
    """One way to write text as ids. The first four ids are special and stand for no text.

    Args:
        max_vocabulary: most symbols to know, the special ones included; None: as many as occur.
        min_count: symbols that occur less often become <UNK>; None: as suits this way.
        unknown: how the texts themselves write an unknown symbol; it is <UNK>. None: they do not.

    Attributes:
        names: what each symbol is called, by id.
        reading: see `seqpipe.data.fields.word_segmentation.READING`.

    Raises:
        ConfigError: an option out of range.
    """

    unit: ClassVar[str]
    """The name of a symbol, in the plural."""
    least: ClassVar[tuple[int, str]] = (len(SPECIALS) + 1, f"{len(SPECIALS)} symbols are special")
    """The least size of the vocabulary, and the reason."""
    takes_lists = False
    """True where an entry may be split already."""
    ends_paragraphs = False
    """True where every paragraph is ended, False where only the whole text is."""
    extra: ClassVar[str | None] = None
    """The extra of seqpipe whose libraries it needs."""
    composes = False
    """True where texts are read in Unicode's normal form C."""
    names: tuple[str, ...] = SPECIALS
    reading = READING

    def __init__(
        self,
        max_vocabulary: int | None = None,
        min_count: int | None = None,
        unknown: str | None = None,
    ) -> None:
        require("max_vocabulary", max_vocabulary, vocabulary_of(*self.least))
        require("min_count", min_count, or_null(whole(1)))
        check_unknown(unknown)
        self.max_vocabulary, self.min_count, self.unknown = max_vocabulary, min_count, unknown

    @abstractmethod
    def fit(self, entries: Iterable[Entry]) -> None:
        """Learn the symbols. Goes through the entries once."""

    @abstractmethod
    def encode(self, entry: Entry) -> list[list[int]]:
        """The ids of each part that <EOS> is to end; none of an empty text."""

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """The text of one part; ids: without <PAD>, <BOS> and <EOS>."""

    def state(self) -> dict[str, Any]:
        """The result of `fit`, to be kept."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set what an earlier `fit` learned."""
        self.reading = state.get("reading", 1)

    def steps(self, entry: Entry) -> tuple[list[str], Callable[[Sequence[str]], str]]:
        """The text of each step, none where it is no text, and a function that joins them."""
        return [], "".join

    def between(self, before: str, text: str) -> str:
        """The white space between a text and another that continues it."""
        return ""

    def spaced(self, text: str) -> str:
        """A text as it is compared: without differences in white space that is not read."""
        return text

    def notes(self, key: str) -> list[str]:
        """Warnings about the texts that were fitted; key: of the field."""
        return []


class Listed(Way):
    """Ways whose symbols are listed in a vocabulary, the most frequent first."""

    default_min_count: ClassVar[int]

    def __init__(
        self,
        max_vocabulary: int | None = None,
        min_count: int | None = None,
        unknown: str | None = None,
    ) -> None:
        super().__init__(max_vocabulary, min_count, unknown)
        self._take(())

    @abstractmethod
    def parts(self, entry: Entry) -> Iterable[Sequence[str]]:
        """The symbols of each part that <EOS> is to end."""

    def fit(self, entries: Iterable[Entry]) -> None:
        """Count and list the symbols."""
        tokens = (token for entry in entries for part in self.parts(entry) for token in part)
        known = (token for token in tokens if token != self.unknown)
        least = self.default_min_count if self.min_count is None else self.min_count
        found = Vocabulary.of(known, max_size=self.max_vocabulary, min_count=least)
        self._take(found.names[len(SPECIALS) :])

    def encode(self, entry: Entry) -> list[list[int]]:
        """The ids of each part; <UNK> for what is not listed."""
        return [self.vocabulary.encode(part) for part in self.parts(entry)]

    def state(self) -> dict[str, Any]:
        """The vocabulary."""
        return {"symbols": self.names[len(SPECIALS) :]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set the vocabulary."""
        super().restore(state)
        self._take(state["symbols"])

    def steps(self, entry: Entry) -> tuple[list[str], Callable[[Sequence[str]], str]]:
        """The symbols."""
        return [token for part in self.parts(entry) for token in part], self.join

    def join(self, symbols: Sequence[str]) -> str:
        """Symbols as a text."""
        return " ".join(symbols)

    def _take(self, symbols: Sequence[str]) -> None:
        self.vocabulary = Vocabulary(symbols, unknown=self.unknown)
        self.names = self.vocabulary.names


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

    def join(self, symbols: Sequence[str]) -> str:
        """Characters as a text."""
        return "".join(symbols)

    def decode(self, ids: Sequence[int]) -> str:
        """The characters."""
        unknown = UNKNOWN if self.unknown is None else self.unknown
        return "".join(unknown if id_ == UNK else self.names[id_] for id_ in ids)


class Graphemes(Characters):
    """A symbol is what readers take for one character, a letter with its marks, a joined emoji.

    Source: Unicode Standard Annex #29, extended grapheme clusters.
    """

    unit = "graphemes"
    composes = True

    def cut(self, text: str) -> Sequence[str]:
        """The grapheme clusters of a text."""
        return text if text.isascii() and "\r\n" not in text else graphemes(text)


class Tokens(Listed):
    """A symbol is what white space separates, or an item of a list."""

    unit, default_min_count = "tokens", 2
    takes_lists = composes = True

    def parts(self, entry: Entry) -> Iterable[Sequence[str]]:
        """The tokens."""
        tokens = entry.split() if isinstance(entry, str) else entry
        return [tokens] if tokens else []

    def decode(self, ids: Sequence[int]) -> str:
        """The tokens, with spaces between."""
        return self.join(self.vocabulary.decode(ids))

    def spaced(self, text: str) -> str:
        """One blank between two tokens."""
        return " ".join(text.split())

    def between(self, before: str, text: str) -> str:
        """A blank."""
        return " " if before else ""


class Words(Listed):
    """A symbol is a word or a run of one punctuation mark; white space is dropped.

    Where blanks stand is learned, so that what is written reads as the training texts do.
    """

    unit, default_min_count = "words", 2
    ends_paragraphs = composes = True

    def __init__(
        self,
        max_vocabulary: int | None = None,
        min_count: int | None = None,
        unknown: str | None = None,
    ) -> None:
        self.spacing = Spacing()
        super().__init__(max_vocabulary, min_count, unknown)

    def fit(self, entries: Iterable[Entry]) -> None:
        """Count and list the words, and learn where blanks stand."""
        self.spacing = Spacing()
        super().fit(self._seen(entries))
        self.spacing.learn()

    def _seen(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        for entry in entries:
            if not self.spacing.full:
                for part in _paragraphs(entry):
                    self.spacing.see([*self.cut.spaced(part)])
            yield entry

    def parts(self, entry: Entry) -> Iterable[Sequence[str]]:
        """The words of each paragraph that has any."""
        return [words for words in map(self.cut, _paragraphs(entry)) if words]

    def encode(self, entry: Entry) -> list[list[int]]:
        """The ids of each paragraph; what white space parts is looked up, for most come again."""
        ids_of = self._known.__getitem__
        found = [[*chain.from_iterable(map(ids_of, one.split()))] for one in _paragraphs(entry)]
        return [ids for ids in found if ids]

    def _take(self, symbols: Sequence[str]) -> None:
        super()._take(symbols)
        self.cut = WordCutter(self.unknown, self.reading)
        self._known = _Known(self.vocabulary, self.cut)

    def join(self, symbols: Sequence[str]) -> str:
        """Words as a text, with blanks where they stood in training."""
        return self.spacing.write(symbols)

    def decode(self, ids: Sequence[int]) -> str:
        """The words, with blanks where they stood in training."""
        return self.join(self.vocabulary.decode(ids))

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

    def notes(self, key: str) -> list[str]:
        """Words that no blanks separate."""
        return [UNSPACED.format(key=key)] if self.spacing.unspaced else []


class _Known(dict[str, list[int]]):
    """The ids of what stands between white space: `word,` has two. Forgets when it holds many."""

    def __init__(self, vocabulary: Vocabulary, cut: WordCutter) -> None:
        super().__init__()
        self.vocabulary, self.cut = vocabulary, cut

    def __missing__(self, text: str) -> list[int]:
        ids = self.vocabulary.encode(self.cut(text))
        if len(text) <= _LONGEST_KNOWN:
            if len(self) >= _MOST_KNOWN:
                self.clear()
            self[text] = ids
        return ids


class Bytes(Way):
    """A symbol is one of the 256 bytes of UTF-8; nothing is learned, and nothing is unknown."""

    unit, least = "bytes", EVERY_BYTE
    names = (*SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256)))

    def __init__(
        self,
        max_vocabulary: int | None = None,
        min_count: int | None = None,
        unknown: str | None = None,
    ) -> None:
        super().__init__(max_vocabulary, min_count)
        if min_count is not None:
            raise ConfigError(refusal("min_count", min_count, "by bytes none is left out", "null"))
        refuse_unknown(self.unit, unknown)

    def fit(self, entries: Iterable[Entry]) -> None:
        """Nothing to learn."""

    def encode(self, entry: Entry) -> list[list[int]]:
        """The bytes, each plus 4."""
        assert isinstance(entry, str)
        return [[len(SPECIALS) + byte for byte in entry.encode()]] if entry else []

    def decode(self, ids: Sequence[int]) -> str:
        """The text; what is not UTF-8 shows as U+FFFD."""
        found = b"".join(
            UNKNOWN.encode() if id_ == UNK else bytes([id_ - len(SPECIALS)]) for id_ in ids
        )
        return found.decode(errors="replace")


def check_unknown(unknown: str | None) -> None:
    """Refuse a symbol for what is unknown that is none.

    Raises:
        ConfigError: it is empty, or holds white space.
    """
    require("unknown", unknown, or_null(text(r"\S+", "a symbol without blanks, as <unk>,")))


def vocabulary_of(least: int, why: str) -> Rule:
    """The rule of `max_vocabulary`.

    Args:
        least: how many symbols cannot be done without.
        why: the reason.
    """
    return or_null(whole(least)).because(why)


VocabularySize = Annotated[int | None, vocabulary_of(*Way.least)]


def refuse_unknown(unit: str, unknown: str | None) -> None:
    """Refuse a symbol for what is unknown where nothing is.

    Raises:
        ConfigError: there is one.
    """
    if unknown is not None:
        raise ConfigError(refusal("unknown", unknown, f"by {unit} nothing is unknown", "null"))


def _paragraphs(entry: Entry) -> list[str]:
    assert isinstance(entry, str)
    return _PARAGRAPH.split(entry) if "\n" in entry else [entry]
