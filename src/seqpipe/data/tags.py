"""Schemes of tags that mark spans: parsing, faults, and conversion.

A tag is O, outside of every span, or a prefix and the span's type, B-PER; or, if all spans have
one type, the prefix alone. The schemes:

- `io`: I-X in a span of type X. Two adjacent spans look like one.
- `iob1`: the same, and B-X at the start of a span right after another of its type (CoNLL-2003).
- `bio`: B-X at the start of a span, I-X inside it; also called IOB2.
- `bioes`: `bio`, with E-X at the end of a span and S-X for a span of one step.

Source: Ramshaw & Marcus (1995) for `iob1`, Tjong Kim Sang & Veenstra (1999) for `bio`.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

SCHEMES = {"io": "I", "iob1": "BI", "bio": "BI", "bioes": "BIES"}
"""The prefixes of each scheme."""
OUTSIDE = "O"


class Span(NamedTuple):
    """The steps start, ..., end - 1, and their type; "" if spans have one type only."""

    type: str
    start: int
    end: int


def prefix_and_type(tag: str) -> tuple[str, str] | None:
    """Split a tag into prefix and type; O has no type. None for text that is no tag.

    >>> prefix_and_type("B-creative-work"), prefix_and_type("O"), prefix_and_type("NOUN")
    (('B', 'creative-work'), ('O', ''), None)
    """
    prefix, dash, type_ = tag.partition("-")
    if tag == OUTSIDE or (prefix in ("B", "I", "E", "S") and bool(dash) == bool(type_)):
        return prefix, type_
    return None


def belongs(tag: str, scheme: str) -> bool:
    """True if a tag is one of the scheme, at any place."""
    found = prefix_and_type(tag)
    return found is not None and found[0] in (OUTSIDE, *SCHEMES[scheme])


def allowed_in(scheme: str) -> str:
    """`O, B-TYPE, I-TYPE`, for messages."""
    return ", ".join([OUTSIDE, *(f"{prefix}-TYPE" for prefix in SCHEMES[scheme])])


def spans(tags: Iterable[str]) -> list[Span]:
    """Return the spans that tags of any scheme mark, also tags that break the scheme.

    A span starts at B and S, after E and S, and at I or E after O or another type; so the tags of
    a model, which may break a scheme, can be read as well.

    Source: the rules of conlleval.pl (Tjong Kim Sang & Buchholz 2000), with E and S.
    """
    found: list[Span] = []
    before, start = (OUTSIDE, ""), 0
    place = -1
    for place, tag in enumerate(tags):
        now = _known(tag)
        if now[0] == OUTSIDE or _starts(before, now):
            if before[0] != OUTSIDE:
                found.append(Span(before[1], start, place))
            start = place
        before = now
    if before[0] != OUTSIDE:
        found.append(Span(before[1], start, place + 1))
    return found


def runs(labels: Sequence[str], background: str | None) -> list[Span]:
    """Return the runs of equal labels as spans, for labels that follow no scheme.

    Args:
        labels: of the steps.
        background: the label of steps outside of every span; None: every run is a span.

    >>> runs(["exon", "exon", "none", "exon"], "none")
    [Span(type='exon', start=0, end=2), Span(type='exon', start=3, end=4)]
    """
    found, start = [], 0
    for label, group in groupby(labels):
        end = start + sum(1 for _ in group)
        if label != background:
            found.append(Span(label, start, end))
        start = end
    return found


def _known(tag: str) -> tuple[str, str]:
    now = prefix_and_type(tag)
    assert now is not None, f"{tag} is no tag of any scheme"
    return now


def _starts(before: tuple[str, str], now: tuple[str, str]) -> bool:
    """True if a step that is not O starts a span."""
    return now[0] in ("B", "S") or before[0] in (OUTSIDE, "E", "S") or before[1] != now[1]


def tags_of(found: Iterable[Span], length: int, scheme: str) -> list[str]:
    """Return the tags that mark spans in a scheme.

    Args:
        found: in their order, without overlap.
        length: of the sequence, T.
        scheme: one of `SCHEMES`.
    """
    tags = [OUTSIDE] * length
    last = Span("", -1, -1)
    for span in found:
        prefixes = ["I"] * (span.end - span.start)
        touches = last.end == span.start and last.type == span.type
        if scheme in ("bio", "bioes") or (scheme == "iob1" and touches):
            prefixes[0] = "B"
        if scheme == "bioes":
            prefixes[-1] = "S" if len(prefixes) == 1 else "E"
        tags[span.start : span.end] = [tag_of(prefix, span.type) for prefix in prefixes]
        last = span
    return tags


def tag_of(prefix: str, type_: str) -> str:
    """Format B-PER, or B without a type."""
    return f"{prefix}-{type_}" if type_ else prefix


def convert(tags: Sequence[str], scheme: str) -> list[str]:
    """Convert tags to another scheme; in `io`, adjacent spans of one type become one."""
    return tags_of(spans(tags), len(tags), scheme)


def faults(tags: Sequence[str], scheme: str) -> list[tuple[int, str]]:
    """List the faults of tags in a scheme: the step, from 0, what is wrong and what is allowed.

    >>> faults(["O", "I-PER"], "bio")
    [(1, 'continues no span after O; allowed in bio: B-PER')]
    """
    found = []
    before = (OUTSIDE, "")
    for place, tag in enumerate(tags):
        if not belongs(tag, scheme):
            found.append((place, f"no tag of {scheme}; allowed: {allowed_in(scheme)}"))
            before = (OUTSIDE, "")
            continue
        now = _known(tag)
        fault = _fault(before, now, scheme)
        if fault is not None:
            wrong, allowed = fault
            after = f"after {tag_of(*before)}" if place else "at the start"
            found.append((place, f"{wrong} {after}; allowed in {scheme}: {allowed}"))
        before = now
    if _leaves_open(before, scheme):
        allowed = tag_of("S" if before[0] == "B" else "E", before[1])
        found.append((len(tags) - 1, f"leaves its span open; allowed in bioes: {allowed}"))
    return found


def follows(before: str, now: str | None, scheme: str) -> bool:
    """True if a scheme allows a tag right after another.

    Args:
        before: a tag of the scheme; O also means the start of a sequence.
        now: any tag; None means the end of a sequence.
        scheme: one of `SCHEMES`.
    """
    if now is None:
        return not _leaves_open(_known(before), scheme)
    return belongs(now, scheme) and _fault(_known(before), _known(now), scheme) is None


def _leaves_open(last: tuple[str, str], scheme: str) -> bool:
    return scheme == "bioes" and last[0] in ("B", "I")


def _fault(before: tuple[str, str], now: tuple[str, str], scheme: str) -> tuple[str, str] | None:
    prefix, type_ = now
    inside = before[0] != OUTSIDE and before[1] == type_
    if scheme == "iob1" and prefix == "B" and not inside:
        return "separates no spans", tag_of("I", type_)
    if scheme == "bio" and prefix == "I" and not inside:
        return "continues no span", tag_of("B", type_)
    if scheme != "bioes":
        return None
    if before[0] in ("B", "I") and not (inside and prefix in ("I", "E")):
        return "leaves a span open", f"{tag_of('I', before[1])}, {tag_of('E', before[1])}"
    if before[0] not in ("B", "I") and prefix in ("I", "E"):
        return "continues no span", f"{tag_of('B', type_)}, {tag_of('S', type_)}"
    return None


class Rules(NamedTuple):
    """Tags that a scheme allows, by their index among the names; True: allowed.

    Args:
        start: first in a sequence.
        follow: `[i][j]`: j right after i.
        end: last in a sequence.
    """

    start: list[bool]
    follow: list[list[bool]]
    end: list[bool]


def rules(names: Sequence[str], scheme: str) -> Rules:
    """Return the rules of `faults` as tables, tag by tag.

    >>> rules(("O", "B", "I"), "bio").start
    [True, True, False]
    """
    tags = [_known(name) for name in names]
    follow = [[_fault(before, now, scheme) is None for now in tags] for before in tags]
    start = [_fault((OUTSIDE, ""), now, scheme) is None for now in tags]
    return Rules(start, follow, [not _leaves_open(now, scheme) for now in tags])


def types(tags: Iterable[str]) -> list[str]:
    """List the types of spans among tags, sorted, each once; "" if spans have no type."""
    return sorted({_known(tag)[1] for tag in tags if tag != OUTSIDE})


def all_tags(types: Iterable[str], scheme: str) -> list[str]:
    """List every tag of a scheme for spans of these types."""
    prefixes = SCHEMES[scheme]
    return [OUTSIDE, *(tag_of(prefix, type_) for type_ in types for prefix in prefixes)]
