"""DNA with features: a class for each base, on either strand, whole or in windows."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from seqpipe.bounds import Count
from seqpipe.data.base import Found, PlacedRecord
from seqpipe.data.nucleotides import item, reverse_complement
from seqpipe.data.sources.fasta_records import Piece, fasta, sequences
from seqpipe.data.sources.files import FileSource
from seqpipe.data.sources.text_lines import lines
from seqpipe.errors import ConfigError, DataError, did_you_mean

REGION = 10  # windows of a region, where `region` is not given


class Span(NamedTuple):
    """Bases start..end-1 of the forward strand, from 0, that have a class.

    Args:
        start: the first.
        end: after the last.
        strand: 1 forward, -1 complement, 0 where that has no meaning.
        rank: which class, by its place in `Annotated.classes`.
    """

    start: int
    end: int
    strand: int
    rank: int


@dataclass(kw_only=True)
class Annotated(FileSource):
    """Columns `sequence` and `tags`, a class for each base, from the features of a file.

    Others are `id`, `description`, `start` (of a window in its sequence, from 1), `strand`,
    `item`, the same for a sequence and its reverse complement, and `region`.

    Args:
        group: columns; records alike in all of them stay in one split. None: `region` where
            sequences are cut, so that windows that overlap do; else `item`.
        features: kind of feature -> class of its bases; null: not read. Where several have a
            base the first of the list decides. None: {CDS: coding}.
        between: class of the bases between the parts of one feature, introns; None: `background`.
        background: class of all others.
        strand: `both`: features of both strands, on the strand that the file holds; `forward`:
            features of that strand only; `coding`: features read forward, so a sequence or
            window with features on the complement strand becomes its reverse complement (with
            features on both it comes twice, each time with those of one strand).
        case: `fold`: all letters large; `keep`: small ones stay (soft-masked repeats).
        length: bases of a window; None: sequences are not cut.
        stride: bases from the start of a window to the next; None: `length`, without overlap.
        region: bases that stay in one split; no window crosses its ends. None: ten windows.

    Raises:
        ConfigError: no features, a region shorter than a window, windows without a length.
    """

    y_column = "tags"

    features: dict[str, str | None] | None = None
    between: str | None = None
    background: str = "noncoding"
    strand: Literal["both", "forward", "coding"] = "both"
    case: Literal["fold", "keep"] = "fold"
    length: Count | None = None
    stride: Count | None = None
    region: Count | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_windows()
        features = {"CDS": "coding"} if self.features is None else self.features
        self.ranks = {
            kind: rank
            for rank, kind in enumerate(kind for kind, name in features.items() if name is not None)
        }
        if not self.ranks:
            text = "no feature has a class; allowed: one or more, as {CDS: coding}"
            raise ConfigError(f"data.source.features={features}: {text}")
        ranked = [name for name in features.values() if name is not None]
        between = self.background if self.between is None else self.between
        self.classes = (*ranked, between, self.background)
        self.stride = self.length if self.stride is None else self.stride
        if self.region is None and self.length is not None:
            self.region = REGION * self.length

    def _check_windows(self) -> None:
        problems = []
        if self.length is None:
            given = {"stride": self.stride, "region": self.region}
            problems += [
                f"data.source.{name}={value}: nothing is cut; allowed: null, or also "
                "data.source.length"
                for name, value in given.items()
                if value is not None
            ]
        elif self.region is not None and self.region < self.length:
            text = f"shorter than a window; allowed: data.source.length={self.length} or more"
            problems.append(f"data.source.region={self.region}: {text}, or null")
        if problems:
            raise ConfigError(problems)

    def without_y(self, column: str, known: Sequence[str]) -> str:
        """Sequences are read without features, FASTA too, and in the direction of the file."""
        super().without_y(column, known)
        if not self.bare:
            return ""
        strand = ", and not by strand=coding" if self.strand == "coding" else ""
        self.strand = "forward"
        return f"without annotation, each sequence in the direction of the file{strand}"

    def holds(self, file: Path, labelled: bool = False) -> bool:
        """True: letters of several lines make one sequence."""
        return True

    def parse(self, file: Path) -> Iterator[Found]:
        """The sequences of a file, or their windows, with their features unless y is not read."""
        text = (line for _, line in lines(file, self.encoding) if isinstance(line, str))
        first = next((line for line in text if line.strip()), "") if self.bare else ""
        if not first.startswith((">", "@")):
            yield from self.annotated(file)
            return
        whole = self.region is None
        every = sequences if whole else partial(fasta, size=self.region)
        for found in every(file, self.encoding, "dna"):
            yield from [found] if isinstance(found, DataError) else self.records(found, (), file)

    @abstractmethod
    def annotated(self, file: Path) -> Iterator[Found]:
        """The sequences of a file of this format, or their windows, as `parse` gives them."""

    def keep_together(self, columns: Sequence[str]) -> None:
        """Whatever x is: a region is one item; uncut, a sequence and its reverse complement."""
        super().keep_together(["item"] if self.length is None else ["region"])

    @property
    def rank_between(self) -> int:
        """The place in `classes` of the bases between the parts of a feature."""
        return len(self.classes) - 2

    def records(self, piece: Piece, spans: Sequence[Span], file: Path) -> Iterator[Found]:
        """The windows of a region, or of a whole sequence, as records.

        Args:
            piece: letters of the forward strand.
            spans: features that have to do with them, counted from the start of them.
            file: the file that holds it.
        """
        sequence = piece.sequence.upper() if self.case == "fold" else piece.sequence
        wanted = [span for span in spans if self.strand != "forward" or span.strand >= 0]
        region = f"{piece.id}:{piece.start + 1}-{piece.start + len(sequence)}"
        for a in self._starts(len(sequence)):
            letters = sequence[a:] if self.length is None else sequence[a : a + self.length]
            inside = [span for span in wanted if span.start < a + len(letters) and span.end > a]
            for strand in self._strands(inside):
                read = [
                    span for span in inside if self.strand != "coding" or span.strand != -strand
                ]
                tags = self._tags(len(letters), read, a)
                columns = {
                    "id": piece.id,
                    "description": piece.description,
                    "start": piece.start + a + 1,
                    "strand": "+" if strand == 1 else "-",
                    "sequence": letters if strand == 1 else reverse_complement(letters),
                    "tags": tags if strand == 1 else tags[::-1],
                    "item": item(letters),
                    "region": region,
                }
                yield PlacedRecord(columns, file, piece.line)

    def _starts(self, count: int) -> range:
        """The starts of the windows of a region; none lies wholly in the one before."""
        if self.length is None or self.stride is None:
            return range(1)
        overlap = max(0, self.length - self.stride)
        return range(0, max(1, count - overlap), self.stride)

    def _strands(self, spans: Sequence[Span]) -> list[int]:
        if self.strand != "coding" or all(span.strand >= 0 for span in spans):
            return [1]
        return [1, -1] if any(span.strand == 1 for span in spans) else [-1]

    def _tags(self, count: int, spans: Sequence[Span], start: int) -> list[str]:
        """A class for each of `count` bases from `start`."""
        ranks = np.full(count, len(self.classes) - 1, dtype=np.int64)
        for span in sorted(spans, key=lambda span: -span.rank):  # the first kind is painted last
            ranks[max(0, span.start - start) : max(0, span.end - start)] = span.rank
        tags: list[str] = np.array(self.classes, dtype=object)[ranks].tolist()
        return tags


def spans_between(parts: Sequence[tuple[int, int, int]], rank: int) -> Iterator[Span]:
    """The introns of one feature: the bases between its parts.

    Parts that do not follow each other on one strand have nothing between them: those of
    a feature that goes over the end of a circle, or is spliced from two strands.

    Args:
        parts: start, end and strand of each, in the order in which the gene is read.
        rank: of the class.
    """
    for (start, end, strand), (next_start, next_end, next_strand) in pairwise(parts):
        if strand != next_strand:
            continue
        a, b = (next_end, start) if strand == -1 else (end, next_start)
        if a < b:
            yield Span(a, b, strand, rank)


def unknown_kinds(file: Path, wanted: list[str], known: list[str]) -> DataError:
    """No feature that a class was given to is there."""
    hint = did_you_mean(wanted[0], known)
    text = f"no feature is called {' or '.join(wanted)}; allowed: {', '.join(known)}{hint}"
    return DataError(f"{file}: data.source.features: {text}")
