"""The rows of csv, tsv, JSON lines and Parquet files, one by one, with their places."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from seqpipe.data.base import place
from seqpipe.data.sources.text_lines import lines, text_lines
from seqpipe.errors import DataError, did_you_mean

Row = tuple[int, dict[str, Any] | DataError]
"""Its line, from 1, and its cells by column, or why it has none."""

CARRIAGE_RETURN = "a carriage return within a row; allowed: \\n or \\r\\n at the end of each line"
LONGEST_CELL = 2**24
"""Characters; what is longer is a quote that was never closed."""
_EMPTY = "is empty; allowed: a header, and rows below it"
_ROWS = 1024  # of a Parquet file in memory at once


def delimited_rows(
    file: Path, encoding: str, *, delimiter: str, quote: str | None, names: Sequence[str] | None
) -> Iterator[Row]:
    """Rows of a csv or tsv file; blank lines are left out.

    A quoted cell may hold delimiters, line ends and doubled quotes (RFC 4180); a quote that does
    not start a cell is text.

    Args:
        file: as it is to be shown in messages.
        encoding: of the text.
        delimiter: one character between cells.
        quote: one character around cells; None: none, quotes are text.
        names: of the columns of a file without a header; None: its first row is the header.

    Raises:
        DataError: it is empty, or two columns have one name.
    """
    given = names is not None
    # The limit of the csv module is one for the whole process, and meant against such quotes.
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_CELL))
    for line, cells in _cells(file, encoding, delimiter, quote):
        if names is None:
            if isinstance(cells, DataError):
                raise cells
            names = _header(file, line, cells)
        elif isinstance(cells, DataError):
            yield line, cells
        elif len(cells) != len(names):
            named = "data.source.header names" if given else ""
            yield line, _wrong_count(file, line, len(cells), len(names), named)
        else:
            yield line, dict(zip(names, cells, strict=True))
    if names is None:
        raise DataError(f"{file}: {_EMPTY}")


def first_cells(file: Path, encoding: str, delimiter: str, quote: str | None) -> list[str]:
    """The cells of the first row; nothing where it cannot be read."""
    _, cells = next(_cells(file, encoding, delimiter, quote), (0, []))
    return [] if isinstance(cells, DataError) else cells


def _cells(
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


def _header(file: Path, line: int, names: list[str]) -> list[str]:
    names = [name.strip() for name in names]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        text = f"two columns are called {twice[0]!r}; allowed: a name of its own for each"
        raise DataError(f"{place(file, line)}: {text}")
    return names


def cells(line: str, delimiter: str | None = ",") -> list[str]:
    """The cells of a line; quotes are those of csv. delimiter: None for any white space.

    Raises:
        ValueError: a quote that does not end, or a carriage return outside quotes.
    """
    line = line.rstrip("\r")
    if delimiter is None:
        return line.split()
    if '"' not in line:
        if "\r" in line:
            raise ValueError(CARRIAGE_RETURN)
        return line.split(delimiter)
    try:
        return next(csv.reader([line], delimiter=delimiter, skipinitialspace=True, strict=True))
    except csv.Error as error:
        if "new-line" in str(error):
            raise ValueError(CARRIAGE_RETURN) from None
        raise ValueError(f"not csv ({error}); allowed: a row on a line, quotes in pairs") from None


def line_rows(
    file: Path,
    encoding: str,
    delimiter: str | None,
    wanted: Mapping[str, str] | None = None,
    check: Callable[[str, list[str]], None] | None = None,
) -> Iterator[tuple[int, dict[str, str] | DataError]]:
    """Rows of a table with a header and one row a line, without blank lines.

    Args:
        file: as it is to be shown in messages.
        encoding: of the text.
        delimiter: between cells; None: any white space.
        wanted: the columns to read -> the key of the configuration that names each, or ""; None:
            all columns.
        check: refuses the place of a header and its columns; None: all may do.

    Raises:
        DataError: the header lacks a column, or the file is empty.
    """
    places: dict[str, int] | None = None
    width = 0
    for line, text in lines(file, encoding):
        found: list[str] | DataError = []
        if isinstance(text, DataError):
            found = text
        elif text.strip():
            try:
                found = cells(text, delimiter)
            except ValueError as problem:
                found = DataError(f"{place(file, line)}: {problem}")
        if isinstance(found, DataError):
            if places is None:  # the first line that is not blank is the header
                raise found
            yield line, found
        elif found and places is None:
            names, width = [cell.strip() for cell in found], len(found)
            check_columns(place(file, line), names if wanted is None else wanted, names)
            if check is not None:
                check(place(file, line), names)
            places = {name: names.index(name) for name in (names if wanted is None else wanted)}
        elif found and places is not None and len(found) != width:
            yield line, _wrong_count(file, line, len(found), width)
        elif found and places is not None:
            yield line, {name: found[at].strip() for name, at in places.items()}
    if places is None:
        raise DataError(f"{file}: {_EMPTY}")


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
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    problems = []
    for name in wanted:
        if name not in names:
            key = f" ({keys[name]})" if keys.get(name) else ""
            text = f"has no column {name!r}{key}; it has {shown}"
            problems.append(f"{where}: {text}{did_you_mean(name, names)}")
    if problems:
        raise DataError(problems)


def _wrong_count(file: Path, line: int, count: int, width: int, named: str = "") -> DataError:
    have, allowed = (f"{n} cell{'' if n == 1 else 's'}" for n in (count, width))
    text = f"{have}, {named or 'the header has'} {width}; allowed: {allowed}"
    return DataError(f"{place(file, line)}: {text}")


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
        raise DataError(f"{file}: is empty; allowed: a JSON object a line")


def _json_object(file: Path, line: int, text: str) -> dict[str, Any] | DataError:
    allowed = 'allowed: an object a line, as {"text": "..."}'
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
        except (pyarrow.ArrowException, OSError) as error:
            reason = str(error).partition("\n")[0]
            raise DataError(f"{place(file, row + 1)}: cannot be read ({reason})") from None


def _opened(file: Path) -> Any:
    import pyarrow
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(file)
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{file}: not a Parquet file ({reason})") from None


def _plain(cell: Any) -> Any:
    """Dates, times and decimals as text: a record holds none."""
    if cell is None or isinstance(cell, (str, bool, int, float, bytes, list, Mapping)):
        return cell
    return str(cell)
