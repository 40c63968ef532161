"""Ways to part a text in symbols and to put it together again."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, ClassVar

from seqpipe.data.vocabulary import SPECIALS, UNK, Vocabulary
from seqpipe.errors import ConfigError

UNKNOWN = "\ufffd"  # shown for <UNK>, and for bytes that are no text
_WORD = re.compile(r"\w+(?:['\u2019]\w+)*|([^\w\s])\1*")  # a word, or a run of one punctuation mark
_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")
_LONGEST_KNOWN, _MOST_KNOWN = 40, 100_000  # characters; entries, tens of MB
_NO_SPACE_BEFORE = frozenset(".,;:!?)]}%\u2026\u201d\u2019")
_NO_SPACE_AFTER = frozenset("([{\u201c\u2018")

Entry = str | list[str]
EVERY_BYTE = (len(SPECIALS) + 256, f"256 bytes and {len(SPECIALS)} special symbols")


class Way(ABC):
    """One way to write text as ids. The first four ids are special and stand for no text.

    Args:
        max_vocabulary: most symbols to know, the special ones included; None: as many as occur.
        min_count: symbols that occur less often become <UNK>; None: as suits this way.

    Attributes:
        names: what each symbol is called, by id.

    Raises:
        ConfigError: an option out of range.
    """

    unit: ClassVar[str]
    """What one symbol is, in the plural."""
    least: ClassVar[tuple[int, str]] = (len(SPECIALS) + 1, f"{len(SPECIALS)} symbols are special")
    """How many symbols cannot be done without, and why."""
    takes_lists = False
    """True where an entry may be parted already."""
    ends_paragraphs = False
    """True where every paragraph is ended, False where only the whole text is."""
    extra: ClassVar[str | None] = None
    """The extra of seqpipe whose libraries it needs."""
    names: tuple[str, ...] = SPECIALS

    def __init__(self, max_vocabulary: int | None = None, min_count: int | None = None) -> None:
        least, why = self.least
        if max_vocabulary is not None and max_vocabulary < least:
            raise ConfigError(f"max_vocabulary={max_vocabulary}: must be at least {least}, {why}")
        if min_count is not None and min_count < 1:
            raise ConfigError(f"min_count={min_count}: must be at least 1")
        self.max_vocabulary, self.min_count = max_vocabulary, min_count

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
        """What `fit` learned."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """Take up what `fit` learned on the same data before."""


class Listed(Way):
    """Ways whose symbols are listed in a vocabulary, the most frequent first."""

    default_min_count: ClassVar[int]

    def __init__(self, max_vocabulary: int | None = None, min_count: int | None = None) -> None:
        super().__init__(max_vocabulary, min_count)
        self._take(Vocabulary())

    @abstractmethod
    def parts(self, entry: Entry) -> Iterable[Sequence[str]]:
        """The symbols of each part that <EOS> is to end."""

    def fit(self, entries: Iterable[Entry]) -> None:
        """Count and list the symbols."""
        tokens = (token for entry in entries for part in self.parts(entry) for token in part)
        least = self.default_min_count if self.min_count is None else self.min_count
        self._take(Vocabulary.of(tokens, max_size=self.max_vocabulary, min_count=least))

    def encode(self, entry: Entry) -> list[list[int]]:
        """The ids of each part; <UNK> for what is not listed."""
        return [self.vocabulary.encode(part) for part in self.parts(entry)]

    def state(self) -> dict[str, Any]:
        """The vocabulary."""
        return {"symbols": self.names[len(SPECIALS) :]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up the vocabulary."""
        self._take(Vocabulary(state["symbols"]))

    def _take(self, vocabulary: Vocabulary) -> None:
        self.vocabulary, self.names = vocabulary, vocabulary.names


class Characters(Listed):
    """A symbol is a character, with none left out; an unknown one shows as U+FFFD."""

    unit, default_min_count = "characters", 1

    def parts(self, entry: Entry) -> Iterable[Sequence[str]]:
        """The text itself."""
        assert isinstance(entry, str)
        return [entry] if entry else []

    def decode(self, ids: Sequence[int]) -> str:
        """The characters."""
        return "".join(UNKNOWN if id_ == UNK else self.names[id_] for id_ in ids)


class Tokens(Listed):
    """A symbol is what white space parts, or an item of a list."""

    unit, default_min_count = "tokens", 2
    takes_lists = True

    def parts(self, entry: Entry) -> Iterable[Sequence[str]]:
        """The tokens."""
        tokens = entry.split() if isinstance(entry, str) else entry
        return [tokens] if tokens else []

    def decode(self, ids: Sequence[int]) -> str:
        """The tokens, with spaces between."""
        return " ".join(self.vocabulary.decode(ids))


class Words(Listed):
    """A symbol is a word or a run of one punctuation mark; white space is dropped."""

    unit, default_min_count = "words", 2
    ends_paragraphs = True

    def parts(self, entry: Entry) -> Iterable[Sequence[str]]:
        """The words of each paragraph that has any."""
        return [words for words in map(words_of, _paragraphs(entry)) if words]

    def encode(self, entry: Entry) -> list[list[int]]:
        """The ids of each paragraph; what white space parts is looked up, for most come again."""
        ids_of = self._known.__getitem__
        found = [[*chain.from_iterable(map(ids_of, one.split()))] for one in _paragraphs(entry)]
        return [ids for ids in found if ids]

    def _take(self, vocabulary: Vocabulary) -> None:
        super()._take(vocabulary)
        self._known = _Known(vocabulary)

    def decode(self, ids: Sequence[int]) -> str:
        """The words, with spaces where they usually stand."""
        return _spaced(self.vocabulary.decode(ids))


class _Known(dict[str, list[int]]):
    """The ids of what stands between white space: `word,` has two. Forgets when it holds many."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.vocabulary = vocabulary

    def __missing__(self, text: str) -> list[int]:
        ids = self.vocabulary.encode(words_of(text))
        if len(text) <= _LONGEST_KNOWN:
            if len(self) >= _MOST_KNOWN:
                self.clear()
            self[text] = ids
        return ids


class Bytes(Way):
    """A symbol is one of the 256 bytes of UTF-8; nothing is learned, and nothing is unknown."""

    unit, least = "bytes", EVERY_BYTE
    names = (*SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256)))

    def __init__(self, max_vocabulary: int | None = None, min_count: int | None = None) -> None:
        super().__init__(max_vocabulary, min_count)
        if min_count is not None:
            raise ConfigError(f"min_count={min_count}: by bytes none is left out; null")

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


def _paragraphs(entry: Entry) -> list[str]:
    assert isinstance(entry, str)
    return _PARAGRAPH.split(entry) if "\n" in entry else [entry]


def words_of(text: str) -> list[str]:
    """The words and the runs of one punctuation mark, white space left out."""
    return [match[0] for match in _WORD.finditer(text)]


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
