"""The rows of csv, tsv, JSON lines and Parquet files, one by one, with their places."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from seqpipe.data.base import place
from seqpipe.data.sources.text_lines import text_lines
from seqpipe.errors import DataError

Row = tuple[int, dict[str, Any] | DataError]
"""Its line, from 1, and its cells by column, or why it has none."""

CARRIAGE_RETURN = "a carriage return within a row; allowed: \\n or \\r\\n at the end of each line"
LONGEST_CELL = 2**24
"""Characters; what is longer is a quote that was never closed."""
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
            named = "data.source.header names" if given else "the header has"
            text = f"{_count(len(cells))}, {named} {len(names)}; allowed: {_count(len(names))}"
            yield line, DataError(f"{place(file, line)}: {text}")
        else:
            yield line, dict(zip(names, cells, strict=True))
    if names is None:
        raise DataError(f"{file}: is empty; allowed: a row of column names, and others")


def first_cells(file: Path, encoding: str, delimiter: str, quote: str | None) -> list[str]:
    """The cells of the first row; nothing where there is none that can be read."""
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
        wrong = f"a cell in {quote} goes on behind the closing one"
    allowed = f"{quote} doubled inside such a cell, or data.source.quote=null where quotes are text"
    return DataError(f"{place(file, line)}: {wrong}; allowed: {allowed}")


def _header(file: Path, line: int, names: list[str]) -> list[str]:
    names = [name.strip() for name in names]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        text = f"two columns are called {twice[0]!r}; allowed: a name of its own for each"
        raise DataError(f"{place(file, line)}: {text}")
    return names


def _count(cells: int) -> str:
    return "1 cell" if cells == 1 else f"{cells} cells"


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
