"""GenBank flat files: sequences with their features."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from seqpipe.data.base import Found, place
from seqpipe.data.nucleotides import allowed_letters, letters
from seqpipe.data.sources.dna_features import Annotated, Span, spans_between, unknown_kinds
from seqpipe.data.sources.fasta_records import Piece
from seqpipe.data.sources.text_lines import lines, packed_too
from seqpipe.errors import DataError

_WRONG = letters("dna")
_FEATURE = re.compile(r" {1,8}(\S+) +(\S.*)")  # the standard: key in column 6, place in 22
_SIZE = re.compile(r"LOCUS\s+(\S+)\s+(\d+) (?:bp|aa|rc)\b")
_RANGE = re.compile(r"(?:([\w.]+):)?[<>]?(\d+)(?:(\.\.|\.|\^)[<>]?(\d+))?")
_PLACES = "12..34, <12..>34, 12, complement(...), join(...), order(...)"

Part = tuple[int, int, int]
"""Start and end as of a `Span`, and the strand."""


@dataclass(kw_only=True)
class GenBank(Annotated):
    """GenBank flat files (.gb, .gbk), plain or .gz, of one record or many.

    Each record is one sequence; the options are those of `Annotated`.
    """

    suffixes = packed_too(".gb", ".gbk", ".gbff")

    def annotated(self, file: Path) -> Iterator[Found]:
        """The records of a file, or their windows; one is held at a time."""
        entry: _Entry | None = None
        seen: dict[str, None] = {}
        entries = 0
        for number, line in lines(file, self.encoding):
            if isinstance(line, DataError):
                yield line
                entry = None
            elif line.startswith("LOCUS"):
                if entry is not None:
                    yield entry.cut_off()
                entries += 1
                entry = _Entry(file, number, line)
            elif line.startswith("//"):
                if entry is not None:
                    seen.update(dict.fromkeys(one.kind for one in entry.features))
                    yield from self._records(entry)
                entry = None
            elif entry is not None and (fault := entry.add(number, line)):
                yield fault
                entry = None
        if entry is not None:
            yield entry.cut_off()
        if not entries:
            yield DataError(f"{file}: holds no record; allowed: LOCUS ... ORIGIN ... //")
        elif seen and not self.bare and not any(kind in seen for kind in self.ranks):
            yield unknown_kinds(file, list(self.ranks), list(seen))

    def _records(self, entry: "_Entry") -> Iterator[Found]:
        sequence = "".join(entry.sequence)
        if fault := entry.fault(len(sequence)):
            yield fault
            return
        spans: list[Span] = []
        for feature in () if self.bare else entry.features:
            if feature.kind not in self.ranks:
                continue
            try:
                parts = location(feature.place, len(sequence))
            except ValueError as error:
                here = place(entry.file, feature.line)
                yield DataError(f"{here}: {feature.kind} {feature.place}: {error}")
                return
            spans += [Span(*part, self.ranks[feature.kind]) for part in parts]
            if self.between is not None:
                spans += spans_between(parts, self.rank_between)
        size = self.region or len(sequence)
        for start in range(0, len(sequence), size):
            piece = entry.piece(start, sequence[start : start + size])
            end = start + len(piece.sequence)
            inside = [
                span._replace(start=span.start - start, end=span.end - start)
                for span in spans
                if span.start < end and span.end > start
            ]
            yield from self.records(piece, inside, entry.file)


@dataclass
class _Feature:
    kind: str
    place: str
    line: int
    open: bool = True  # its place continues in the next line, until a qualifier comes


@dataclass
class _Entry:
    """A record while its lines are read."""

    file: Path
    line: int
    locus: str
    section: str = "LOCUS"
    description: list[str] = field(default_factory=list)
    features: list[_Feature] = field(default_factory=list)
    sequence: list[str] = field(default_factory=list)
    count: int = 0

    @property
    def id(self) -> str:
        """The name of the locus."""
        words = self.locus.split()
        return words[1] if len(words) > 1 else ""

    def piece(self, start: int, sequence: str) -> Piece:
        """Some letters of the sequence; start: letters before them."""
        return Piece(self.id, " ".join(self.description), self.line, start, sequence, last=True)

    def add(self, number: int, line: str) -> DataError | None:
        """Add a line; an error where it cannot be used."""
        if not line.strip():
            return None
        if self.section == "ORIGIN" and (line[0] == " " or line[0].isdecimal()):
            return self._add_letters(number, line)
        if line[0] != " ":
            self.section = line.split()[0]
            line = " " * 12 + line[12:]
        if self.section == "DEFINITION":
            self.description.append(line.strip())
        elif self.section == "FEATURES" and line[:12].strip() + line[12:21].strip():
            return self._add_feature(number, line)
        elif self.section == "FEATURES" and self.features:
            feature, text = self.features[-1], line.strip()
            feature.open = feature.open and not text.startswith("/")
            if feature.open:
                feature.place += text
        return None

    def _add_feature(self, number: int, line: str) -> DataError | None:
        if line.split() == ["Location/Qualifiers"]:
            return None
        found = _FEATURE.fullmatch(line.rstrip())
        if found is None:
            text = f"{line.strip()!r} is no feature; allowed: its kind, blanks, its place"
            return DataError(f"{place(self.file, number)}: {text}")
        self.features.append(_Feature(found[1], found[2], number))
        return None

    def _add_letters(self, number: int, line: str) -> DataError | None:
        position, _, rest = line.strip().partition(" ")
        if not position.isdecimal() or int(position) != self.count + 1:
            text = f"the line starts at base {position}; allowed: {self.count + 1}, a line is lost"
            return DataError(f"{place(self.file, number)}: {text} or too many")
        if fault := _WRONG.search(rest):
            text = f"base {position} and after it: {fault[0]!r} is no nucleotide"
            allowed = allowed_letters("dna")
            return DataError(f"{place(self.file, number)}: {text}; allowed: {allowed}")
        bases = "".join(rest.split())
        self.sequence.append(bases)
        self.count += len(bases)
        return None

    def cut_off(self) -> DataError:
        """Another record starts, or the file ends, before this one does."""
        text = f"{self.id} does not end; allowed: // after its last line"
        return DataError(f"{place(self.file, self.line)}: {text}")

    def fault(self, count: int) -> DataError | None:
        """An error of the record as a whole, or None."""
        declared = _SIZE.match(self.locus)
        if not self.id:
            text = "the locus has no name; allowed: LOCUS name size bp"
        elif not count:
            text = f"{self.id} holds no bases; allowed: ORIGIN and lines of bases"
        elif declared and int(declared[2]) != count:
            text = f"{self.id} holds {count} bases; its LOCUS line says {declared[2]}"
        else:
            return None
        return DataError(f"{place(self.file, self.line)}: {text}")


def location(text: str, size: int) -> list[Part]:
    """The parts of a feature's place in the order in which it is read.

    Parts of another record (`J00194.1:1..9`) and places between bases (`12^13`) have no bases
    here.

    Args:
        text: `complement(join(1..9,<20..30))`.
        size: bases of the sequence.

    Raises:
        ValueError: not a place, or outside of the sequence.

    >>> location("complement(join(1..9,20..>30))", 30)
    [(19, 30, -1), (0, 9, -1)]
    """
    tokens = re.findall(r"[(),]|[^(),]+", "".join(text.split()))
    parts = _parts(tokens, size)
    if tokens:
        raise ValueError(f"{tokens[0]!r} is left over; allowed: {_PLACES}")
    return parts


def _parts(tokens: list[str], size: int) -> list[Part]:
    """Takes one place off the front of the tokens."""
    word = tokens.pop(0) if tokens else ""
    if tokens[:1] == ["("]:
        if word not in ("complement", "join", "order"):
            raise ValueError(f"{word!r} is not known; allowed: {_PLACES}")
        parts: list[Part] = []
        separator = ","
        tokens.pop(0)
        while separator == ",":
            parts += _parts(tokens, size)
            separator = tokens.pop(0) if tokens else ""
        if separator != ")":
            raise ValueError(f"a bracket is not closed; allowed: {_PLACES}")
        if word == "complement":
            parts = [(start, end, -strand) for start, end, strand in reversed(parts)]
        return parts
    found = _RANGE.fullmatch(word)
    if found is None:
        raise ValueError(f"{word!r} is no place; allowed: {_PLACES}")
    other, first, sign, last = found.groups()
    start, end = int(first), int(last or first)
    if other or sign == "^":
        return []
    if not 1 <= start <= end <= size:
        raise ValueError(f"{word} is no place in 1..{size}; allowed: {_PLACES}")
    return [(start - 1, end, 1)]
