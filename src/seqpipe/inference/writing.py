"""Where answers are written to: a file that is there when it is whole, or standard output."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

import pyarrow as pa

from seqpipe.data.sources.table import FORMATS
from seqpipe.errors import ConfigError
from seqpipe.inference.writers import Delimited, JsonLines, ParquetRows, Row, Writer, flat


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
