"""The rows of csv, tsv, JSON lines and Parquet files, one by one, with their places."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from seqpipe.data.placed import place
from seqpipe.data.sources.text_lines import lines, text_lines
from seqpipe.errors import DataError, counted, did_you_mean, first_of

Row = tuple[int, dict[str, Any] | DataError]
"""Its line, from 1, and its cells by column, or why it has none."""

CARRIAGE_RETURN = "a carriage return within a row; allowed: \\n or \\r\\n at the end of each line"
LONGEST_CELL = 2**24
"""Characters; what is longer is a quote that was never closed."""
_ROWS = 1024  # of a Parquet file in memory at once


def cell_rows(
    file: Path,
    encoding: str,
    delimiter: str | None,
    *,
    quote: str | None = '"',
    multiline: bool = False,
) -> Iterator[tuple[int, list[str] | DataError]]:
    """The cells of each row of a delimited text, with its first line; blank lines are left out.

    A cell in quotes may hold delimiters and doubled quotes (RFC 4180).

    Args:
        file: as it is to be shown in messages.
        encoding: of the text.
        delimiter: one character between cells; None: any white space, in rows of one line.
        quote: one character around cells; None: none, quotes are text.
        multiline: a cell in quotes may hold line ends, and white space belongs to cells. False:
            each line is a row, a quote that is never closed spoils no other, and white space
            around cells is left out.
    """
    # The limit of the csv module is one for the whole process, and meant against such quotes.
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_CELL))
    if multiline:
        assert delimiter is not None, "cells with line ends need a delimiter that is none"
        yield from _rows_over_lines(file, encoding, delimiter, quote)
        return
    for line, text in lines(file, encoding):
        if isinstance(text, DataError):
            yield line, text
        elif text.strip():
            try:
                yield line, split_cells(text, delimiter, quote)
            except ValueError as problem:
                yield line, DataError(f"{place(file, line)}: {problem}")


def split_cells(line: str, delimiter: str | None = ",", quote: str | None = '"') -> list[str]:
    """The cells of one line, without white space around them; see `cell_rows`.

    Raises:
        ValueError: a quote that does not end, or a carriage return outside quotes.
    """
    line = line.rstrip("\r")
    if delimiter is None:
        return line.split()
    if quote is None or quote not in line:
        if "\r" in line:
            raise ValueError(CARRIAGE_RETURN)
        return [cell.strip() for cell in line.split(delimiter)]
    found = csv.reader(
        [line], delimiter=delimiter, quotechar=quote, skipinitialspace=True, strict=True
    )
    try:
        return [cell.strip() for cell in next(found)]
    except csv.Error as error:
        if "new-line" in str(error):
            raise ValueError(CARRIAGE_RETURN) from None
        raise ValueError(f"not csv ({error}); allowed: a row on a line, quotes in pairs") from None


def _rows_over_lines(
    file: Path, encoding: str, delimiter: str, quote: str | None
) -> Iterator[tuple[int, list[str] | DataError]]:
    problems: list[DataError] = []

    def text() -> Iterator[str]:
        for _, line, problem in text_lines(file, encoding):
            if problem is not None:
                problems.append(problem)
            yield line

    rows = csv.reader(
        text(),
        delimiter=delimiter,
        quotechar=quote,
        quoting=csv.QUOTE_NONE if quote is None else csv.QUOTE_MINIMAL,
        strict=True,
    )
    while True:
        line = rows.line_num + 1
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            problems.append(_csv_error(file, line, error, quote))
            cells = []
        if problems:
            yield line, DataError([text for problem in problems for text in problem.problems])
            problems.clear()
        elif cells:
            yield line, cells


def _csv_error(file: Path, line: int, error: csv.Error, quote: str | None) -> DataError:
    reason = str(error)
    if "new-line" in reason:
        return DataError(f"{place(file, line)}: {CARRIAGE_RETURN}")
    wrong = f"a cell opened with {quote} is never closed"
    if "expected after" in reason:
        wrong = f"a cell in {quote} has text after the closing one"
    allowed = f"{quote} doubled inside such a cell, or data.source.quote=null where quotes are text"
    return DataError(f"{place(file, line)}: {wrong}; allowed: {allowed}")


def first_cells(file: Path, encoding: str, delimiter: str, quote: str | None) -> list[str]:
    """The cells of the first row of a `Table`; nothing where it cannot be read."""
    rows = cell_rows(file, encoding, delimiter, quote=quote, multiline=True)
    _, cells = next(rows, (0, []))
    return [] if isinstance(cells, DataError) else cells


def table_rows(
    file: Path,
    encoding: str,
    delimiter: str | None,
    columns: Mapping[str, str] | None = None,
    *,
    quote: str | None = '"',
    multiline: bool = False,
    header: Sequence[str] | None = None,
    check: Callable[[str, list[str]], None] | None = None,
) -> Iterator[Row]:
    """The rows of a delimited text with a header; see `cell_rows`.

    Args:
        file: see `cell_rows`, as are `encoding`, `delimiter`, `quote` and `multiline`.
        encoding: of the text.
        delimiter: between cells.
        columns: to read -> the key of the configuration that names each, or ""; None: all.
        quote: around cells.
        multiline: cells may hold line ends.
        header: the names of the columns of a file without a header; None: its first row.
        check: refuses the place of a header and its columns; None: all may do.

    Raises:
        DataError: the header cannot be read or lacks a column, or the file is empty.
    """
    places: dict[str, int] | None = None
    width, named = 0, "the header has" if header is None else "data.source.header names"

    def places_of(names: list[str], where: str) -> dict[str, int]:
        check_columns(where, names if columns is None else columns, names)
        if check is not None:
            check(where, names)
        return {name: names.index(name) for name in (names if columns is None else columns)}

    if header is not None:
        places, width = places_of(list(header), f"{file}"), len(header)
    for line, cells in cell_rows(file, encoding, delimiter, quote=quote, multiline=multiline):
        if isinstance(cells, DataError):
            if places is None:
                raise cells
            yield line, cells
        elif places is None:
            names, width = [cell.strip() for cell in cells], len(cells)
            places = places_of(names, place(file, line))
        elif len(cells) != width:
            have, allowed = (counted(n, "cell") for n in (len(cells), width))
            text = f"{have}, {named} {width}; allowed: {allowed}"
            yield line, DataError(f"{place(file, line)}: {text}")
        else:
            yield line, {name: cells[at] for name, at in places.items()}
    if places is None:
        raise DataError(f"{file}: is empty; allowed: a header, and rows below it")


def check_columns(where: str, wanted: Iterable[str], names: Sequence[str]) -> None:
    """Refuse a table that lacks a column.

    Args:
        where: `file:line`, for the message.
        wanted: the columns that are read; a mapping to the keys that name them, or their names.
        names: the columns that are there.

    Raises:
        DataError: for each that is missing.
    """
    keys = wanted if isinstance(wanted, Mapping) else {}
    shown = first_of(names, 12)
    problems = []
    for name in wanted:
        if name not in names:
            key = f" ({keys[name]})" if keys.get(name) else ""
            text = f"has no column {name!r}{key}; it has {shown}"
            problems.append(f"{where}: {text}{did_you_mean(name, names)}")
    if problems:
        raise DataError(problems)


def json_rows(file: Path, encoding: str) -> Iterator[Row]:
    """Rows of a file with one JSON object a line; blank lines are left out.

    Raises:
        DataError: it is empty.
    """
    found = False
    for line, text, problem in text_lines(file, encoding):
        if not text.strip():
            continue
        found = True
        yield line, _json_object(file, line, text) if problem is None else problem
    if not found:
        raise DataError(f"{file}: is empty; allowed: one JSON object per line")


def _json_object(file: Path, line: int, text: str) -> dict[str, Any] | DataError:
    allowed = 'allowed: one object per line, as {"text": "..."}'
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        wrong = f"not JSON ({error.msg} at column {error.colno}); {allowed}"
        return DataError(f"{place(file, line)}: {wrong}")
    except RecursionError:
        return DataError(f"{place(file, line)}: lists within lists without an end; {allowed}")
    if not isinstance(value, dict):
        kind = {list: "a list", str: "a text", type(None): "null"}.get(type(value), "a number")
        return DataError(f"{place(file, line)}: {kind}, not an object; {allowed}")
    return value


def parquet_columns(file: Path) -> list[str]:
    """The names of the columns.

    Raises:
        DataError: it is no Parquet file.
    """
    with _opened(file) as opened:
        return list(opened.schema_arrow.names)


def parquet_rows(file: Path, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """Rows of a Parquet file, a batch in memory at a time; the line is the row, from 1.

    Args:
        file: as it is to be shown in messages.
        columns: to read; None: all.

    Raises:
        DataError: it is no Parquet file, or broken.
    """
    import pyarrow

    row = 0
    with _opened(file) as opened:
        try:
            for batch in opened.iter_batches(_ROWS, columns=columns):
                for cells in batch.to_pylist():
                    row += 1
                    yield row, {name: _plain(cell) for name, cell in cells.items()}
        except (pyarrow.ArrowException, OSError, ValueError) as error:  # also text not in UTF-8
            reason = str(error).partition("\n")[0]
            raise DataError(f"{place(file, row + 1)}: cannot be read ({reason})") from None


def _opened(file: Path) -> Any:
    import pyarrow
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(file)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{file}: not a Parquet file ({reason})") from None


def _plain(cell: Any) -> Any:
    """Dates, times and decimals as text: a record holds none."""
    if cell is None or isinstance(cell, (str, bool, int, float, bytes, list, Mapping)):
        return cell
    return str(cell)
