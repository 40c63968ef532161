"""A table that says which class each id has, for sources whose examples have ids."""

from collections.abc import Collection, Iterator
from functools import cached_property
from pathlib import Path

from seqpipe.data.base import place
from seqpipe.data.sources.argument_checks import not_there
from seqpipe.data.sources.numeric_text import cells
from seqpipe.data.sources.text_lines import lines
from seqpipe.errors import DataError, did_you_mean


class LabelTable:
    """Rows of an id and a label, with a header, parted by tabs (.tsv) or commas.

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
            where: the example stands, for the message.

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
        if not self.file.is_file():
            key = f"data.source.labels={self.file}"
            raise DataError(not_there(key, self.file, "a table of ids and labels"))
        rows: dict[str, tuple[str, int]] = {}
        bad: list[DataError] = []
        for found in self._read():
            if isinstance(found, DataError):
                bad.append(found)
                continue
            id_, label, line = found
            if rows.setdefault(id_, (label, line))[0] != label:
                text = f"{id_} is {rows[id_][0]} in line {rows[id_][1]} and {label} here"
                bad.append(DataError(f"{place(self.file, line)}: {text}; allowed: one label an id"))
        return rows, bad

    def _read(self) -> Iterator[tuple[str, str, int] | DataError]:
        name = self.file.name.removesuffix(".gz")
        delimiter = "\t" if name.endswith((".tsv", ".tab", ".txt")) else ","
        places: tuple[int, int] | None = None
        width = 0
        for number, line in lines(self.file, self.encoding):
            if isinstance(line, DataError):
                yield line
                continue
            if not line.strip():
                continue
            try:
                row = [entry.strip() for entry in cells(line, delimiter)]
            except ValueError as problem:
                error = DataError(f"{place(self.file, number)}: {problem}")
                if places is None:
                    raise error from None
                yield error
                continue
            if places is None:
                places, width = self._places(row, number), len(row)
            elif len(row) != width:
                text = f"{len(row)} columns, the header has {width}; allowed: {width}"
                yield DataError(f"{place(self.file, number)}: {text}")
            else:
                yield row[places[0]], row[places[1]], number
        if places is None:
            columns = delimiter.join(self.columns)
            raise DataError(f"{self.file}: is empty; allowed: a header {columns!r} and rows")

    def _places(self, header: list[str], number: int) -> tuple[int, int]:
        keys = ("id_column", "label_column")
        for key, column in zip(keys, self.columns, strict=True):
            if column not in header:
                allowed = f"data.source.{key} with one of {', '.join(header)}"
                hint = did_you_mean(column, header)
                text = f"no column {column}; allowed: {allowed}{hint}"
                raise DataError(f"{place(self.file, number)}: {text}")
        return header.index(self.columns[0]), header.index(self.columns[1])
