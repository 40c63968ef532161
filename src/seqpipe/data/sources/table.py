"""Tables: csv, tsv, JSON lines and Parquet."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

from seqpipe.data.base import Found, PlacedRecord, place
from seqpipe.data.missing import is_missing
from seqpipe.data.sources.argument_checks import check_use
from seqpipe.data.sources.files import FileSource
from seqpipe.data.sources.given_splits import SplitColumns, split_columns
from seqpipe.data.sources.table_formats import (
    Row,
    check_columns,
    first_cells,
    json_rows,
    parquet_columns,
    parquet_rows,
    table_rows,
)
from seqpipe.data.sources.text_lines import packed_too
from seqpipe.errors import ConfigError, DataError
from seqpipe.rules import refusal

FORMATS = {
    **{".csv": "csv", ".tsv": "tsv", ".tab": "tsv"},
    **{".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".parquet": "parquet"},
}
DELIMITERS = {"csv": ",", "tsv": "\t"}
_LOOKED_AT = 100  # JSON lines, to tell a column that is nowhere from one that some lines lack


@dataclass(kw_only=True)
class Table(FileSource):
    """A record a row; csv, tsv and JSON lines may be packed as .gz.

    Cells of csv and tsv are text, those of JSON and Parquet what they are there.

    Args:
        columns: to read, each of them in every file; `title+text` puts two (or more) together,
            with a space between. None: all columns of a file.
        format: None: by the file's name (.csv .tsv .tab .jsonl .ndjson .json .parquet).
        delimiter: between cells; None: a comma in csv, a tab in tsv.
        quote: around cells that hold delimiters, line ends or quotes; None: quotes are text.
        header: true, the first row names the columns; or their names, where none does.
        strip: take white space off both ends of every text.
        encoding: of csv, tsv and JSON lines.

    Raises:
        ConfigError: an option that cannot work.
    """

    suffixes = packed_too(*FORMATS)

    columns: list[str] | None = None
    format: Literal["csv", "tsv", "jsonl", "parquet"] | None = None
    delimiter: str | None = None
    quote: str | None = '"'
    header: bool | list[str] = True
    strip: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_options()
        self._without: tuple[str, ...] = ()
        self._split_columns = SplitColumns()  # also those that no record holds

    def _check_options(self) -> None:
        problems = []
        for name, value in (("delimiter", self.delimiter), ("quote", self.quote)):
            if value is not None and len(value) != 1:
                tab = ", for tabs data.source.format=tsv" if name == "delimiter" else ""
                allowed = f"one character, or null{tab}"
                problems.append(refusal(f"data.source.{name}", value, "wrong form", allowed))
        if self.header is False or self.header == []:
            wrong, allowed = "the columns need names", "true, or a list of them"
            problems.append(refusal("data.source.header", self.header, wrong, allowed))
        elif len(set(self._names or ())) < len(self._names or ()):
            wrong, allowed = "a name comes twice", "a name of its own for each column"
            problems.append(refusal("data.source.header", self.header, wrong, allowed))
        if problems:
            raise ConfigError(problems)
        if self.format is not None:
            check_use(self)

    @property
    def _names(self) -> list[str] | None:
        """The names of the columns of a file without a header."""
        return None if isinstance(self.header, bool) else list(self.header)

    @property
    def endings(self) -> tuple[str, ...]:
        """The endings of files taken from a folder; all files where the format is given."""
        return self.suffixes if self.format is None else ()

    def without_y(self, column: str, known: Sequence[str]) -> str:
        """The columns of y need not be there; nor their names where a file has no header."""
        self._without = (column, *column.split("+"))
        self.columns = self.columns and [c for c in self.columns if c not in self._without]
        return ""

    def only(self, column: str) -> None:
        """See `FileSource`; `title+text` is made of two."""
        self.columns = [column] if "+" in column else None
        self.group, self.stratify = None, None

    def warnings(self) -> list[str]:
        """See `FileSource`; and a column that names splits, also one that is not in the records."""
        unused = self._split_columns.warnings(self.shares) if self.shares else []
        return list(dict.fromkeys([*super().warnings(), *unused]))

    def _header_of(self, file: Path, delimiter: str) -> list[str] | None:
        """The names of the columns that a file has; None where its first row holds them."""
        names = self._names
        if names is None or not self._without:
            return names
        first = first_cells(file, self.encoding, delimiter, self.quote)
        left = [name for name in names if name not in self._without]
        if first in (names, left):
            return None
        return left if len(first) == len(left) else names

    def parse(self, file: Path) -> Iterator[Found]:
        """The rows of one file.

        Raises:
            DataError: it is empty, broken, or lacks a column.
        """
        for line, cells in self._rows(file):
            self._split_columns.note(cells)
            yield cells if isinstance(cells, DataError) else self._record(cells, file, line)

    def _rows(self, file: Path) -> Iterable[Row]:
        kind = self.format_of(file)
        if kind == "parquet":
            names = parquet_columns(file)
            self._check_columns(f"{file}", names)
            read = None if self.columns is None else [*self._read_of(names), *split_columns(names)]
            return parquet_rows(file, read and list(dict.fromkeys(read)))
        if kind == "jsonl":
            rows = json_rows(file, self.encoding)
            first = list(islice(rows, _LOOKED_AT))
            objects = [cells for _, cells in first if isinstance(cells, dict)]
            if objects:
                self._check_columns(f"{file}", list(dict.fromkeys(chain(*objects))))
            return chain(first, rows)
        delimiter = self.delimiter or DELIMITERS[kind]
        return table_rows(
            *(file, self.encoding, delimiter),
            quote=self.quote,
            multiline=True,
            header=self._header_of(file, delimiter),
            check=self._check_columns,
        )

    def format_of(self, file: Path) -> str:
        """`csv`, `tsv`, `jsonl` or `parquet`.

        Raises:
            DataError: its name does not tell.
        """
        if self.format is not None:
            return self.format
        kind = FORMATS.get(Path(file.name.lower().removesuffix(".gz")).suffix)
        if kind is None:
            allowed = " | ".join(dict.fromkeys(FORMATS.values()))
            text = f"its name does not determine the format; allowed: data.source.format={allowed}"
            raise DataError(f"{file}: {text}")
        return kind

    def unread_options(self) -> dict[str, str]:
        """See `FileSource`; JSON and Parquet have no delimiters, Parquet has its own encoding."""
        read = [self.format] if self.format else map(self.format_of, self.inputs())
        formats = set(read)
        unread: dict[str, str] = {}
        if formats.isdisjoint(DELIMITERS):
            only = " and ".join(sorted(formats))
            unread = dict.fromkeys(
                ("delimiter", "quote", "header"), f"is of csv and tsv, not of {only}"
            )
        if formats == {"parquet"}:
            unread["encoding"] = "Parquet says itself how its text is written"
        return unread

    def _needed(self) -> tuple[str, ...]:
        more = (*self.item_columns, *([self.stratify] if self.stratify is not None else []))
        return tuple(dict.fromkeys((*(self.columns or ()), *more)))

    def _read_of(self, names: list[str]) -> list[str]:
        """The columns of a file that the needed ones are made of."""
        parts = [[c] if c in names else c.split("+") for c in self._needed()]
        return list(dict.fromkeys(chain(*parts)))

    def _check_columns(self, where: str, names: list[str]) -> None:
        if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
            text = f"two columns are called {twice[0]!r}; allowed: a name of its own for each"
            raise DataError(f"{where}: {text}")
        check_columns(where, self._read_of(names), names)

    def _record(self, cells: Mapping[str, Any], file: Path, line: int) -> Found:
        if self.strip:
            cells = {k: v.strip() if isinstance(v, str) else v for k, v in cells.items()}
        columns: dict[str, Any] = dict(cells) if self.columns is None else {}
        for column in self._needed():
            parts = [column] if column in cells else column.split("+")
            for part in parts:
                if part not in cells:
                    return DataError(f"{place(file, line)}: has no {part!r}; allowed: a value")
                if len(parts) > 1 and (
                    is_missing(cells[part]) or not isinstance(cells[part], (str, int, float))
                ):
                    text = f"{part}={cells[part]!r}: cannot be put together with others"
                    return DataError(f"{place(file, line)}: {text}; allowed: text or a number")
            whole = len(parts) == 1
            columns[column] = cells[parts[0]] if whole else " ".join(str(cells[p]) for p in parts)
        return PlacedRecord(columns, file, line)
