"""Writers of answers: csv, tsv, JSON lines, Parquet; a file appears once complete."""

import csv
import json
import logging
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import pyarrow as pa
from pyarrow import parquet

from seqpipe.data.sources.table import DELIMITERS, FORMATS
from seqpipe.errors import ConfigError, DataError
from seqpipe.files import writing_output
from seqpipe.inference.regions import SUFFIXES, Reading, Regions

Row = Mapping[str, Any]


ROWS = 4_096  # of a group of Parquet
MOST_WARNED = 10  # columns that are left out

_STRICT = json.JSONEncoder(ensure_ascii=False, allow_nan=False)

log = logging.getLogger(__name__)


class Writer(ABC):
    """Writes rows as they come."""

    @abstractmethod
    def write(self, rows: Sequence[Row]) -> None:
        """Add rows."""

    @abstractmethod
    def close(self) -> None:
        """Write what is left."""

    def abort(self) -> None:  # noqa: B027
        """Release the file without completing it."""


class JsonLines(Writer):
    """One JSON object a line, nested names as they are; NaN and infinity are null."""

    def __init__(self, sink: IO[str]) -> None:
        self.sink = sink

    def write(self, rows: Sequence[Row]) -> None:
        """Add rows."""
        self.sink.write("".join([f"{_json(row)}\n" for row in rows]))

    def close(self) -> None:
        """Flush; the sink stays open for the code that opened it."""
        self.sink.flush()


def _strict_encoder() -> Callable[[Any], str]:
    """`_STRICT.encode`, without its cost of making an encoder in C for each row."""
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return _STRICT.encode
    text = json.encoder.encode_basestring
    separators = _STRICT.key_separator, _STRICT.item_separator
    encode = make(None, _STRICT.default, text, None, *separators, False, False, False)
    return lambda row: "".join(encode(row, 0))


_strict_json = _strict_encoder()


def _json(row: Row) -> str:
    """Most rows can be written unchanged; the others are cleaned first, which takes longer."""
    try:
        text = _strict_json(row)
        if not text.isascii():
            text.encode()
        return text
    except (TypeError, ValueError):
        return json.dumps(_clean(row), ensure_ascii=False)


def _clean(value: Any) -> Any:
    """Replace NaN and infinity by None, and text that UTF-8 cannot encode by escapes."""
    if isinstance(value, str):
        return _encodable(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _clean(one) for name, one in value.items()}
    return [_clean(one) for one in value] if isinstance(value, list) else value


def _encodable(text: str) -> str:
    """Escape halves of surrogate pairs, which UTF-8 cannot encode."""
    return text.encode("utf-8", "backslashreplace").decode()


class _Columns:
    """The columns of a table: those of its first rows, since a later one would shift the cells.

    A column that only later rows have is left out, with a warning for each of the first ten.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names, self.known, self.late = list(names), set(names), 0

    def cells(self, row: Row) -> list[Any]:
        """Return the cell of each column of a row."""
        flattened = flat(row)
        for name in flattened.keys() - self.known:
            if self.late == MOST_WARNED:
                break
            self.late += 1
            self.known.add(name)
            text = "column %r is left out: the first rows had none; as .jsonl it would be kept"
            more = "; further such columns are not reported" if self.late == MOST_WARNED else ""
            log.warning(text + more, name)
        return [flattened.get(name) for name in self.names]


class Delimited(Writer):
    """csv or tsv; a list of words is joined by spaces, other lists and objects become JSON."""

    def __init__(self, sink: IO[str], delimiter: str, columns: Sequence[str]) -> None:
        self.writer = csv.writer(sink, delimiter=delimiter, lineterminator="\n")
        self.columns, self.sink = _Columns(columns), sink
        self.writer.writerow(self.columns.names)

    def write(self, rows: Sequence[Row]) -> None:
        """Add rows."""
        for row in rows:
            self.writer.writerow([_cell(value) for value in self.columns.cells(row)])

    def close(self) -> None:
        """Flush; the sink stays open for the code that opened it."""
        self.sink.flush()


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return _encodable(" ".join(value))
    if isinstance(value, (list, Mapping)):
        return json.dumps(_clean(value), ensure_ascii=False)
    return _encodable(value) if isinstance(value, str) else value


class ParquetRows(Writer):
    """Parquet; types that are not given are inferred from the first rows.

    A column of text takes any later value; a column of numbers takes numbers only.
    """

    def __init__(
        self, path: Path, columns: Sequence[str], types: Mapping[str, pa.DataType]
    ) -> None:
        self.path, self.columns, self.types = path, _Columns(columns), types
        self.writer: parquet.ParquetWriter | None = None
        self.waiting: list[list[Any]] = []

    def write(self, rows: Sequence[Row]) -> None:
        """Add rows."""
        self.waiting += [self.columns.cells(row) for row in rows]
        if len(self.waiting) >= ROWS:
            self._flush()

    def _flush(self) -> None:
        names = self.columns.names
        columns = {name: [row[at] for row in self.waiting] for at, name in enumerate(names)}
        if self.writer is None:
            typed = {name: self.types.get(name) or _type(columns[name]) for name in columns}
            self.writer = parquet.ParquetWriter(self.path, pa.schema(typed), compression="zstd")
        schema = self.writer.schema
        arrays = [self._array(columns[field.name], field) for field in schema]
        self.writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
        self.waiting = []

    def _array(self, values: list[Any], field: pa.Field) -> pa.Array:
        if field.type == pa.string():
            values = [value if value is None else _text(value) for value in values]
        try:
            return pa.array(values, type=field.type)
        except (pa.ArrowException, OverflowError, TypeError):
            text = f"its column {field.name!r} holds {field.type} first, and another type later"
            raise DataError(f"{self.path}: {text}; allowed: output as .jsonl or .csv") from None

    def close(self) -> None:
        """Write what is left."""
        if self.waiting or self.writer is None:
            self._flush()
        self.abort()

    def abort(self) -> None:
        """Close the file as it is."""
        if self.writer is not None:
            self.writer.close()


def _type(values: list[Any]) -> pa.DataType:
    """The type that Arrow infers for all values; text if it cannot, or if they differ."""
    try:
        found = pa.array([value for value in values if value is not None]).type
    except (pa.ArrowException, OverflowError):
        return pa.string()
    return pa.string() if found == pa.null() else found


def _text(value: Any) -> str:
    if isinstance(value, str):
        return _encodable(value)
    return json.dumps(_clean(value), ensure_ascii=False)


def check_output(output: str, input: str, format: str | None = None) -> str:
    """Refuse an output that cannot be written, before anything is read. Return its format.

    Args:
        output: a file, or `-` for standard output.
        input: the input, which must not be overwritten.
        format: `csv`, `tsv`, `jsonl`, `parquet`, `gff3` or `bed`; None: by the file's name, jsonl
            for `-`.

    Raises:
        ConfigError: the output is the input, its name does not say the format, or the format
            cannot be written to a pipe.
    """
    known = FORMATS | SUFFIXES
    found = format or ("jsonl" if output == "-" else known.get(Path(output).suffix.lower()))
    if found is None:
        text = "its name does not determine the format"
        allowed = f"a name that ends in {', '.join(known)}, or output_format=..."
        raise ConfigError(f"output={output}: {text}; allowed: {allowed}")
    if found == "parquet" and output == "-":
        text = "cannot be written to a pipe; allowed: a file"
        raise ConfigError(f"output=- output_format=parquet: {text}")
    if "-" not in (input, output) and Path(input).resolve() == Path(output).resolve():
        raise ConfigError(f"output={output}: is the input; allowed: another file")
    return found


class Output:
    """A file that gets its name only when it is complete, or standard output.

    Args:
        output: the file, or `-`.
        format: `csv`, `tsv`, `jsonl` or `parquet`; `gff3` or `bed` with a reading.
        stdout: where `-` is written.
        types: columns that are written even if the first rows lack them; they come after those of
            the input.
        last: columns that come last.
        reading: how regions are read from rows.
    """

    def __init__(
        self,
        output: str,
        format: str,
        stdout: IO[str],
        types: Mapping[str, pa.DataType] | None = None,
        last: Sequence[str] = (),
        reading: Reading | None = None,
    ) -> None:
        self.reading = reading
        self.output, self.format, self.sink = output, format, stdout
        self.types, self.last = dict(types or {}), tuple(last)
        self.path = None if output == "-" else Path(output)
        self.made: Path | None = None
        if self.path is not None:
            self.made = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        self.writer: Writer | Regions | None = None

    def __enter__(self) -> "Output":
        """Open the temporary file.

        Raises:
            ConfigError: it cannot be written.
        """
        if self.path is not None and self.path.is_dir():
            raise ConfigError(f"output={self.output}: is a folder; allowed: a file, or -")
        if self.made is not None:
            with writing_output(self.output, "a file, or -"):
                self.made.parent.mkdir(parents=True, exist_ok=True)
                self.sink = self.made.open("w", encoding="utf-8", newline="")
        return self

    def write(self, rows: Sequence[Row]) -> None:
        """Add rows; the first ones define the columns, together with `types` and `last`."""
        if self.writer is None and self.format == "jsonl":
            self.writer = JsonLines(self.sink)
        elif self.writer is None and self.reading is not None:
            self.writer = Regions(self.sink, self.format, self.reading)
        elif self.writer is None:
            names = dict.fromkeys(name for row in rows for name in flat(row))
            first = [name for name in names if name not in {*self.types, *self.last}]
            self.writer = self._make_writer([*first, *self.types, *self.last])
        self.writer.write(rows)

    def _make_writer(self, columns: Sequence[str]) -> Writer:
        if self.format == "parquet":
            assert self.made is not None
            return ParquetRows(self.made, columns, self.types)
        return Delimited(self.sink, DELIMITERS[self.format], columns)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the file its name; remove it after an error."""
        complete = False
        try:
            if self.writer is not None and kind is None:
                self.writer.close()
            complete = kind is None
        finally:
            if self.made is not None and self.path is not None:
                self.sink.close()
                if self.writer is not None and not complete:
                    self.writer.abort()
                if complete:
                    self.made.replace(self.path)
                else:
                    self.made.unlink(missing_ok=True)


def flat(answer: Row) -> dict[str, Any]:
    """Join nested names of an answer by a dot: `probabilities.spam`."""
    row: dict[str, Any] = {}
    for name, value in answer.items():
        if isinstance(value, Mapping):
            row |= {f"{name}.{inner}": one for inner, one in value.items()}
        else:
            row[name] = value
    return row
