"""Words of a text by Unicode's rules, and where blanks stand between them."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import regex

from seqpipe.data.vocabulary import SPECIALS, UNK

READING = 2
"""The version of the rules. 1: until version 0.9, without Unicode's rules for marks."""

_WORD = r"\w+(?:['\u2019]\w+)*|([^\w\s])\1*"
_FIRST_READING = re.compile(_WORD)  # and today's of ASCII, where both say the same
_IN = r"\p{L}\p{N}\p{M}_"  # marks belong to the letter before them
_PART = rf"[{_IN}][{_IN}\u05f3\u00ad\u200c\u200d\u2060]*"
_UNSEEN = "\ufeff\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks of order and direction
_BLANK = rf"\s\x1c-\x1f\u200b{_UNSEEN}"
_JOINT = r"['\u2019\u00b7\u0387\u2027]|(?<=\p{Hebrew})[\x22\u05f4](?=\p{Hebrew})"
_MARK = rf"\p{{GCB=Prepend}}+(?=[{_BLANK}])|\X"  # else \X joins such a sign to the blank after it
_WORD_OF_ANY_SCRIPT = rf"{_PART}(?:(?:{_JOINT}){_PART})*|(?=[^{_IN}{_BLANK}])({_MARK})\1*"
_MARKS = re.compile(f"[{_UNSEEN}]")
_BLANKS, _OTHER_BLANK = regex.compile(rf"[{_BLANK}]+"), re.compile(r"[\t-\r\x1c-\x1f]")
_GRAPHEME = regex.compile(r"\X")
_STARTS_WORD = regex.compile(rf"[{_IN}]")
_UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]")

LEARNED = 100_000  # words whose spacing is learned from
_LONG = 8  # letters: words of these scripts, where blanks separate them, are shorter on average
WORDS = ("a", "0", "00", "000", "0000")  # kinds: words, and numbers by their digits
PARTICULAR = 3  # of the keys of two neighbours: those that name words
_KEPT_BLANKS = {"", "\u00a0", "\u202f", "\u200b"}
_NO_SPACE_BEFORE = frozenset(".,;:!?)]}%\u2026\u201d\u2019")
_NO_SPACE_AFTER = frozenset("([{\u201c\u2018")


class WordCutter:
    """Cuts a text in words and marks, and writes them as the training texts do.

    A word is a run of letters, digits and the marks on them, also with an apostrophe, a middle
    dot, or in Hebrew a gershayim inside. All else is cut into graphemes (an emoji with its
    modifiers, a flag); one that is repeated stays one token. Blanks are dropped. Unlike the
    default of the standard, a number ends at its point (3 . 14), and letters without spaces
    between words (Chinese, Thai) stay together.

    Args:
        unknown: the text's own symbol for unknown words, kept as one word; None: it has none, and
            <UNK> is.
        reading: see `READING`.

    Source: Unicode Standard Annex #29, rules GB3 to GB13, WB4 to WB7c and WB13a.
    """

    def __init__(self, unknown: str | None = None, reading: int = READING) -> None:
        kept = SPECIALS[UNK] if unknown is None else unknown  # an answer with it is read again
        whole = reading == 1 or re.fullmatch(_WORD, kept)
        own = "" if whole else rf"{re.escape(kept)}|"
        self._ascii = re.compile(own + _WORD)
        self._any = self._ascii if reading == 1 else regex.compile(own + _WORD_OF_ANY_SCRIPT)

    def __call__(self, text: str) -> list[str]:
        """The words and marks."""
        return [match[0] for match in self._found(text)]

    def spaced(self, text: str) -> Iterator[tuple[str, str]]:
        """The words and marks, each with what stands before it."""
        end = 0
        for match in self._found(text):
            yield match[0], text[end : match.start()]
            end = match.end()

    def _found(self, text: str) -> Iterable[Any]:
        return (self._ascii if text.isascii() else self._any).finditer(text)


def composed(text: str) -> str:
    """The text in Unicode's normal form C: a letter with an accent is one sign where there is one.

    >>> len("e\N{COMBINING ACUTE ACCENT}"), len(composed("e\N{COMBINING ACUTE ACCENT}"))
    (2, 1)
    """
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def normalized(text: str, form: str) -> str:
    """The text in a normal form of Unicode: `nfc`, `nfd`, `nfkc` or `nfkd`.

    >>> [hex(ord(jamo)) for jamo in normalized("\N{HANGUL SYLLABLE HAN}", "nfd")]
    ['0x1112', '0x1161', '0x11ab']

    Source: Unicode Standard Annex #15; of syllables, The Unicode Standard, section 3.12.
    """
    return text if text.isascii() else unicodedata.normalize(form.upper(), text)  # type: ignore[arg-type]


def graphemes(text: str) -> list[str]:
    """Extended grapheme clusters.

    >>> graphemes("e\N{COMBINING ACUTE ACCENT}a")[1:]
    ['a']
    """
    found: list[str] = _GRAPHEME.findall(text)
    return found


def one_blank(text: str) -> str:
    """The text with one space in place of each run of what is white space between words."""
    if text.isascii() and "  " not in text and not _OTHER_BLANK.search(text):
        return text.strip(" ")
    return str(_BLANKS.sub(" ", _MARKS.sub("", text))).strip(" ")


def lowered(text: str) -> str:
    """The text in small letters; the dotted capital I of Turkish becomes one letter, not two.

    >>> lowered("\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}zmir")
    'izmir'
    """
    if not text.isascii():
        text = text.replace("\u0130", "i").replace("I\u0307", "i")
    return text.lower()


class Spacing:
    """The places of blanks between words and marks, learned from texts.

    Of each two neighbours that are not both words, what stood between them most often is kept:
    for these two, and for two of their kind. What training never showed is spaced as in English.
    It also finds out whether the texts separate their words at all.

    Attributes:
        blanks: what stands between two, by a key of `_keys`.
        unspaced: True where words are not separated, as in Chinese or Thai.
    """

    def __init__(self) -> None:
        self.blanks: dict[str, str] = {}
        self.unspaced = False
        self._counts: Counter[tuple[str, str]] = Counter()
        self._general: dict[str, str] = {}
        self._seen = self._length = self._of_scripts = self._letters = self._apart = 0

    @property
    def full(self) -> bool:
        """True when enough was seen."""
        return self._seen >= LEARNED

    def see(self, spaced: Sequence[tuple[str, str]]) -> None:
        """Counts the blanks of one paragraph. spaced: its words, each with what is before it."""
        words = [word for word, _ in spaced]
        between = [_blank(text) for _, text in spaced]
        for place, keys in enumerate(_keys(words, between), 1):
            self._counts.update((key, between[place]) for key in keys)
            if len(keys) > 1:
                self._general.update(dict.fromkeys(keys[:PARTICULAR], keys[PARTICULAR]))
        self._seen += len(words)
        self._length += sum(map(len, words))
        before = False
        for word, blank in zip(words, between, strict=True):
            here = not word.isascii() and _UNSPACED.search(word) is not None
            if here:
                self._of_scripts += 1
                self._letters += len(word)
                self._apart += before and blank != ""
            before = here

    def learn(self) -> None:
        """Keeps what was most frequent; of particular words only where their kind differs."""
        most: dict[str, tuple[int, str]] = {}
        for (key, blank), count in sorted(self._counts.items()):
            if count > most.get(key, (0, ""))[0]:
                most[key] = (count, blank)
        usual = {key: blank for key, (_, blank) in most.items()}
        self.blanks = {
            key: blank
            for key, blank in usual.items()
            if key not in self._general or blank != usual[self._general[key]]
        }
        many = self._letters > 0.3 * self._length
        joined = self._letters > _LONG * self._of_scripts or 4 * self._apart < self._of_scripts
        self.unspaced = many and joined
        self._counts, self._general = Counter(), {}

    def write(self, words: Sequence[str], before: Sequence[str] = ()) -> str:
        """The words as a text.

        Args:
            words: and marks.
            before: those that stand before the first; the text starts with the blank after them.
        """
        every = [*before, *words]
        between = [""]
        for place, keys in enumerate(_keys(every, between), 1):
            known = [self.blanks[key] for key in keys if key in self.blanks]
            between.append(known[0] if known else _usual(keys, every[place - 1], every[place]))
        spaced = zip(between[len(before) :], words, strict=True)
        return "".join(blank + word for blank, word in spaced)

    def state(self) -> dict[str, Any]:
        """The result of learning, to be kept."""
        return {"blanks": self.blanks, "unspaced": self.unspaced}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set what was learned."""
        self.blanks, self.unspaced = dict(state["blanks"]), bool(state["unspaced"])


def _keys(words: Sequence[str], between: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Features that the blank between two neighbours may depend on, the specific ones first.

    A hyphen with no blank before it has none after it, and most often the other way round: so
    with a mark on the left the blank before it counts, with one on the right what follows it.

    Args:
        words: and marks.
        between: blanks, each before the word of the same place; read only before the left one.
    """
    kinds = _kinds(words)
    for place in range(1, len(words)):
        left, right = kinds[place - 1], kinds[place]
        if left in WORDS and right in WORDS:
            yield ("words",)
            continue
        before, first, then, last, after = "", "", "", "", ""
        if left not in WORDS and place > 1:
            before, first = kinds[place - 2], words[place - 2]
            after = str(between[place - 1] == "")
        if right not in WORDS and place + 1 < len(words):
            then, last = kinds[place + 1], words[place + 1]
        left_name = words[place - 1] if left in WORDS else left
        right_name = words[place] if right in WORDS else right
        yield (
            f"two\t{left_name}\t{right_name}\t{after}",
            f"after\t{first}\t{left}\t{right}\t{after}",
            f"until\t{left}\t{right}\t{last}\t{after}",
            f"four\t{before}\t{left}\t{right}\t{then}\t{after}",
            f"three\t{before}\t{left}\t{right}\t{after}",
            f"kinds\t{left}\t{right}\t{after}",
            f"marks\t{_category(left)}\t{_category(right)}\t{after}",
        )


def _kinds(words: Sequence[str]) -> list[str]:
    """`a` for a word, `0` a digit for a number, a mark as it is; `"(` and `")` for quotes."""
    kinds, inside = [], False
    for word in words:
        if word == '"':
            inside = not inside
            kinds.append('"(' if inside else '")')
        else:
            kinds.append(_kind(word))
    return kinds


@lru_cache(maxsize=100_000)
def _kind(word: str) -> str:
    if word in SPECIALS or _STARTS_WORD.match(word):
        return "0" * min(len(word), 4) if word.isdigit() else "a"
    return word


@lru_cache(maxsize=10_000)
def _category(kind: str) -> str:
    return kind if kind in (*WORDS, '"(', '")') else unicodedata.category(kind[0])


def _blank(text: str) -> str:
    """Blanks of printing as they are, line ends and runs of blanks as one space."""
    text = _MARKS.sub("", text)
    return text if text in _KEPT_BLANKS else " "


def _usual(keys: tuple[str, ...], left: str, right: str) -> str:
    """As in English: no blank inside brackets and quotes, or before a comma."""
    if len(keys) > 1:
        _, before, after, *_ = keys[-2].split("\t")
        if before == '"(' or after == '")':
            return ""
    return "" if right[0] in _NO_SPACE_BEFORE or left[-1] in _NO_SPACE_AFTER else " "
