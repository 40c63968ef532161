"""Notations of span tags in files: BILOU, BMES, B_PER, B/PER, b-per, PER-B; and their scheme.

A file's own way of writing is its notation. It is read as a tag of
`seqpipe.data.tags`: U-PER and W-PER as S-PER, L-PER as E-PER, M-PER as I-PER. The notation and the
scheme are those that most tags follow, so that a few odd ones decide nothing and are refused.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import NamedTuple

from seqpipe.data.tags import OUTSIDE, SCHEMES, belongs, convert, follows, prefix_and_type, tag_of
from seqpipe.errors import did_you_mean, first_of

_PREFIXES = {
    **{prefix: prefix for prefix in "BIES"},
    **{"L": "E", "U": "S"},  # BILOU: last, unit
    **{"M": "I", "W": "S"},  # BMES, BMEWO: middle, whole
}
_USUAL_SEPARATORS = "-_"
_LOOK_LIKE_O = frozenset("o0\u03bf\u043e\u0585\u25cb\u25ef")  # Greek, Cyrillic, Armenian; circles
_FEW_ENDS = 0.05  # of span tags; fewer E- in a file without B- and S- are mistakes
_RARE = 0.1  # of the tags of another type that is spelled almost alike


class Notation(NamedTuple):
    """The form of tags in a file.

    Args:
        separator: the sign between prefix and type.
        type_first: PER-B.
        lower: the prefix is a small letter, b-per.
        typed: a prefix without a type is no tag.
        ends: spans are marked by their ends, with I- and E- alone (IOE).
        outside: what stands for O, `O` or `o`.
    """

    separator: str = "-"
    type_first: bool = False
    lower: bool = False
    typed: bool = False
    ends: bool = False
    outside: str = OUTSIDE

    def tag(self, written: str) -> str | None:
        """The tag of `seqpipe.data.tags`; None for text that is no tag in this notation.

        >>> Notation("_").tag("U_PER"), Notation().tag("O"), Notation().tag("B_PER")
        ('S-PER', 'O', None)
        """
        if written == self.outside:
            return OUTSIDE
        if self.separator not in written:
            prefix, type_ = written, ""
        elif self.type_first:
            type_, _, prefix = written.rpartition(self.separator)
        else:
            prefix, _, type_ = written.partition(self.separator)
        letter = prefix.upper() if self.lower and prefix.islower() else prefix
        cut = (self.separator in written) != bool(type_)
        if letter not in _PREFIXES or self.lower != prefix.islower() or cut:
            return None
        return None if self.typed and not type_ else tag_of(_PREFIXES[letter], type_)


PLAIN = Notation()


class Convention(NamedTuple):
    """The scheme and notation that most tags of a training split follow.

    Args:
        scheme: one of `seqpipe.data.tags.SCHEMES`.
        notation: of the file.
        odd: tags that are spelled almost as more frequent ones, `B-PER.` among `B-PER`, and those.
        usual: all other tags of the training split, as they are written, the frequent ones first;
            or as `seqpipe.data.tags` has them.
    """

    scheme: str
    notation: Notation
    odd: dict[str, str]
    usual: tuple[str, ...]

    def read(self, written: Sequence[str]) -> list[str]:
        """The tags of a sequence; "", which is no tag, for those that are odd."""
        tags = [
            "" if tag in self.odd else (self.notation.tag(tag) or "") for tag in map(str, written)
        ]
        return convert(tags, self.scheme) if self.notation.ends and all(tags) else tags

    def likely(self, written: str) -> str:
        """Suffix for a message: the usual tag that an odd one was meant for, or nothing."""
        if looks_like_outside(written):
            return did_you_mean(self.notation.outside, [self.notation.outside])
        written = unicodedata.normalize("NFKC", written)
        read = {self.notation.tag(tag) or tag: tag for tag in self.usual}
        others = (one.tag(written) for one in _notations([written]))
        same = [read[tag] for tag in others if tag in read]
        same += [tag for tag in self.usual if _letters(tag) == _letters(written)]
        meant = self.odd.get(written) or next(iter(same if _letters(written) else ()), None)
        return did_you_mean(written, self.usual) if meant is None else did_you_mean(meant, [meant])


def looks_like_outside(written: str) -> bool:
    """True for a zero, a small o, O of another script or width, or with signs that do not show.

    >>> [looks_like_outside(tag) for tag in ("0", "o", "O\u00a0", "B")]
    [True, True, True, False]
    """
    plain = unicodedata.normalize("NFKC", written).casefold()
    return "".join(sign for sign in plain if sign.isprintable()).strip() in _LOOK_LIKE_O


def readings(written: str) -> set[str]:
    """The tags that a text can be in any notation, and the text itself.

    >>> sorted(readings("PER/B"))
    ['B-PER', 'PER/B']
    """
    found = {one.tag(written) for one in _notations([written])}
    return {written, *(tag for tag in found if tag is not None)}


def _notations(tags: Iterable[str]) -> Iterator[Notation]:
    """Every way to write typed tags with signs that stand where a separator may, the usual first.

    Args:
        tags: as they are written.
    """
    signs = {sign for tag in tags if len(tag) > 2 for sign in (tag[1], tag[-2])}
    signs = {sign for sign in signs if not sign.isalnum() and not sign.isspace()}
    ordered = [*_USUAL_SEPARATORS, *sorted(signs - {*_USUAL_SEPARATORS})]
    for separator, first, lower in product(ordered, (False, True), (False, True)):
        yield Notation(separator, first, lower, typed=True)


class Survey:
    """Counts of the tags of a training split, and of what follows what.

    Args:
        sequences: of tags as they are written; gone through once.
    """

    def __init__(self, sequences: Iterable[Iterable[object]]) -> None:
        self.pairs: Counter[tuple[str | None, str | None]] = Counter()
        self.tags: Counter[str] = Counter()
        for sequence in sequences:
            before: str | None = None
            for tag in map(str, sequence):
                self.pairs[before, tag] += 1
                self.tags[tag] += 1
                before = tag
            if before is not None:
                self.pairs[before, None] += 1

    def convention(self, scheme: str | None = None) -> Convention | None:
        """The notation and the scheme of most tags; None where they mark no spans.

        Args:
            scheme: given; then tags need no type, and only the notation is looked for.
        """
        notation = self._notation()
        if notation is None:
            return None if scheme is None else Convention(scheme, PLAIN, {}, ())
        read = {tag: notation.tag(tag) for tag in self.tags}
        used: Counter[str] = Counter()
        for written, tag in read.items():
            used[(tag or OUTSIDE)[0]] += self.tags[written]
        del used[OUTSIDE]
        ends = set(used) == {"I", "E"} and (
            used["E"] >= _FEW_ENDS * used.total() or self._parts_spans(read)
        )
        if scheme is None:
            faults = {name: self._faults(read, name) for name in SCHEMES}
            if faults["io"]:  # iob1 is io where B- may occur, and says better what is wrong
                del faults["io"]
            scheme = "bio" if ends else min(faults, key=faults.__getitem__)
        odd = self._misspelled(read)
        usual = tuple(t for t, _ in self.tags.most_common() if t not in odd and read[t] is not None)
        return Convention(scheme, notation._replace(ends=ends), odd, usual)

    def without_spans(self, column: str) -> str:
        """The warning that the tags mark no spans, with their names.

        Args:
            column: what the record calls the tags.
        """
        shown = first_of([tag for tag, _ in self.tags.most_common()], 5)
        text = f"the {column} of train ({shown}) mark no spans, so no entity_f1 is measured"
        if all(looks_like_outside(tag) for tag in self.tags):
            return f"{text}: there is nothing but {shown}"
        if {tag.upper() for tag in self.tags} <= {OUTSIDE, *_PREFIXES}:
            schemes = ", ".join(SCHEMES)
            return f"{text}; if they do, name their scheme: data.source.scheme={schemes}"
        return f"{text}; data.source.scheme=null says that this is meant"

    def _notation(self) -> Notation | None:
        """The one that reads most tags besides O; None unless that is more than half of them."""
        best: tuple[int, Notation] | None = None
        rest = {t: count for t, count in self.tags.items() if not looks_like_outside(t)}
        for notation in _notations(rest):
            read = {tag: notation.tag(tag) for tag in rest}
            read = {tag: plain for tag, plain in read.items() if plain is not None}
            count = sum(rest[tag] for tag in read)
            most = 2 * count > sum(rest.values()) or 2 * len(read) > len(rest)
            usual = notation.separator in _USUAL_SEPARATORS
            prefixes = {tag[-1 if notation.type_first else 0].upper() for tag in read}
            spans = usual or not prefixes.isdisjoint("BI")
            if read and most and spans and (best is None or count > best[0]):
                best = count, notation
        if best is None:
            return None
        outside = max(OUTSIDE, OUTSIDE.lower(), key=lambda tag: self.tags[tag])
        return best[1]._replace(outside=outside)

    def _parts_spans(self, read: dict[str, str | None]) -> bool:
        """True where each E- stands right before another span of its type, as in IOE1."""
        for (before, now), _ in self.pairs.items():
            last = None if before is None else read[before]
            if last is None or last[0] != "E":
                continue
            tag = None if now is None else read[now]
            if tag is None or tag == OUTSIDE or _type(tag) != _type(last):
                return False
        return True

    def _faults(self, read: dict[str, str | None], scheme: str) -> int:
        """The number of tags that break a scheme, without those of no scheme."""
        total = 0
        for (before, now), count in self.pairs.items():
            last = read[before] if before is not None else OUTSIDE
            last = last if last is not None and belongs(last, scheme) else OUTSIDE
            tag = None if now is None else read[now]
            if now is None or tag is not None:
                total += count * (not follows(last, tag, scheme))
        return total

    def _misspelled(self, read: dict[str, str | None]) -> dict[str, str]:
        """Tags whose type is rare and, but for case and signs, that of frequent ones."""
        types: Counter[str] = Counter()
        for written, tag in read.items():
            if tag is not None and tag != OUTSIDE:
                types[_type(tag)] += self.tags[written]
        usual: dict[str, str] = {}
        for type_, _count in types.most_common():
            usual.setdefault(_letters(type_), type_)
        odd = {}
        for written, tag in read.items():
            if tag is None or tag == OUTSIDE or not _letters(_type(tag)):
                continue
            likely = usual[_letters(_type(tag))]
            if likely != _type(tag) and types[_type(tag)] <= _RARE * types[likely]:
                odd[written] = written.replace(_type(tag), likely)
        return odd


def _type(tag: str) -> str:
    found = prefix_and_type(tag)
    assert found is not None
    return found[1]


def _letters(text: str) -> str:
    return "".join(sign for sign in text.casefold() if sign.isalnum())
