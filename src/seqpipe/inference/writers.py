"""Answers as csv, JSON lines, Parquet or MIDI, in files that appear when they are whole."""

import csv
import json
import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from seqpipe.data.optional_deps import need
from seqpipe.data.sources.table import FORMATS
from seqpipe.errors import ConfigError, DataError

Row = Mapping[str, Any]


class Writer(Protocol):
    """Takes rows as they come; `close` when all are there."""

    def write(self, rows: Sequence[Row]) -> None:
        """Adds rows."""

    def close(self) -> None:
        """Writes what is left."""


class JsonLines:
    """An object a line, names within names as they are; what is no number is null, as in JSON."""

    def __init__(self, sink: IO[str]) -> None:
        self.sink = sink

    def write(self, rows: Sequence[Row]) -> None:
        """Adds rows."""
        self.sink.writelines(f"{_json(row)}\n" for row in rows)

    def close(self) -> None:
        """Leaves the sink open for the code that opened it."""
        self.sink.flush()


def _json(row: Row) -> str:
    """Nearly every row can be written as it is; the others as `_sound` makes them."""
    try:
        text = _AS_IT_IS(row)
        text.encode()
        return text
    except (TypeError, ValueError):
        return json.dumps(_sound(row), ensure_ascii=False)


def _sound(value: Any) -> Any:
    """Without NaN and infinity, which JSON does not know, and as UTF-8 can hold it."""
    if isinstance(value, str):
        return _encodable(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _sound(one) for name, one in value.items()}
    return [_sound(one) for one in value] if isinstance(value, list) else value


def _encodable(text: str) -> str:
    """Half of a surrogate pair, which UTF-8 cannot hold, is written as its escape."""
    return text.encode("utf-8", "backslashreplace").decode()


class _Columns:
    """The columns of a table: those of its first rows, for a later one would move the cells.

    A column that only later rows have is left out, with one warning, if there are not too many.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names, self.known, self.late = list(names), set(names), 0

    def cells(self, row: Row) -> list[Any]:
        """The cell of each column of a row."""
        flattened = flat(row)
        for name in flattened.keys() - self.known:
            if self.late == MOST_TOLD:
                break
            self.late += 1
            self.known.add(name)
            text = "column %r is left out: the first rows had none; as .jsonl it would be kept"
            more = "; further such columns are not reported" if self.late == MOST_TOLD else ""
            log.warning(text + more, name)
        return [flattened.get(name) for name in self.names]


class Delimited:
    """Cells; a list of words is joined by spaces, another list or object is written as JSON."""

    def __init__(self, sink: IO[str], delimiter: str, columns: Sequence[str]) -> None:
        self.writer = csv.writer(sink, delimiter=delimiter, lineterminator="\n")
        self.columns, self.sink = _Columns(columns), sink
        self.writer.writerow(self.columns.names)

    def write(self, rows: Sequence[Row]) -> None:
        """Adds rows."""
        for row in rows:
            self.writer.writerow([_cell(value) for value in self.columns.cells(row)])

    def close(self) -> None:
        """Leaves the sink open for the code that opened it."""
        self.sink.flush()


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return _encodable(" ".join(value))
    if isinstance(value, (list, Mapping)):
        return json.dumps(_sound(value), ensure_ascii=False)
    return _encodable(value) if isinstance(value, str) else value


class ParquetRows:
    """Typed columns: those that are known before, and others as their first rows are.

    Text takes whatever else comes later; numbers do not.
    """

    def __init__(
        self, path: Path, columns: Sequence[str], types: Mapping[str, pa.DataType]
    ) -> None:
        self.path, self.columns, self.types = path, _Columns(columns), types
        self.writer: parquet.ParquetWriter | None = None
        self.waiting: list[list[Any]] = []

    def write(self, rows: Sequence[Row]) -> None:
        """Adds rows."""
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
            text = f"its column {field.name!r} holds {field.type} first, and something else later"
            raise DataError(f"{self.path}: {text}; allowed: output as .jsonl or .csv") from None

    def close(self) -> None:
        """Writes what is left."""
        if self.waiting or self.writer is None:
            self._flush()
        self.leave()

    def leave(self) -> None:
        """Closes the file as it is."""
        if self.writer is not None:
            self.writer.close()


def _type(values: list[Any]) -> pa.DataType:
    """The type that Arrow infers for all of them; text where it cannot, or they differ."""
    try:
        found = pa.array([value for value in values if value is not None]).type
    except (pa.ArrowException, OverflowError):
        return pa.string()
    return pa.string() if found == pa.null() else found


def _text(value: Any) -> str:
    if isinstance(value, str):
        return _encodable(value)
    return json.dumps(_sound(value), ensure_ascii=False)


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
            f"output={output}: its name does not determine the format; allowed: a name that ends"
            f" in {allowed}, or output_format=..."
        )
    if found == "parquet" and output == "-":
        raise ConfigError(
            "output=- output_format=parquet: cannot be written to a pipe; allowed: a file"
        )
    return found


class Output:
    """A file that takes its name only when all is written, or standard output.

    Args:
        output: the file, or `-`.
        kind: `csv`, `tsv`, `jsonl` or `parquet`.
        stdout: what `-` stands for.
        types: of columns that are there whether or not the first rows hold them; they come last,
            but for those that are named in `after`.
        after: columns behind them.
    """

    def __init__(
        self,
        output: str,
        kind: str,
        stdout: IO[str],
        types: Mapping[str, pa.DataType] | None = None,
        after: Sequence[str] = (),
    ) -> None:
        self.output, self.kind, self.stdout = output, kind, stdout
        self.types, self.after = dict(types or {}), tuple(after)
        self.path = None if output == "-" else Path(output)
        self.made: Path | None = None
        if self.path is not None:
            self.made = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        self.sink: IO[str] = stdout
        self.writer: Writer | None = None

    def __enter__(self) -> "Output":
        """Opens the file that is written meanwhile.

        Raises:
            ConfigError: it cannot be written.
        """
        if self.path is not None and self.path.is_dir():
            raise ConfigError(f"output={self.output}: is a folder; allowed: a file, or -")
        if self.made is not None:
            try:
                self.made.parent.mkdir(parents=True, exist_ok=True)
                self.sink = self.made.open("w", encoding="utf-8", newline="")
            except OSError as error:
                text = f"cannot be written ({error.strerror}); allowed: a file, or -"
                raise ConfigError(f"output={self.output}: {text}") from None
        return self

    def write(self, rows: Sequence[Row]) -> None:
        """Adds rows; the first ones say which columns there are, besides those of `types`."""
        if self.writer is None:
            found = dict.fromkeys(name for row in rows for name in flat(row))
            placed = {*self.types, *self.after}
            first = [name for name in found if name not in placed]
            self.writer = self._made([*first, *self.types, *self.after])
        self.writer.write(rows)

    def _made(self, columns: Sequence[str]) -> Writer:
        if self.kind == "jsonl":
            return JsonLines(self.sink)
        if self.kind == "parquet":
            assert self.made is not None
            return ParquetRows(self.made, columns, self.types)
        return Delimited(self.sink, "," if self.kind == "csv" else "\t", columns)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Gives the file its name, or removes it where something went wrong."""
        whole = False
        try:
            if self.writer is not None and kind is None:
                self.writer.close()
            whole = kind is None
        finally:
            if self.made is not None and self.path is not None:
                self.sink.close()
                if isinstance(self.writer, ParquetRows) and not whole:
                    self.writer.leave()
                if whole:
                    self.made.replace(self.path)
                else:
                    self.made.unlink(missing_ok=True)


ROWS = 4_096  # of a group of Parquet
MOST_TOLD = 10  # columns that are left out

_AS_IT_IS = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode

log = logging.getLogger(__name__)


def flat(answer: Row) -> dict[str, Any]:
    """An answer whose names within names are joined by a dot: `probabilities.spam`."""
    row: dict[str, Any] = {}
    for name, value in answer.items():
        if isinstance(value, Mapping):
            row |= {f"{name}.{inner}": one for inner, one in value.items()}
        else:
            row[name] = value
    return row


TICKS = 480  # a step
VELOCITY = 80


def write_midi(path: Path, roll: Any, *, lowest: int, steps_per_minute: float) -> Path:
    """Writes a roll as a MIDI file of one piano; a note that lasts is held, not struck again.

    Args:
        path: of the file.
        roll: (T, K) of 0 and 1.
        lowest: MIDI number of the first of the K notes.
        steps_per_minute: how fast; a step is a quarter note.

    Raises:
        ConfigError: symusic is not installed.
    """
    symusic = need("symusic", extra="midi", what="sample (music)")
    score = symusic.Score(TICKS)
    score.tempos.append(symusic.Tempo(time=0, qpm=steps_per_minute))
    track = symusic.Track(name="seqpipe", program=0, is_drum=False)
    for start, end, key in held(np.asarray(roll)):
        note = symusic.Note(
            time=start * TICKS,
            duration=(end - start) * TICKS,
            pitch=lowest + key,
            velocity=VELOCITY,
        )
        track.notes.append(note)
    score.tracks.append(track)
    score.dump_midi(str(path))
    return path


def held(roll: "np.ndarray[Any, Any]") -> list[tuple[int, int, int]]:
    """(first step, step after the last, column) of each note that sounds, in order of time."""
    silence = np.zeros((1, roll.shape[1]), dtype=np.int8)
    changes = np.diff(np.concatenate([silence, roll.astype(np.int8), silence]), axis=0)
    notes = []
    for key in range(roll.shape[1]):
        starts = np.flatnonzero(changes[:, key] == 1)
        ends = np.flatnonzero(changes[:, key] == -1)
        notes += [(int(s), int(e), key) for s, e in zip(starts, ends, strict=True)]
    return sorted(notes)
