"""Headers and letters of FASTA and FASTQ files, checked, piece by piece."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from seqpipe.data.nucleotides import allowed_letters, letters
from seqpipe.data.placed import place
from seqpipe.data.sources.text_lines import lines, packed_too
from seqpipe.errors import DataError

SUFFIXES = packed_too(".fa", ".fasta", ".fna", ".ffn", ".frn", ".faa", ".fas")
"""Of FASTA files."""
_WORST, _BEST = 33, 126  # bytes of a quality, "!" is Phred 0. Source: Cock et al. (2010), Sanger
_FOUR_LINES = "four lines per read: @id, letters, +, quality"


@dataclass(frozen=True, eq=False)
class Piece:
    """Consecutive letters of one sequence of a file.

    Args:
        id: the first word of its header.
        description: the rest of its header.
        line: of its header.
        start: letters of the sequence before this piece.
        sequence: the letters, at least one.
        last: True where the sequence ends here.
        quality: of a FASTQ read, Phred scores, (letters,) uint8.
    """

    id: str
    description: str
    line: int
    start: int
    sequence: str
    last: bool
    quality: np.ndarray[Any, np.dtype[np.uint8]] | None = None


def sequences(file: Path, encoding: str, alphabet: str) -> Iterator[Piece | DataError]:
    """Each sequence whole, of FASTA or FASTQ, whichever the file holds.

    Raises:
        DataError: the file cannot be unpacked.
    """
    first = (line for _, line in lines(file, encoding) if isinstance(line, str) and line.strip())
    if next(first, "").startswith("@"):
        yield from _fastq(file, encoding, alphabet)
    else:
        yield from fasta(file, encoding, alphabet)


def fasta(
    file: Path, encoding: str, alphabet: str, *, size: int | None = None, after: str | None = None
) -> Iterator[Piece | DataError]:
    """The sequences of a FASTA file, whole or in pieces, so that a long one is never held whole.

    Args:
        file: to read.
        encoding: of its headers.
        alphabet: `dna` or `protein`.
        size: letters of a piece, the last of a sequence may have fewer; None: all.
        after: a line; sequences are read from below it. None: from the start.

    Raises:
        DataError: the file cannot be unpacked.
    """
    wrong = letters(alphabet)
    entry: _Entry | None = None
    broken = False  # what follows a fault belongs to it, up to the next header
    found = after is None
    for number, line in lines(file, encoding):
        if not found:
            found = isinstance(line, str) and line.strip() == after
        elif isinstance(line, DataError):
            yield line
            entry, broken = None, True
        elif line.startswith(">"):
            if entry is not None:
                yield entry.end()
            header = _header(line[1:], file, number)
            broken = isinstance(header, DataError)
            entry = None
            if isinstance(header, DataError):
                yield header
            else:
                entry = _Entry(*header, number, file)
        elif broken or not line.strip() or line.startswith(";"):
            continue
        elif entry is None:
            yield DataError(f"{place(file, number)}: letters without a header; allowed: >id first")
            broken = True
        elif fault := wrong.search(line):
            yield _letter(file, number, fault, alphabet)
            entry, broken = None, True
        else:
            yield from entry.add("".join(line.split()), size)
    if entry is not None:
        yield entry.end()
    elif not found:
        yield DataError(f"{file}: holds no line {after}; allowed: one, and sequences below it")
    elif not broken:
        yield DataError(f"{file}: holds no sequences; allowed: >id, and letters below it")


class _Entry:
    """A sequence of which the letters come line by line."""

    def __init__(self, id_: str, description: str, line: int, file: Path) -> None:
        self.id, self.description, self.line, self.file = id_, description, line, file
        self.start = 0
        self.held: list[str] = []
        self.count = 0  # letters held

    def add(self, text: str, size: int | None) -> Iterator[Piece]:
        """The pieces that are full and have something after them."""
        if not text:
            return
        self.held.append(text)
        self.count += len(text)
        if size is not None and self.count > size:
            whole = "".join(self.held)
            ends = range(size, len(whole), size)  # the last letter stays: it may be the end
            for end in ends:
                yield self._piece(whole[end - size : end], last=False)
            self.held = [whole[ends[-1] :]]
            self.count = len(self.held[0])

    def end(self) -> Piece | DataError:
        """The last piece."""
        if not self.count:
            text = f"{self.id} holds no letters; allowed: one or more"
            return DataError(f"{place(self.file, self.line)}: {text}")
        return self._piece("".join(self.held), last=True)

    def _piece(self, sequence: str, *, last: bool) -> Piece:
        piece = Piece(self.id, self.description, self.line, self.start, sequence, last)
        self.start += len(sequence)
        return piece


def _fastq(file: Path, encoding: str, alphabet: str) -> Iterator[Piece | DataError]:
    wrong = letters(alphabet)
    numbered = lines(file, encoding)
    for number, line in numbered:
        if isinstance(line, str) and not line.strip():
            continue
        found = [line, *(below for _, below in islice(numbered, 3))]
        read = [text.strip() for text in found if isinstance(text, str)]
        if len(read) < len(found):
            yield from (fault for fault in found if isinstance(fault, DataError))
        elif len(read) < 4:
            text = f"the file ends within this read; allowed: {_FOUR_LINES}"
            yield DataError(f"{place(file, number)}: {text}")
        elif not read[0].startswith("@") or not read[2].startswith("+"):
            at, mark = (number + 2, "+") if read[0].startswith("@") else (number, "@")
            text = f"does not start with {mark}, so that no read after it can be found"
            yield DataError(f"{place(file, at)}: {text}; allowed: {_FOUR_LINES}")
            return
        else:
            yield _read(read, file, number, wrong, alphabet)


def _read(
    read: list[str], file: Path, number: int, wrong: re.Pattern[str], alphabet: str
) -> Piece | DataError:
    """A FASTQ read of four lines, the first of which is line `number`."""
    header, sequence, _, quality = read
    name = _header(header[1:], file, number)
    scores = np.frombuffer(quality.encode("latin-1", "replace"), dtype=np.uint8)
    below = place(file, number + 3)
    if isinstance(name, DataError):
        return name
    if fault := wrong.search(sequence):
        return _letter(file, number + 1, fault, alphabet)
    if len(scores) != len(sequence):
        text = f"{len(scores)} letters of quality, {len(sequence)} of sequence"
        return DataError(f"{below}: {text}; allowed: one for each")
    if ((scores < _WORST) | (scores > _BEST)).any():
        return DataError(f"{below}: quality holds a letter that is no score; allowed: ! to ~")
    if not sequence:
        return DataError(f"{place(file, number)}: {name[0]} holds no letters; allowed: one or more")
    return Piece(*name, number, 0, sequence, last=True, quality=scores - _WORST)


def _header(text: str, file: Path, number: int) -> tuple[str, str] | DataError:
    id_, _, description = text.strip().partition(" ")
    if "\t" in id_:
        id_, _, description = text.strip().partition("\t")
    if not id_:
        return DataError(f"{place(file, number)}: the header is empty; allowed: an id")
    return id_, description.strip()


def _letter(file: Path, number: int, fault: re.Match[str], alphabet: str) -> DataError:
    name = "amino acid" if alphabet == "protein" else "nucleotide"
    text = f"letter {fault.start() + 1} is {fault[0]!r}, no {name}"
    return DataError(f"{place(file, number)}: {text}; allowed: {allowed_letters(alphabet)}")
