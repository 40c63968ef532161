"""Readers of raw input: a table, one text per line, or files as the training read them."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import Any, Literal, get_args

from seqpipe.data.base import Found, PlacedRecord, Source
from seqpipe.data.kinds import Kind
from seqpipe.data.sources.argument_checks import MissingFiles
from seqpipe.data.sources.files import FileSource
from seqpipe.data.sources.table import DELIMITERS, FORMATS, Table
from seqpipe.data.sources.table_formats import first_cells
from seqpipe.data.sources.text_lines import check_encoding, lines
from seqpipe.errors import ConfigError, DataError, did_you_mean
from seqpipe.inference.instantiate import Maker
from seqpipe.inference.standard_input import StandardInput, called_input
from seqpipe.rules import refusal

Format = Literal["csv", "tsv", "jsonl", "parquet", "lines", "source"]
Line = str | DataError
STANDARD_INPUT = Path("/dev/stdin")
_TABLE_OPTIONS = ("delimiter", "quote", "strip", "header")
_INPUT = "a file, or - for standard input"
_KEY = "data.source"


class Reader:
    """Reads the raw input of a model.

    Formats: `csv`, `tsv`, `jsonl`, `parquet`, a record a row with the column of x; `lines`, a
    text a line; `source`, files as the training's own source reads them (sound, FASTA, frames,
    columns of CoNLL, ...). None: by the file's name; else lines if x is text, else `source`.

    Args:
        data: the configuration of the data that the model was trained on.
        column: the column of x, or of y for a model without x.
        form: the kind of that field.
        maker: makes the training's source.
        format: see above.
        encoding: of text; None: that of the training's text, else UTF-8.
        labelled: the records have y as well; otherwise y is not read, and may be missing.
        y: the column of y.
        known: the classes of y.
        own: if companions of an input, such as annotations, are not beside it, those of the
            training may be read.

    Raises:
        ConfigError: there is no such format, or no such encoding.
    """

    def __init__(
        self,
        data: Mapping[str, Any],
        column: str,
        form: Kind,
        maker: Maker,
        format: Format | None = None,
        encoding: str | None = None,
        labelled: bool = False,
        y: str = "",
        known: Sequence[str] = (),
        own: bool = False,
    ) -> None:
        if format is not None and format not in get_args(Format):
            allowed = ", ".join(get_args(Format))
            hint = did_you_mean(format, get_args(Format))
            raise ConfigError(f"format={format}: no such format; allowed: {allowed}{hint}")
        self.data, self.column, self.maker = data, column, maker
        self.is_text, self.has_x = form.is_text, data.get("x") is not None
        self.format, self.asked, self.labelled = format, encoding, labelled
        self.y, self.known, self.own = y, tuple(known), own
        self.notes: list[str] = []
        self._pipe: StandardInput | None = None
        if encoding is not None:
            check_encoding(encoding, "encoding")
        self.encoding = encoding or self._node.get("encoding") or "utf-8"

    def read(self, input: str) -> Iterator[Found]:
        """Yield the records of a file, a pattern, a folder, or of standard input (`-`).

        Raises:
            ConfigError: the format cannot be determined, or does not fit the input.
            DataError: there is no such file, or no such column.
        """
        try:
            for one in self._found(input):
                yield _with_own_keys(one) if isinstance(one, DataError) else one
        except DataError as error:
            raise _with_own_keys(error) from None

    def records(self, input: str) -> Iterator[PlacedRecord]:
        """Yield the records of an input; the first one that cannot be read raises.

        Raises:
            ConfigError: as `read`.
            DataError: as `read`, or a record cannot be read.
        """
        for one in self.read(input):
            if isinstance(one, DataError):
                raise one
            yield one if isinstance(one, PlacedRecord) else PlacedRecord(one, "inputs")

    def describe(self, input: str) -> str:
        """Return a sentence for people: how an input is read.

        Raises:
            ConfigError: as `read`.
        """
        format = self.format_of(input)
        if format == "source":
            self._source_of(input)
            text = f"as the training's files were ({self._class.__name__})"
        else:
            text = (
                "as one text per line"
                if format == "lines"
                else f"as {format}, column {self.column}"
            )
        notes = "".join(f", {note}" for note in self.notes)
        return f"input={input}: read {text}{notes}; format=... changes this"

    def format_of(self, input: str) -> Format:
        """Return the format in which an input is read; see the class.

        Raises:
            ConfigError: Parquet cannot be read from standard input.
        """
        if self.format is not None:
            if input == "-" and self.format == "parquet":
                text = "cannot be read from standard input; allowed: a file"
                raise ConfigError(f"input=- format={self.format}: {text}")
            return self.format
        if input == "-":
            return self._format_of_pipe()
        file, name = Path(input), Path(input.lower().removesuffix(".gz"))
        if not file.is_file():
            return "source"
        table: Any = FORMATS.get(name.suffix)
        if table is not None:
            own = self._has_own_tables(name.name)
            own = own or (not self._has_column(file, table) and self._is_of_source(file))
            return "source" if own else table
        if not self.is_text:
            return "source"
        table = self._table_options.get("format")
        if table is not None and self._has_column(file, table):
            return table  # type: ignore[no-any-return]
        needs_y = self.labelled and self.has_x  # a line of text has no y
        return "source" if needs_y or self._is_of_source(file) else "lines"

    def _format_of_pipe(self) -> Format:
        """Determine the format of standard input by its beginning; see `format_of`."""
        pipe = self._standard_input()
        named = pipe.first_object(self.encoding)
        is_text = self.is_text and not (self.labelled and self.has_x)
        default: Format = "lines" if is_text else "jsonl"
        if not pipe.head.strip() or (named is not None and (not is_text or self.column in named)):
            return "jsonl" if named is not None else default
        with pipe.beginning(self.encoding) as file:
            if self._table_options:
                formats: tuple[Format, ...] = ("csv", "tsv")
                known = [f for f in formats if self._table_options.get("format") in (None, f)]
                return next((f for f in known if self._has_column(file, f)), default)
            if self.is_text and not self._is_of_source(file):
                return default
        is_read = named is None and issubclass(self._class, FileSource)
        return "source" if is_read else "jsonl"

    @cached_property
    def _node(self) -> Mapping[str, Any]:
        """The training's source as configured; of a named set, the source that it chooses."""
        node: Mapping[str, Any] = self.data["source"]
        chosen = node.get(self.maker.inner_key(node) or "")
        if isinstance(chosen, Mapping) and chosen.get("_partial_"):
            return {key: value for key, value in chosen.items() if key != "_partial_"}
        return node

    @cached_property
    def _class(self) -> Any:
        """The class of that source.

        Raises:
            ConfigError: it is neither seqpipe's own nor trusted.
        """
        return self.maker.find(str(self._node.get("_target_")), _KEY)

    @cached_property
    def _inner(self) -> str | None:
        """The argument of that source that holds another source, which names the files."""
        return self.maker.inner_key(self._node)

    @cached_property
    def _table_options(self) -> Mapping[str, Any]:
        """The arguments of that source if it reads tables; else none."""
        trusted = self.maker.trusts(str(self._node.get("_target_")))
        return self._node if trusted and issubclass(self._class, Table) else {}

    def _is_of_source(self, file: Path) -> bool:
        """True for a text file that only the training's source can read."""
        if not self.maker.trusts(str(self._node.get("_target_"))):
            return False
        files = _files(self._made(self._node))
        return files is not None and files.holds(file, self.labelled)

    def _has_column(self, file: Path, format: str) -> bool:
        """True if a table, with the options of the training, has the column of x."""
        options = self._table_options
        if format not in DELIMITERS:
            return True
        delimiter = options.get("delimiter") or DELIMITERS[format]
        first = first_cells(file, self.encoding, delimiter, options.get("quote", '"'))
        header = options.get("header")
        if isinstance(header, list):
            return first == [self.column] or 1 < len(first) <= len(header)
        return self.column in first or all(name in first for name in self.column.split("+"))

    def _has_own_tables(self, name: str) -> bool:
        """True if the training's source reads such tables in its own way, as series."""
        if self._inner is not None:
            return True
        suffixes = tuple(getattr(self._class, "suffixes", ()))
        return not self._table_options and bool(suffixes) and name.endswith(suffixes)

    def _found(self, input: str) -> Iterator[Found]:
        format = self.format_of(input)
        if input == "-":
            yield from self._found_in_pipe(format)
            return
        if format != "source" and not Path(input).is_file():
            raise no_such_file("input", input, _INPUT)
        yield from self._in_format(format, input)

    def _in_format(self, format: Format, input: str) -> Iterator[Found]:
        if format == "lines":
            file = Path(input)
            yield from self._of_lines(lines(file, self.encoding), file)
        elif format == "source":
            yield from self._checked(self._source_of(input).whole("train"))
        else:
            yield from self._checked(self._table(format, input).parse(Path(input)))

    def _found_in_pipe(self, format: Format) -> Iterator[Found]:
        """Yield the records of standard input: lines of text as they come, others at its end.

        Raises:
            DataError: as `read`, of a file that is called `input`.
        """
        pipe, self._pipe = self._standard_input(), None
        if format == "lines" and not pipe.is_packed:
            yield from self._of_lines(pipe.lines(self.encoding), Path("input"))
            return
        with pipe.copied() as copied:
            for one in self._in_format(format, str(copied)):
                yield called_input(one, copied)

    def _standard_input(self) -> StandardInput:
        self._pipe = self._pipe or StandardInput(STANDARD_INPUT)
        return self._pipe

    def _of_lines(self, found: Iterable[tuple[int, Line]], file: Path) -> Iterator[Found]:
        for number, line in found:
            if isinstance(line, DataError):
                yield line
            else:
                yield PlacedRecord({self.column: line}, file, number)

    def _table(self, format: str, input: str) -> Table:
        known = _TABLE_OPTIONS if format in DELIMITERS else ("strip",)
        options = {name: self._table_options[name] for name in known if name in self._table_options}
        made: dict[str, Any] = {"format": format, **options}
        if self.labelled and "+" in f"{self.column}{self.y}":
            made["columns"] = [column for column in (self.column, self.y) if column]
        table = Table(train=input, **made)
        self._check_encoding_use(table)
        table.encoding = self.encoding
        self._ask(table)
        return table

    def _checked(self, found: Iterable[Found]) -> Iterator[Found]:
        """Yield the records.

        Raises:
            DataError: the first readable record lacks the column of x.
        """
        checked = False
        for one in found:
            if not (checked or isinstance(one, DataError)):
                checked = True
                if self.column not in one:
                    hint = did_you_mean(self.column, one)
                    text = f"has no column {self.column!r}, which the model reads"
                    file = getattr(one, "file", None) or "input"
                    raise DataError(f"{file}: {text}; it has {', '.join(one)}{hint}")
            yield one

    def _source_of(self, input: str) -> Source:
        node = self._node
        inner: Any = node if self._inner is None else node[self._inner]
        made: Any = self.maker.find(str(inner.get("_target_")), _KEY)
        if not issubclass(made, FileSource):
            if input != "-" and not Path(input).exists():
                raise no_such_file("input", input, _INPUT)
            text = f"{made.__name__}, which the model was trained on, reads no files"
            raise ConfigError(f"input={input}: {text}; allowed: a table or JSON lines")
        read = _for_input(inner, input)
        if self.asked is not None and "encoding" in signature(made).parameters:
            read["encoding"] = self.asked
        beside: dict[str, Any] = {}
        if self.labelled:  # other files that hold y
            path = inner.get("path") or self.data["source"].get("path")
            before = Path(path or ".") if self.own else None
            beside = dict(made.companions_of(inner, input, before))
        read |= beside
        source = self._made(read if self._inner is None else {**node, self._inner: read})
        if (files := _files(source)) is not None:
            self._check_encoding_use(files)
        for key, names in beside.items():
            if names:
                shown = names if isinstance(names, str) else ", ".join(names)
                self.notes.append(f"{key} from {shown}")
        return source

    def _check_encoding_use(self, files: FileSource) -> None:
        """Refuse a given encoding if no file is text."""
        unread = {} if self.asked is None else files.unread_options()
        if "encoding" in unread:
            raise ConfigError(refusal("encoding", self.asked, unread["encoding"], "leave it out"))

    def _made(self, node: Mapping[str, Any]) -> Source:
        """Make the training's source with other arguments; it reads no y unless `labelled`."""
        source: Source = self.maker.make(node, _KEY)
        self.notes = []
        if (files := _files(source)) is not None:
            self.notes = self._ask(files)
        return source

    def _ask(self, files: FileSource) -> list[str]:
        """Let a source read all files alike, with the needed columns only."""
        files.as_one()
        if self.labelled:
            return []
        files.only(self.column)
        note = files.without_y(self.y, self.known) if self.y else ""
        return [note] if note else []


def _files(source: Source) -> FileSource | None:
    found = source.wrapped or source
    return found if isinstance(found, FileSource) else None


def _for_input(node: Mapping[str, Any], input: str) -> dict[str, Any]:
    """Change a source of files so that it reads one input and splits nothing."""
    made = {k: v for k, v in node.items() if k not in ("path", "group", "stratify")}
    return {**made, "train": input, "valid": 0.1, "test": 0.1}


def no_such_file(key: str, typed: str, allowed: str) -> MissingFiles:
    """Return the error of an option that names a file that is not there, or a folder."""
    file = Path(typed)
    beside = [one.name for one in file.parent.iterdir()] if file.parent.is_dir() else []
    wrong = "is a folder" if file.is_dir() else f"no such file{did_you_mean(file.name, beside)}"
    return MissingFiles(f"{key}={typed}: {wrong}; allowed: {allowed}")


def _with_own_keys(error: DataError) -> DataError:
    """Name the options of the command in an error, not the keys of the training."""
    problems = []
    for text in error.problems:
        for key, option in (("encoding", "encoding"), ("train", "input"), ("format", "format")):
            text = text.replace(f"data.source.{key}=", f"{option}=")
        problems.append(re.sub(r"\bdata\.source\.(\w+=)", r"the training's \1", text))
    return type(error)(problems)
