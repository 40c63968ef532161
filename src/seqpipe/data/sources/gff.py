"""FASTA with the features of a GFF3 or GTF file."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote

import numpy as np

from seqpipe.data.base import Found, Splits, place
from seqpipe.data.sources.argument_checks import not_there
from seqpipe.data.sources.dna_features import Annotated, Span, spans_between, unknown_kinds
from seqpipe.data.sources.fasta_records import SUFFIXES, Piece, fasta
from seqpipe.data.sources.files import Names
from seqpipe.data.sources.splitting import with_problems
from seqpipe.data.sources.text_lines import lines, packed_too
from seqpipe.errors import DataError, counted, first_of
from seqpipe.files import is_file

_COLUMNS = "seqid source type start end score strand phase attributes"
_STRANDS = {"+": 1, "-": -1, ".": 0, "?": 0}
_PARENT = re.compile(r"(?:^|;)\s*Parent=([^;]+)|(?:^|;)\s*transcript_id[ =]+\"?([^\";]+)")
_FASTA = "##FASTA"  # from here on a GFF file holds sequences


@dataclass(kw_only=True)
class FastaGff(Annotated):
    """FASTA files, and the features of their sequences in a GFF3 or GTF file.

    Without one the features and, after a line `##FASTA`, the sequences are in the same file.
    With `length` no sequence is held whole.

    Args:
        annotation: GFF3 or GTF files, plain or .gz; None: each file holds its own features.
        between: see `Annotated`; the parts of one feature have the same Parent or transcript_id.
    """

    suffixes = (*SUFFIXES, *packed_too(".gff", ".gff3"))
    companions: ClassVar = {"annotation": (".gff3", ".gff", ".gtf")}

    annotation: Names | None = None

    def read(self) -> Splits:
        """See `FileSource`; lines of the annotation that are wrong are errors in train.

        Raises:
            DataError: as `FileSource.read`; an annotation that is not there.
        """
        splits = super().read()
        if self.annotation is not None and (problems := self._given.problems):
            return with_problems(splits, problems)
        return splits

    def annotated(self, file: Path) -> Iterator[Found]:
        """The sequences of a file, or their windows; with `length` a region is held at a time."""
        inside = self.annotation is None
        annotation = self._read([file]) if inside else self._given
        if inside and not self.bare:
            yield from annotation.problems
        after = _FASTA if inside else None
        ids: list[str] = []
        for found in fasta(file, self.encoding, "dna", size=self.region, after=after):
            if isinstance(found, DataError):
                yield found
                continue
            if found.start == 0:
                ids.append(found.id)
            end = found.start + len(found.sequence)
            spans = () if self.bare else annotation.within(found.id, found.start, end)
            yield from self.records(found, spans, file)
            if found.last and not self.bare:
                yield from annotation.outside(found, file)
        if ids and not self.bare and not annotation.names.intersection(ids):
            yield _strangers(file, ids, annotation)

    @cached_property
    def _given(self) -> "_Annotation":
        return self._read(self.companion_files())

    def _read(self, files: Sequence[Path]) -> "_Annotation":
        rank = None if self.between is None else self.rank_between
        annotation = _Annotation(files, self.ranks, rank)
        for file in files:
            if not is_file(file):
                key = f"data.source.annotation={file.name}"
                raise DataError(not_there(key, file, "a GFF or GTF file of its genes"))
            annotation.add(file, self.encoding)
        annotation.sort()
        return annotation


class _Annotation:
    """The features of GFF files that have a class.

    Args:
        files: for messages.
        ranks: kind of feature -> place of its class.
        between: place of the class of introns; None: they have none.
    """

    def __init__(self, files: Sequence[Path], ranks: dict[str, int], between: int | None) -> None:
        self.files, self.ranks, self.between = files, ranks, between
        self.names: set[str] = set()
        self.problems: list[DataError] = []
        self._kinds: dict[str, None] = {}
        self._found: dict[str, list[tuple[int, ...]]] = {}  # a Span, file and line
        self._parts: dict[tuple[str, str, int], list[tuple[int, int, int]]] = {}
        self._sorted: dict[str, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]] = {}

    def add(self, file: Path, encoding: str) -> None:
        """Add the features of a file."""
        for number, line in lines(file, encoding):
            if isinstance(line, DataError):
                self.problems.append(line)
            elif line.startswith((_FASTA, ">")):
                return
            elif line.startswith("##sequence-region"):
                self.names.update(line.split()[1:2])
            elif line.strip() and not line.startswith("#"):
                if fault := self._add_row(line.split("\t"), file, number):
                    self.problems.append(DataError(f"{place(file, number)}: {fault}"))

    def _add_row(self, row: list[str], file: Path, number: int) -> str | None:
        """Add a feature; the text of an error where it cannot be used."""
        if len(row) not in (8, 9):  # GTF of some programs has no attributes
            return f"{counted(len(row), 'column')}; allowed: 9, separated by tabs: {_COLUMNS}"
        name, kind, phase = unquote(row[0]), row[2], row[7]
        if not row[3].isdecimal() or not row[4].isdecimal():
            return f"{row[3]}..{row[4]} is no place; allowed: whole numbers, start and end"
        start, end, strand = int(row[3]), int(row[4]), _STRANDS.get(row[6])
        if not 1 <= start <= end:
            return f"{start}..{end} is no place; allowed: 1 <= start <= end"
        if strand is None:
            return f"strand {row[6]!r}; allowed: + - . ?"
        if phase not in (".", "0", "1", "2"):
            return f"phase {phase!r}; allowed: 0 1 2 or a point"
        self.names.add(name)
        self._kinds[kind] = None
        if kind not in self.ranks:
            return None
        rank = self.ranks[kind]
        span = (start - 1, end, strand, rank, self.files.index(file), number)
        self._found.setdefault(name, []).append(span)
        if self.between is not None and (parent := _PARENT.search(row[8] if row[8:] else "")):
            for one in (parent[1] or parent[2]).split(","):
                self._parts.setdefault((name, one, rank), []).append((start - 1, end, strand))
        return None

    def sort(self) -> None:
        """Sort the features, after the last file."""
        for (name, _, _), parts in self._parts.items():
            read = sorted(parts, reverse=parts[0][2] == -1)
            assert self.between is not None
            spans = spans_between(read, self.between)
            self._found[name] += [(*span, -1, 0) for span in spans]
        self._parts.clear()
        for name, found in self._found.items():
            rows = np.array(sorted(found), dtype=np.int64)
            self._sorted[name] = rows, np.maximum.accumulate(rows[:, 1])
        self._found.clear()
        if self._kinds and not any(kind in self._kinds for kind in self.ranks):
            fault = unknown_kinds(self.files[0], list(self.ranks), list(self._kinds))
            self.problems.append(fault)

    def within(self, name: str, start: int, end: int) -> list[Span]:
        """Features with a base in start..end-1 of a sequence, counted from start."""
        if name not in self._sorted:
            return []
        rows, ends = self._sorted[name]
        first = np.searchsorted(ends, start, side="right")  # all before end before `start`
        last = np.searchsorted(rows[:, 0], end)
        near = rows[first:last]
        return [
            Span(int(a) - start, int(b) - start, int(strand), int(rank))
            for a, b, strand, rank, *_ in near[near[:, 1] > start]
        ]

    def outside(self, piece: Piece, file: Path) -> Iterator[DataError]:
        """Features that go beyond the end of a sequence, of which this piece is the last."""
        if piece.id not in self._sorted:
            return
        rows, _ = self._sorted[piece.id]
        size = piece.start + len(piece.sequence)
        for _, end, _, _, number, line in rows[(rows[:, 1] > size) & (rows[:, 5] > 0)]:
            text = f"ends at {end}, but {piece.id} of {file} has {size} bases"
            where = place(self.files[number], int(line))
            yield DataError(f"{where}: {text}; allowed: a place within it")


def _strangers(file: Path, ids: Sequence[str], annotation: _Annotation) -> DataError:
    shown, known = first_of(ids, 3), first_of(sorted(annotation.names), 3)
    other = ", ".join(str(one) for one in annotation.files)
    text = f"none of its sequences ({shown}) has a feature in {other}, which has {known}"
    return DataError(f"{file}: {text}; allowed: the same names in both")
