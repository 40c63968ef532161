"""Regions that tags mark on sequences, written as GFF3 or BED.

Source: the GFF3 specification, version 1.26 (Stein 2020): columns, 1-based inclusive coordinates,
percent-encoding; the BED format of the UCSC Genome Browser: 0-based half-open coordinates.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import IO, Any
from urllib.parse import quote

from seqpipe.data.tags import runs, spans
from seqpipe.errors import ConfigError

SUFFIXES = {".gff3": "gff3", ".gff": "gff3", ".bed": "bed"}
"""Format by the end of a file's name."""


@dataclass(frozen=True)
class Region:
    """Bases of a sequence that have one tag.

    Args:
        sequence: its id.
        start: the first base, from 0, on the forward strand.
        end: after the last.
        type: the tag.
        strand: `+`, `-`, or `.` where it is not known.
        chances: the sum of the probabilities of the tag over its bases.
    """

    sequence: str
    start: int
    end: int
    type: str
    strand: str
    chances: float

    @property
    def score(self) -> float:
        """Mean probability of the tag."""
        return self.chances / (self.end - self.start)


@dataclass(frozen=True)
class Reading:
    """How regions are read from answers.

    Args:
        scheme: of the tags; None: runs of equal tags are regions.
        background: the tag of bases in no region; None: every run is one.
        stranded: the tags are those of the strand that is read.
    """

    scheme: str | None
    background: str | None
    stranded: bool


def reading_of(config: Mapping[str, Any], scheme: str | None) -> Reading:
    """How the regions of a model are read.

    Args:
        config: of the model: its data and its task.
        scheme: of its tags; None: they have none.
    """
    source: Mapping[str, Any] = (config["data"].get("source") or {}).get("local") or (
        config["data"].get("source") or {}
    )
    background = (config.get("task") or {}).get("background")
    background = source.get("background") if background is None else background
    both = source.get("strand", "both") == "both"
    return Reading(scheme, None if background is None else str(background), not both)


class Regions:
    """Writes the regions of rows as they come.

    A run of equal tags that reaches the end of a window is joined with the one that continues it
    in the next window of the sequence. A row without an answer has no regions.

    Args:
        sink: to write to.
        format: `gff3` or `bed`.
        reading: of the model's answers.
    """

    def __init__(self, sink: IO[str], format: str, reading: Reading) -> None:
        self.sink, self.reading = sink, reading
        self.line = {"gff3": _gff3, "bed": _bed}[format]
        self.rows = 0
        self.written = 0
        self.last: Region | None = None
        if format == "gff3":
            sink.write("##gff-version 3\n")

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows: answers with `prediction` and `probability`, `id`, `start` (from 1), `strand`.

        The last three are those of the input; without an id the number of the row stands for it.
        """
        for row in rows:
            self.rows += 1
            for place, region in enumerate(regions_of(row, str(self.rows), self.reading)):
                # Tags of a scheme say themselves where a span starts.
                self._add(region, may_continue=place == 0 and self.reading.scheme is None)

    def _add(self, region: Region, *, may_continue: bool) -> None:
        last = self.last
        if may_continue and last is not None and _continues(last, region):
            joined = last.chances + region.chances
            self.last = replace(last, end=region.end, chances=joined)
            return
        self._flush()
        self.last = region

    def _flush(self) -> None:
        if self.last is not None:
            self.written += 1
            self.sink.write(self.line(self.last, self.written) + "\n")
        self.last = None

    def close(self) -> None:
        """Write the last region; the sink stays open for the code that opened it."""
        self._flush()
        self.sink.flush()

    def abort(self) -> None:
        """Leave the file as it is."""


def _continues(last: Region, region: Region) -> bool:
    same = (last.sequence, last.type, last.strand) == (region.sequence, region.type, region.strand)
    return same and last.end == region.start


def regions_of(row: Mapping[str, Any], name: str, reading: Reading) -> Iterator[Region]:
    """Yield the regions of a row in the order of the forward strand.

    Args:
        row: see `Regions.write`.
        name: the id of a sequence without one.
        reading: of the model's answers.
    """
    tags, chances = row.get("prediction"), row.get("probability")
    if tags is None or chances is None:
        return
    sequence, count = str(row.get("id", name)), len(tags)
    start, strand = _start_of(row), str(row.get("strand", "+"))
    found = runs(tags, reading.background) if reading.scheme is None else spans(tags)
    shown = strand if reading.stranded else "."
    for span in reversed(found) if strand == "-" else found:
        a, b = (count - span.end, count - span.start) if strand == "-" else (span.start, span.end)
        total = math.fsum(chances[span.start : span.end])
        yield Region(sequence, start + a, start + b, span.type or "span", shown, total)


def _start_of(row: Mapping[str, Any]) -> int:
    """The first base of a row in its sequence, from 0."""
    start = row.get("start")
    return start - 1 if isinstance(start, int) and "id" in row else 0


def _gff3(region: Region, number: int) -> str:
    name = quote(region.sequence, safe="".join(_ID_SIGNS))
    type_ = quote(region.type, safe=" ()/:.+-'\"")
    columns = [name, "seqpipe", type_, region.start + 1, region.end, f"{region.score:.4f}"]
    return "\t".join(map(str, [*columns, region.strand, ".", f"ID=region{number}"]))


_ID_SIGNS = ".:^*$@!+_?-|"  # that an id of GFF3 may hold as they are


def _bed(region: Region, number: int) -> str:
    name, type_ = (re.sub(r"\s", "_", text) for text in (region.sequence, region.type))
    columns = [name, region.start, region.end, type_, round(1000 * region.score), region.strand]
    return "\t".join(map(str, columns))


def check_regions(output: str, *, tagged: bool) -> None:
    """Refuse regions of a model that tags no steps.

    Raises:
        ConfigError: it does not.
    """
    if not tagged:
        text = "has regions of tagged sequences, and this model tags no steps"
        raise ConfigError(f"output={output}: {text}; allowed: .jsonl, .csv, .tsv, .parquet")
