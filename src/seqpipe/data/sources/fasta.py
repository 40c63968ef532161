"""Sequences in FASTA and FASTQ files, each with a class."""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from seqpipe.data.base import SPLITS, Found, PlacedRecord, Splits, place
from seqpipe.data.nucleotides import item, reverse_complement
from seqpipe.data.sources.argument_checks import compiled, not_there
from seqpipe.data.sources.fasta_records import SUFFIXES, Piece, sequences
from seqpipe.data.sources.files import FileSource
from seqpipe.data.sources.splitting import Reread, with_problems
from seqpipe.data.sources.table_formats import table_rows
from seqpipe.data.sources.text_lines import packed_too
from seqpipe.errors import ConfigError, DataError, did_you_mean
from seqpipe.files import is_file
from seqpipe.rules import refusal


@dataclass(kw_only=True)
class Fasta(FileSource):
    """FASTA and FASTQ files, plain or .gz, wrapped or not: columns `sequence` and `label`.

    Others are `id` and `description` of the header, `item`, the same for a sequence and its
    reverse complement, and of FASTQ `quality`, an array of Phred scores. The class of a sequence
    is the name of its file, or a part of its header, or listed in a table.

    Args:
        group: columns; records alike in all of them stay in one split. None: `item`.
        classes: name of a file without its ending -> class. None: the class is that name.
        header: a regular expression; what its first group finds in a header is the class.
        labels: a table, .tsv or .csv, with the class of each id.
        id_column: of that table.
        label_column: of that table.
        alphabet: `dna` (with U of RNA) or `protein`; other letters are refused.
        case: `fold`: all letters large; `keep`: small ones stay (soft-masked repeats).
        strands: `given`, or `both`: train also on the reverse complement of each sequence.

    Raises:
        ConfigError: more than one way to find the class, a header without a group, `both`
            strands of a protein.
    """

    suffixes = (*SUFFIXES, *packed_too(".fq", ".fastq"))
    companions: ClassVar = {"labels": (".tsv", ".csv", ".tab")}

    classes: dict[str, str] | None = None
    header: str | None = None
    labels: str | None = None
    id_column: str = "id"
    label_column: str = "label"
    alphabet: Literal["dna", "protein"] = "dna"
    case: Literal["fold", "keep"] = "fold"
    strands: Literal["given", "both"] = "given"

    def __post_init__(self) -> None:
        super().__post_init__()
        ways = {"classes": self.classes, "header": self.header, "labels": self.labels}
        given = [f"data.source.{name}" for name, value in ways.items() if value is not None]
        if len(given) > 1:
            text = "each says what the class is; allowed: one of them, the others null"
            raise ConfigError(f"{' and '.join(given)}: {text}")
        if self.strands == "both" and self.alphabet == "protein":
            text = "a protein has no other strand; allowed: given"
            raise ConfigError(f"data.source.strands=both: {text}")
        self._pattern = None if self.header is None else _pattern(self.header)
        self.table = None
        if self.labels is not None:
            (file,) = self.companion_files()
            self.table = LabelTable(file, self.id_column, self.label_column, self.encoding)

    def read(self) -> Splits:
        """See `FileSource`; rows of the table without a sequence are errors in train.

        Raises:
            DataError: as `FileSource.read`; the table cannot be read.
        """
        splits = super().read()
        if self.strands == "both":
            splits = replace(splits, train=Reread(partial(_both_strands, splits.train)))
        if self.table is not None:
            ids = {
                found.id
                for file in dict.fromkeys(f for split in SPLITS for f in self.files_of(split))
                for found in sequences(file, self.encoding, self.alphabet)
                if not isinstance(found, DataError)
            }
            if problems := self.table.problems(ids):
                splits = with_problems(splits, problems)
        return splits

    def holds(self, file: Path, labelled: bool = False) -> bool:
        """True: letters of several lines make one sequence."""
        return True

    def keep_together(self, columns: Sequence[str]) -> None:
        """Whatever x is: a sequence and its reverse complement are one item."""
        super().keep_together(["item"])

    def parse(self, file: Path) -> Iterator[Found]:
        """A record for each sequence."""
        for found in sequences(file, self.encoding, self.alphabet):
            if isinstance(found, DataError):
                yield found
                continue
            try:
                label = None if self.bare else self._label(file, found)
            except DataError as error:
                yield error
                continue
            sequence = found.sequence.upper() if self.case == "fold" else found.sequence
            columns: dict[str, object] = {
                "id": found.id,
                "description": found.description,
                "sequence": sequence,
                **({} if self.bare else {"label": label}),
                "item": item(sequence, one_strand=self.alphabet == "protein"),
            }
            if found.quality is not None:
                columns["quality"] = found.quality
            yield PlacedRecord(columns, file, found.line)

    def _label(self, file: Path, piece: Piece) -> str:
        if self.table is not None:
            return self.table.label(piece.id, place(file, piece.line))
        if self._pattern is not None:
            header = f"{piece.id} {piece.description}".rstrip()
            found = self._pattern.search(header)
            if found is None or found[1] is None:
                text = f"the header {header!r} holds no class; allowed: what matches"
                written = f"data.source.header={self.header}"
                raise DataError(f"{place(file, piece.line)}: {text} {written}")
            return found[1]
        stem = file.name.removesuffix(".gz").rpartition(".")[0] or file.name
        if self.classes is None:
            return stem
        if stem not in self.classes:
            allowed = f"data.source.classes with {', '.join(self.classes)}"
            hint = did_you_mean(stem, self.classes)
            text = f"{stem} has no class; allowed: {allowed} and {stem}{hint}"
            raise DataError(f"{place(file, piece.line)}: {text}")
        return self.classes[stem]


def _pattern(header: str) -> re.Pattern[str]:
    key, allowed = "data.source.header", r"one with a group in (), as class=(\w+)"
    pattern = compiled(key, header, allowed)
    if not pattern.groups:
        raise ConfigError(refusal(key, header, "finds no class", allowed))
    return pattern


def _both_strands(found: Iterable[Found]) -> Iterator[Found]:
    """Each record and, after it, its reverse complement."""
    for one in found:
        yield one
        if isinstance(one, PlacedRecord):
            other = {**one, "sequence": reverse_complement(one["sequence"])}
            if "quality" in other:
                other["quality"] = np.ascontiguousarray(one["quality"][::-1])
            yield PlacedRecord(other, one.file, one.line)


class LabelTable:
    """A table that holds the class of each id: a header, then rows, with tabs (.tsv) or commas.

    Args:
        file: .tsv, .tab or .csv, plain or .gz.
        id_column: its name in the header.
        label_column: its name in the header.
        encoding: of the text.
    """

    def __init__(self, file: Path, id_column: str, label_column: str, encoding: str) -> None:
        self.file, self.encoding = file, encoding
        self.columns = (id_column, label_column)

    def label(self, id_: str, where: str) -> str:
        """The label of an id.

        Args:
            id_: of an example.
            where: the place of the example, for the message.

        Raises:
            DataError: the table has no such id, or cannot be read.
        """
        rows = self._rows[0]
        if id_ not in rows:
            hint = did_you_mean(id_, rows)
            raise DataError(f"{where}: {id_} has no label; allowed: an id of {self.file}{hint}")
        return rows[id_][0]

    def problems(self, ids: Collection[str]) -> list[DataError]:
        """Rows that cannot be used, and rows of which the id is none of these.

        Raises:
            DataError: the table cannot be read.
        """
        rows, bad = self._rows
        missing = [
            DataError(
                f"{place(self.file, line)}: {id_} is no sequence of data.source.train, "
                "valid or test; allowed: an id that one of their files holds"
            )
            for id_, (_, line) in rows.items()
            if id_ not in ids
        ]
        return [*bad, *missing]

    @cached_property
    def _rows(self) -> tuple[dict[str, tuple[str, int]], list[DataError]]:
        """Id -> (label, line), and what cannot be used."""
        if not is_file(self.file):
            key = f"data.source.labels={self.file}"
            raise DataError(not_there(key, self.file, "a table of ids and labels"))
        rows: dict[str, tuple[str, int]] = {}
        bad: list[DataError] = []
        keys = ("data.source.id_column", "data.source.label_column")
        name = self.file.name.removesuffix(".gz")
        delimiter = "\t" if name.endswith((".tsv", ".tab", ".txt")) else ","
        wanted = dict(zip(self.columns, keys, strict=True))
        for line, row in table_rows(self.file, self.encoding, delimiter, wanted):
            if isinstance(row, DataError):
                bad.append(row)
                continue
            id_, label = (row[column] for column in self.columns)
            if rows.setdefault(id_, (label, line))[0] != label:
                text = f"{id_} is {rows[id_][0]} in line {rows[id_][1]} and {label} here"
                bad.append(
                    DataError(f"{place(self.file, line)}: {text}; allowed: one label per id")
                )
        return rows, bad
