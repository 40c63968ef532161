"""Answers as rows of a table: csv, JSON lines or Parquet, written as they come."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol

import pyarrow as pa
from pyarrow import parquet

from seqpipe.errors import ConfigError

Row = Mapping[str, Any]
ROWS = 4_096  # of a group of Parquet
FORMATS = {
    **{".csv": "csv", ".tsv": "tsv", ".tab": "tsv"},
    **{".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".parquet": "parquet"},
}


def flat(answer: Row) -> dict[str, Any]:
    """An answer whose names within names are joined by a dot: `probabilities.spam`."""
    row: dict[str, Any] = {}
    for name, value in answer.items():
        if isinstance(value, Mapping):
            row |= {f"{name}.{inner}": one for inner, one in value.items()}
        else:
            row[name] = value
    return row


def format_of(output: str, asked: str | None) -> str:
    """`csv`, `tsv`, `jsonl` or `parquet`: as asked, or by the file's name; jsonl on the screen.

    Raises:
        ConfigError: the name does not say, or Parquet on standard output.
    """
    name = Path(output)
    found = asked or ("jsonl" if output == "-" else FORMATS.get(name.suffix.lower()))
    if found is None:
        allowed = ", ".join(dict.fromkeys(FORMATS))
        raise ConfigError(
            f"output={output}: its name does not say in which format; allowed: a name that ends"
            f" in {allowed}, or output_format=..."
        )
    if found == "parquet" and output == "-":
        raise ConfigError(
            "output=- output_format=parquet: cannot be written to a pipe; allowed: a file"
        )
    return found


class Writer(Protocol):
    """Takes rows as they come; `close` when all are there."""

    def write(self, rows: Sequence[Row]) -> None:
        """Adds rows."""

    def close(self) -> None:
        """Writes what is left."""


class JsonLines:
    """An object a line, names within names as they are."""

    def __init__(self, sink: IO[str]) -> None:
        self.sink = sink

    def write(self, rows: Sequence[Row]) -> None:
        """Adds rows."""
        self.sink.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)

    def close(self) -> None:
        """Leaves the sink to whoever opened it."""
        self.sink.flush()


class Delimited:
    """Cells; a list of words is joined by spaces, another list or object is written as JSON.

    The columns are those of the first rows: a later row with another name would move cells.
    """

    def __init__(self, sink: IO[str], delimiter: str, columns: Sequence[str]) -> None:
        self.writer = csv.writer(sink, delimiter=delimiter, lineterminator="\n")
        self.columns, self.sink = list(columns), sink
        self.writer.writerow(self.columns)

    def write(self, rows: Sequence[Row]) -> None:
        """Adds rows."""
        for row in rows:
            flattened = flat(row)
            self.writer.writerow([_cell(flattened.get(name)) for name in self.columns])

    def close(self) -> None:
        """Leaves the sink to whoever opened it."""
        self.sink.flush()


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return " ".join(value)
    if isinstance(value, (list, Mapping)):
        return json.dumps(value, ensure_ascii=False)
    return value


class ParquetRows:
    """Typed columns; what Arrow cannot type alike in all rows is text."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path, self.columns = path, list(columns)
        self.writer: parquet.ParquetWriter | None = None
        self.waiting: list[dict[str, Any]] = []

    def write(self, rows: Sequence[Row]) -> None:
        """Adds rows."""
        self.waiting += [flat(row) for row in rows]
        if len(self.waiting) >= ROWS:
            self._flush()

    def _flush(self) -> None:
        columns = {name: [row.get(name) for row in self.waiting] for name in self.columns}
        if self.writer is None:
            table = pa.table({name: _typed(values) for name, values in columns.items()})
            self.writer = parquet.ParquetWriter(self.path, table.schema, compression="zstd")
        schema = self.writer.schema
        arrays = [pa.array(columns[field.name], type=field.type) for field in schema]
        self.writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
        self.waiting = []

    def close(self) -> None:
        """Writes what is left."""
        if self.waiting or self.writer is None:
            self._flush()
        assert self.writer is not None
        self.writer.close()


def _typed(values: list[Any]) -> pa.Array:
    """A column as Arrow sees it; one without any value yet holds text, as errors do."""
    if all(value is None for value in values):
        return pa.array(values, type=pa.string())
    return pa.array(values)


class Output:
    """A file that takes its name only when all is written, or standard output.

    Args:
        output: the file, or `-`.
        kind: `csv`, `tsv`, `jsonl` or `parquet`.
        stdout: what `-` stands for.
    """

    def __init__(self, output: str, kind: str, stdout: IO[str]) -> None:
        self.output, self.kind, self.stdout = output, kind, stdout
        self.path = None if output == "-" else Path(output)
        self.made = None if self.path is None else self.path.with_name(f".{self.path.name}.part")
        self.sink: IO[str] = stdout
        self.writer: Writer | None = None

    def __enter__(self) -> "Output":
        """Opens the file that is written meanwhile.

        Raises:
            ConfigError: it cannot be written.
        """
        if self.made is not None:
            try:
                self.made.parent.mkdir(parents=True, exist_ok=True)
                self.sink = self.made.open("w", encoding="utf-8", newline="")
            except OSError as error:
                text = f"cannot be written ({error.strerror}); allowed: a file, or -"
                raise ConfigError(f"output={self.output}: {text}") from None
        return self

    def write(self, rows: Sequence[Row]) -> None:
        """Adds rows; the first ones say which columns there are."""
        if self.writer is None:
            columns = list(dict.fromkeys(name for row in rows for name in flat(row)))
            self.writer = self._made(columns)
        self.writer.write(rows)

    def _made(self, columns: Sequence[str]) -> Writer:
        if self.kind == "jsonl":
            return JsonLines(self.sink)
        if self.kind == "parquet":
            assert self.made is not None
            return ParquetRows(self.made, columns)
        return Delimited(self.sink, "," if self.kind == "csv" else "\t", columns)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Gives the file its name, or removes it where something went wrong."""
        if self.writer is not None and kind is None:
            self.writer.close()
        if self.made is not None and self.path is not None:
            self.sink.close()
            if kind is None:
                self.made.replace(self.path)
            else:
                self.made.unlink(missing_ok=True)
