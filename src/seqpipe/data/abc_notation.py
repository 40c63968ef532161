"""The grammar of ABC notation: its tokens, and what is wrong with a tune.

Source: the ABC music standard 2.1, sections 2.2 (tunes), 3 (fields) and 4 (music).
"""

import re
from collections.abc import Iterator, Sequence

FIELD = re.compile(r"([A-Za-z]):(?![|:])(.*)")  # A:| is a note before the end of a repeat
_NOTE = r"[\^_=]*[A-Ga-gxzZ][,']*[\d/]*"
TOKEN = re.compile(
    rf"""
    ^[A-Za-z]:(?![|:]).*            # a field, whole: M:6/8
    | \[[A-Za-z]:[^\]]*\]           # a field within a line: [K:G]
    | "[^"]*"                       # a chord's name
    | ![^!\s]+!                     # a decoration
    | (?:\[|{_NOTE})                # a note or rest with its length; the start of a chord
    | \][\d/]*                      # the end of a chord, with its length
    | [:|]+\]?(?:\d(?:[,-]\d)*)?    # a bar line, with the number of an ending
    | [<>]+ | \(\d?(?::\d?){{0,2}}  # broken rhythm, a slur or tuplet
    | \S                            # anything else
    """,
    re.VERBOSE | re.MULTILINE,
)
_IS_NOTE = re.compile(r"[\^_=]*[A-Ga-g][,']*[\d/]*")
_MODE = r"m|(?:maj|min|ion|dor|phr|lyd|mix|aeo|loc|exp)[a-z]*"
_VALUES = {
    "M": re.compile(r"none|C\|?|\(?\d+(?:\s*\+\s*\d+)*\)?/\d+"),
    "L": re.compile(r"1|\d+/\d+"),
    "K": re.compile(rf"none|HP|[A-G][#b]?\s*(?:{_MODE})?(?:\s.*)?", re.IGNORECASE),
}
_MOST_SHOWN = 20  # characters of a field
# Notes, bars, and the signs and decorations that are one letter.
_SINGLE = frozenset("ABCDEFGabcdefgxzZ:|<>~.-()&*+\\/`HLMNOPQRSTUVWhijklmnopqrstuvwy$,;")
_BAR = re.compile(r"\[ ?(?:\d(?:[,-]\d)*|\|)")  # [1 and [2 are endings, [| is a bar line


def numbered(text: str, number: int) -> str:
    """Return a tune as a file has it: after its number, and with each field on a line.

    Args:
        text: of a tune, or its tokens with blanks between.
        number: its number, X, which replaces another one.
    """
    lines = text.strip("\n").split("\n") if "\n" in text.strip("\n") else _lines(text.split())
    return "\n".join([f"X:{number}", *(line for line in lines if not line.startswith("X:"))])


def _lines(tokens: Sequence[str]) -> list[str]:
    """Lines of a tune from its tokens: a line for each field, and one for the music between."""
    lines: list[str] = []
    after_field = True
    for token in tokens:
        is_field = FIELD.match(token) is not None
        if is_field or after_field:
            lines.append(token)
        else:
            lines[-1] += f" {token}"
        after_field = is_field
    return lines


def fault_of(tune: str, *, needs_key: bool) -> str | None:
    """Return what is wrong with a tune, in a few words; None if it can be parsed.

    Meter, unit of length and key must have values that the standard allows, and the music must
    consist of tokens of the standard, with a note among them. Lengths of bars are not checked.

    Args:
        tune: its lines, with or without a number.
        needs_key: a tune must have a key, as the standard demands.
    """
    header: dict[str, str] = {}
    music = []
    for line in tune.split("\n"):
        field = FIELD.match(line)
        if field is None:
            music.append(line)
        elif not music:
            header.setdefault(field[1], field[2].strip())
    if needs_key and "K" not in header:
        return "no K: before the music"
    for letter, allowed in _VALUES.items():
        if letter in header and allowed.fullmatch(header[letter]) is None:
            return f"{letter}:{header[letter]}"[:_MOST_SHOWN]
    if not any(_IS_NOTE.fullmatch(token) for line in music for token in TOKEN.findall(line)):
        return "no notes"
    return next((fault for line in music for fault in _faults(line)), None)


def _faults(line: str) -> Iterator[str]:
    """Yield each fault of a line of music, in a few words."""
    in_chord, in_grace = False, False
    for token in TOKEN.findall(_BAR.sub("|", line.partition("%")[0])):
        first = token[0]
        if first in "[{":
            if in_chord or (in_grace and first == "{"):
                yield f"{first} not closed"
            in_chord, in_grace = in_chord or token == "[", in_grace or first == "{"
        elif first in "]}":
            if not (in_chord if first == "]" else in_grace):
                yield f"{first} not opened"
            in_chord, in_grace = in_chord and first != "]", in_grace and first != "}"
        elif token in ('"', "!"):
            yield f"{token} not closed"
        elif len(token) == 1 and token not in _SINGLE:
            yield f"{token!r}"
        elif in_chord and first in ":|":
            yield "bar line within a chord"
    if in_chord or in_grace:
        yield f"{'[' if in_chord else '{'} not closed"
