"""Encoded examples as Arrow columns, one for each field, in memory or mapped from a file.

A column is read chunk by chunk and never loaded as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

Array = np.ndarray[Any, np.dtype[Any]]
Integers = np.ndarray[Any, np.dtype[np.int64]]
CHUNK = 2**22  # bytes of encoded values in one record batch
_SHORT = 64  # numbers of a padded example, up to which examples are gathered, not copied one by one


@dataclass(frozen=True)
class Chunk:
    """Consecutive examples.

    Args:
        values: (sum of lengths, ...) if examples have time, else (examples, ...).
        bounds: (examples + 1,) the start of each example and the end of the last; None without
            time.
    """

    values: Array
    bounds: Array | None

    def __len__(self) -> int:
        """Examples."""
        return len(self.values) if self.bounds is None else len(self.bounds) - 1


class Column:
    """One field of all examples of a split.

    Args:
        chunks: in their order.
        window: cut longer sequences into consecutive pieces of at most this many steps.
    """

    def __init__(self, chunks: Sequence[Chunk], window: int | None = None) -> None:
        self.chunks = tuple(chunks)
        self.window = window
        self.has_time = any(chunk.bounds is not None for chunk in chunks)
        self._firsts = np.cumsum([0, *map(len, self.chunks)], dtype=np.int64)
        self.rows = int(self._firsts[-1])
        steps = [0 if c.bounds is None else len(c.values) for c in self.chunks]
        self._steps = np.cumsum([0, *steps], dtype=np.int64)
        self._pieces: Integers | None = None  # (rows + 1,) the first piece of each row
        if window is not None:
            assert self.has_time, "only a sequence can be cut"
            counts = -(-self._row_lengths(np.arange(self.rows)) // window)
            self._pieces = np.concatenate([[0], np.cumsum(counts)])

    @classmethod
    def of(cls, rows: Sequence[Tensor] | Sequence[Array], has_time: bool) -> Column:
        """Make a column of encoded examples, at least one, as one chunk."""
        arrays = [np.asarray(row) for row in rows]
        if not has_time:
            return cls([Chunk(np.stack(arrays), None)])
        bounds = np.cumsum([0, *map(len, arrays)], dtype=np.int64)
        return cls([Chunk(np.concatenate(arrays), bounds)])

    @classmethod
    def of_large(cls, rows: Sequence[Array]) -> Column:
        """Make a column of encoded sequences without a copy of them, each as a chunk."""
        return cls([Chunk(row, np.array([0, len(row)])) for row in rows])

    def cut(self, window: int) -> Column:
        """Cut into consecutive pieces of at most `window` steps; every step is in exactly one."""
        return Column(self.chunks, window)

    def __len__(self) -> int:
        """Examples, pieces of a window each counted."""
        return self.rows if self._pieces is None else int(self._pieces[-1])

    @property
    def steps(self) -> int:
        """Steps of all examples together; 0 without time."""
        return int(self._steps[-1])

    @property
    def longest(self) -> int:
        """Steps of the longest example; 0 without time. Reads one chunk after the other."""
        bounds = [c.bounds for c in self.chunks if c.bounds is not None and len(c.bounds) > 1]
        longest = max((int(np.diff(one).max()) for one in bounds), default=0)
        return longest if self.window is None else min(longest, self.window)

    @property
    def lengths(self) -> Integers:
        """Steps of each example, (examples,); 0 without a time axis."""
        return self.lengths_of(np.arange(len(self)))

    def lengths_of(self, indices: Array) -> Integers:
        """Steps of some examples. indices: (N,). Returns (N,)."""
        if not self.has_time:
            return np.zeros(len(indices), dtype=np.int64)
        rows, starts = self.origins(indices)
        left = self._row_lengths(rows) - starts
        return left if self.window is None else np.minimum(left, self.window)

    def origins(self, indices: Array) -> tuple[Integers, Integers]:
        """Return the rows that examples were cut from, and their first steps in them, (N,) each."""
        if self._pieces is None or self.window is None:
            return np.asarray(indices), np.zeros(len(indices), dtype=np.int64)
        rows = np.searchsorted(self._pieces, indices, side="right") - 1
        return rows, (indices - self._pieces[rows]) * self.window

    def origin(self, index: int) -> tuple[int, int]:
        """Return the row that an example was cut from, and its first step in that row."""
        if self._pieces is None or self.window is None:
            return index, 0
        row = int(np.searchsorted(self._pieces, index, side="right")) - 1
        return row, (index - int(self._pieces[row])) * self.window

    def array(self, index: int) -> Array:
        """Return one example without a copy, (T, ...) or (...); not to be written to."""
        row, start = self.origin(index)
        chunk, place = self._find(row)
        if chunk.bounds is None:
            value: Array = chunk.values[place]
            return value
        first, end = int(chunk.bounds[place]) + start, int(chunk.bounds[place + 1])
        return chunk.values[first : end if self.window is None else min(end, first + self.window)]

    def padded(self, indices: Array) -> tuple[Array, Integers | None]:
        """Return some examples, padded with 0 to the longest, and their lengths.

        Args:
            indices: (N,), N at least 1.

        Returns:
            (N, T, ...) and (N,); or (N, ...) and None without time.
        """
        rows, starts = self.origins(indices)
        first = self.chunks[0].values
        if not self.has_time:
            values = np.empty((len(rows), *first.shape[1:]), first.dtype)
            for chunk, here, places in self._by_chunk(rows):
                values[here] = chunk.values[places]
            return values, None
        lengths = self.lengths_of(indices)
        padded = np.zeros((len(rows), int(lengths.max()), *first.shape[1:]), first.dtype)
        for chunk, here, places in self._by_chunk(rows):
            assert chunk.bounds is not None
            firsts = chunk.bounds[places].astype(np.int64) + starts[here]
            if padded[0].size <= _SHORT:
                padded[here] = _gathered(chunk.values, firsts, lengths[here], padded.shape[1])
                continue
            spans = zip(here.tolist(), firsts.tolist(), lengths[here].tolist(), strict=True)
            for row, start, length in spans:
                padded[row, :length] = chunk.values[start : start + length]
        return padded, lengths

    def __getitem__(self, index: int) -> Tensor:
        """Return a copy of one example."""
        return torch.from_numpy(np.array(self.array(index)))

    def span(self, start: int, end: int) -> Array:
        """Return steps start..end of all sequences concatenated; not to be written to."""
        first = int(np.searchsorted(self._steps, start, side="right")) - 1
        parts = []
        while start < end:
            base, until = int(self._steps[first]), int(self._steps[first + 1])
            parts.append(self.chunks[first].values[start - base : min(end, until) - base])
            start, first = min(end, until), first + 1
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def starts(self) -> Integers:
        """Return the step of `span` at which each row starts, and the last ends, (rows + 1,)."""
        assert self.has_time
        parts = [
            base + np.asarray(chunk.bounds[:-1], dtype=np.int64)
            for chunk, base in zip(self.chunks, self._steps[:-1], strict=True)
            if chunk.bounds is not None
        ]
        return np.concatenate([*parts, self._steps[-1:]])

    def counts(self, size: int) -> Integers | None:
        """Count each id, (size,); None for floats. Reads everything."""
        if not self.chunks or self.chunks[0].values.dtype.kind == "f":
            return None
        total = np.zeros(size, dtype=np.int64)
        for chunk in self.chunks:
            total += np.bincount(chunk.values.reshape(-1), minlength=size)
        return total

    def _find(self, row: int) -> tuple[Chunk, int]:
        which = 0
        if len(self.chunks) > 1:
            which = int(np.searchsorted(self._firsts, row, side="right")) - 1
        return self.chunks[which], row - int(self._firsts[which])

    def _row_lengths(self, rows: Array) -> Integers:
        lengths = np.empty(len(rows), dtype=np.int64)
        for chunk, here, places in self._by_chunk(rows):
            assert chunk.bounds is not None
            lengths[here] = chunk.bounds[places + 1].astype(np.int64) - chunk.bounds[places]
        return lengths

    def _by_chunk(self, rows: Array) -> Iterator[tuple[Chunk, Array, Array]]:
        """Yield each chunk that holds some rows, their places in `rows` and in the chunk."""
        if len(self.chunks) == 1:
            yield self.chunks[0], np.arange(len(rows)), rows
            return
        which = np.searchsorted(self._firsts, rows, side="right") - 1
        order = np.argsort(which, kind="stable")
        numbers, firsts = np.unique(which[order], return_index=True)
        for number, here in zip(numbers.tolist(), np.split(order, firsts)[1:], strict=True):
            yield self.chunks[number], here, rows[here] - self._firsts[number]


def _gathered(values: Array, starts: Integers, lengths: Integers, longest: int) -> Array:
    """Short examples, (N, longest, ...), padded with 0. values: of all steps, (steps, ...)."""
    steps = np.arange(longest)
    last = len(values) - 1
    padded: Array = values[np.minimum(starts[:, None] + steps, last)]
    padded[steps >= lengths[:, None]] = 0
    return padded


class ColumnsWriter:
    """Writes examples as an Arrow file, a few megabytes at a time.

    Every field is a list column of numbers; the schema's metadata hold the shape of a step, so
    that any Arrow reader can read the file.

    Args:
        sink: a file to write, or None to keep everything in memory.
    """

    def __init__(self, sink: Path | None) -> None:
        self._path = sink
        self._sink = pa.BufferOutputStream() if sink is None else pa.OSFile(str(sink), "wb")
        self._writer: Any = None
        self._rows: dict[str, list[Array]] = {}
        self._has_time: dict[str, bool] = {}
        self._bytes = 0

    def add(self, has_time: dict[str, bool], **values: Array) -> None:
        """Add an example; values: of each field, (T, ...) or (...)."""
        self._has_time = has_time
        for name, array in values.items():
            self._rows.setdefault(name, []).append(array)
            self._bytes += array.nbytes + 8
        if self._bytes >= CHUNK:
            self._flush()

    def _flush(self) -> None:
        arrays, fields = [], []
        for name, rows in self._rows.items():
            timed = self._has_time[name]
            shape = rows[0].shape[1:] if timed else rows[0].shape
            width = int(np.prod(shape, dtype=np.int64))
            joined = np.concatenate([row.reshape(-1) for row in rows])
            if joined.dtype == bool:  # Arrow packs bits, which cannot be mapped
                joined = joined.astype(np.uint8)
            sizes = [len(row) * width if timed else width for row in rows]
            offsets = np.cumsum([0, *sizes], dtype=np.int64)
            arrays.append(pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(joined)))
            metadata = {"shape": ",".join(map(str, shape)), "time": str(int(timed))}
            fields.append(pa.field(name, arrays[-1].type, metadata=metadata))
        schema = pa.schema(fields)
        if self._writer is None:
            self._writer = pa.ipc.new_file(self._sink, schema)
        self._writer.write_batch(pa.record_batch(arrays, schema=schema))
        self._rows, self._bytes = {}, 0

    def close(self) -> dict[str, Column]:
        """Write the rest and return the columns, by field; none if nothing was added."""
        if self._bytes:
            self._flush()
        if self._writer is None:
            self._sink.close()
            return {}
        self._writer.close()
        if self._path is None:
            return _columns(pa.ipc.open_file(self._sink.getvalue()))
        self._sink.close()
        return open_columns(self._path)


def open_columns(path: Path) -> dict[str, Column]:
    """Map the columns of an Arrow file into memory. Returns them by field.

    Raises:
        ValueError: it is no such file, or has rows outside of it.
    """
    try:
        return _columns(pa.ipc.open_file(pa.memory_map(str(path))), path.stat().st_size)
    except (pa.ArrowException, LookupError, TypeError, AttributeError, MemoryError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{path.name}: no columns of seqpipe's, {reason}") from None


def _columns(reader: Any, size: int | None = None) -> dict[str, Column]:
    """size: bytes of the file, if it may be another person's."""
    chunks: dict[str, list[Chunk]] = {name: [] for name in reader.schema.names}
    for number in range(reader.num_record_batches):
        batch = reader.get_batch(number)
        if size is not None:
            if batch.nbytes > size:  # compressed: our own files can be mapped
                raise ValueError(f"{batch.nbytes:,} bytes in a file of {size:,}")
            batch.validate(full=True)  # or offsets would point anywhere in memory
        for field, lists in zip(reader.schema, batch.columns, strict=True):
            shape = [int(n) for n in field.metadata[b"shape"].decode().split(",") if n]
            width = int(np.prod(shape, dtype=np.int64))
            values = lists.values.to_numpy(zero_copy_only=True).reshape(-1, *shape)
            bounds = None
            if field.metadata[b"time"] == b"1":
                bounds = lists.offsets.to_numpy(zero_copy_only=True)
                bounds = bounds if width == 1 else bounds // width
            chunks[field.name].append(Chunk(values, bounds))
    return {name: Column(parts) for name, parts in chunks.items()}
