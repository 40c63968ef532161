"""Raw input as records: a table, a text example a line, or files as the training read them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any, Literal, get_args

from seqpipe.data.base import Found, PlacedRecord
from seqpipe.data.sources.companion_files import companions
from seqpipe.data.sources.files import FileSource, MissingFiles, lines
from seqpipe.data.sources.forecast import Forecast
from seqpipe.data.sources.table import DELIMITERS, FORMATS, Table
from seqpipe.data.sources.table_formats import first_cells
from seqpipe.data.sources.text_encoding import check_encoding
from seqpipe.errors import ConfigError, DataError, did_you_mean
from seqpipe.inference.instantiate import Maker
from seqpipe.inference.standard_input import StandardInput, called_input

Format = Literal["csv", "tsv", "jsonl", "parquet", "lines", "source"]
STANDARD_INPUT = Path("/dev/stdin")
_TABLE_OPTIONS = ("delimiter", "quote", "strip", "header")
_TEXT = ("symbols", "spelled")
_OF_LINES = ("Conll", "ConllU", "LabelledLines", "Dictionary")  # sources of text files
_OF_LONG_TEXTS = ("Stream", "Documents")  # sources
_OF_SEQUENCES = ("Fasta", "GenBank", "FastaGff", "MidiEvents")  # sources


class Reader:
    """Reads what a model is asked about.

    Formats: `csv`, `tsv`, `jsonl`, `parquet`, a record a row with the column of x; `lines`, a
    text a line; `source`, files as the training's own source reads them (sound, FASTA, frames,
    columns of CoNLL, ...). None: by the file's name; else lines where x is text, else `source`.

    Args:
        data: the configuration of the data the model was trained on.
        column: of x, or of what the model is asked for in its place.
        kind: of that field.
        maker: makes the training's source.
        format: see above.
        encoding: of text; None: as in the training where that read text, else UTF-8.
        labelled: the records hold y, too, as those of the training do.
        y: the column of y, which otherwise is not read and need not be there.
        own: files of the training may be read, where what they tell does not stand beside an input.
        known: the classes of y.

    Raises:
        ConfigError: there is no such format, or no such encoding.
    """

    def __init__(
        self,
        data: Mapping[str, Any],
        column: str,
        kind: str,
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
        self.data, self.column, self.kind, self.maker = data, column, kind, maker
        self.format, self.asked, self.labelled = format, encoding, labelled
        self.y, self.known, self.own = y, tuple(known), own
        self.notes: list[str] = []
        self._pipe: StandardInput | None = None
        if encoding is not None:
            check_encoding(encoding, "encoding")
        self.encoding = encoding or self._node().get("encoding") or "utf-8"

    def read(self, input: str) -> Iterator[Found]:
        """The records of a file, a pattern, a folder, or of standard input (`-`).

        Raises:
            ConfigError: the format cannot be told, or not be read so.
            DataError: nothing is there, or the column is not.
        """
        try:
            for one in self._found(input):
                yield _told(one) if isinstance(one, DataError) else one
        except DataError as error:
            raise _told(error) from None

    def _found(self, input: str) -> Iterator[Found]:
        format = self.format_of(input)
        if input == "-":
            yield from self._found_in_pipe(format)
            return
        if format == "source":
            yield from self._as_trained(input)
            return
        file = Path(input)
        if not file.is_file():
            beside = [one.name for one in file.parent.iterdir()] if file.parent.is_dir() else []
            text = f"no such file{did_you_mean(file.name, beside)}"
            raise MissingFiles(f"input={input}: {text}; allowed: a file, or - for standard input")
        yield from self._lines(file) if format == "lines" else self._rows(file, format)

    def _found_in_pipe(self, format: Format) -> Iterator[Found]:
        """The records of standard input; a text a line as it comes, else when all of it is there.

        Raises:
            DataError: as `read`, of a file that is called `input`.
        """
        pipe, self._pipe = self._standard_input(), None
        if format == "lines" and not pipe.is_packed:
            for number, line in pipe.lines(self.encoding):
                yield self._of_line(line, Path("input"), number)
            return
        with pipe.copied() as file:
            if format == "source":
                found = self._as_trained(str(file))
            else:
                found = self._lines(file) if format == "lines" else self._rows(file, format)
            for one in found:
                yield called_input(one, file)

    def _standard_input(self) -> StandardInput:
        self._pipe = self._pipe or StandardInput(STANDARD_INPUT)
        return self._pipe

    def _format_of_pipe(self) -> Format:
        """What standard input holds, by its beginning; see `format_of`."""
        pipe = self._standard_input()
        node, made = self._node(), self._made()
        named = pipe.first_object(self.encoding)
        is_text = self.kind in _TEXT and not (self.labelled and self.data.get("x") is not None)
        default: Format = "lines" if is_text else "jsonl"
        if not pipe.head.strip() or (named is not None and (not is_text or self.column in named)):
            return "jsonl" if named is not None else default
        with pipe.beginning(self.encoding) as file:
            if made == "Table":
                formats: tuple[Format, ...] = ("csv", "tsv")
                known = [f for f in formats if node.get("format") in (None, f)]
                return next((f for f in known if self._has_column(file, f)), default)
            if made in _OF_LINES:
                return "source" if not is_text or self._holds(file) else default
        if made in _OF_SEQUENCES or self.kind not in _TEXT:
            is_read = issubclass(self._class_of(node), FileSource) and named is None
            return "source" if is_read else "jsonl"
        return default

    def format_of(self, input: str) -> Format:
        """What is read how; see the class.

        Raises:
            ConfigError: Parquet from standard input, or a way that needs files.
        """
        if self.format is not None:
            if input == "-" and self.format == "parquet":
                text = "cannot be read from standard input; allowed: a file"
                raise ConfigError(f"input=- format={self.format}: {text}")
            return self.format
        if input == "-":
            return self._format_of_pipe()
        name = Path(input.lower().removesuffix(".gz"))
        table, is_file = FORMATS.get(name.suffix), Path(input).is_file()
        if table is not None and is_file:
            own_lines = self._made() in _OF_LINES and not self._has_column(Path(input), table)
            if self._reads(name) or own_lines:
                return "source"
            return table  # type: ignore[return-value]
        if self.kind in _TEXT and is_file:
            node, made = self._node(), self._made()
            if made == "Table" and node.get("format") is not None:
                if self._has_column(Path(input), node["format"]):
                    return node["format"]  # type: ignore[no-any-return]
            if made in _OF_SEQUENCES:
                return "source"
            if self.labelled and made in _OF_LONG_TEXTS:  # whose lines are no examples
                return "source"
            apart = self.labelled and self.data.get("x") is not None  # y is none of the text
            if not (made in _OF_LINES and self._holds(Path(input))) and not apart:
                return "lines"
        return "source"

    def _holds(self, file: Path) -> bool:
        """Whether a text file is written as those of the training are."""
        source = self._source(self._node(), str(file))
        return bool(source.holds(file))

    def _has_column(self, file: Path, format: str) -> bool:
        """Whether a table, in the words of the training, has the column that is read."""
        node = self._node()
        of_table = self._made() == "Table"
        if format not in DELIMITERS:
            return True
        delimiter = (of_table and node.get("delimiter")) or DELIMITERS[format]
        quote = node.get("quote", '"') if of_table else '"'
        first = first_cells(file, self.encoding, delimiter, quote)
        header = node.get("header") if of_table else None
        if isinstance(header, list):
            return first == [self.column] or 1 < len(first) <= len(header)
        parts = self.column.split("+")
        return self.column in first or all(part in first for part in parts)

    def _reads(self, name: Path) -> bool:
        """Whether the training's source has a way of its own to read such a table: a series."""
        node = self._node()
        if isinstance(node.get("source"), Mapping):  # sound that a table names, and the like
            return True
        made = self._class_of(node)
        suffixes = tuple(getattr(made, "suffixes", ()))
        return made is not Table and bool(suffixes) and name.name.endswith(suffixes)

    def _lines(self, file: Path) -> Iterator[Found]:
        for number, line in lines(file, self.encoding):
            yield self._of_line(line, file, number)

    def _of_line(self, line: str | DataError, file: Path, number: int) -> Found:
        if isinstance(line, DataError):
            return line
        return PlacedRecord({self.column: line}, file, number)

    def _rows(self, file: Path, format: str) -> Iterator[Found]:
        node = self._node()
        if format == "parquet" and self.asked is not None:
            text = "Parquet says itself how its text is written; allowed: leave it out"
            raise ConfigError(f"encoding={self.asked}: {text}")
        options: dict[str, Any] = {}
        if str(node.get("_target_", "")).endswith(".Table"):
            options |= {name: node[name] for name in _TABLE_OPTIONS if name in node}
        if format not in ("csv", "tsv"):
            options = {"strip": options.get("strip", False)}
        options["encoding"] = self.encoding
        columns = [self.column] if "+" in self.column else None
        made: dict[str, Any] = {"format": format, "columns": columns, **options}
        table = Table(train=str(file), **made)
        if not self.labelled and self.y:
            table.without_y(self.y, self.known)
        checked = False
        for found in table.parse(file):
            if not checked and not isinstance(found, DataError):
                self._check(found, file)
                checked = True
            yield found

    def _check(self, record: Mapping[str, Any], file: Path) -> None:
        if self.column not in record:
            hint = did_you_mean(self.column, record)
            text = f"has no column {self.column!r}, which the model reads"
            raise DataError(f"{file}: {text}; it has {', '.join(record)}{hint}")

    def _as_trained(self, input: str) -> Iterator[Found]:
        source = self._trained(input)
        if isinstance(source, FileSource):
            for file in source.files_of("train"):
                if isinstance(source, Table):  # of which the column of x is enough
                    yield from self._rows(file, source.format_of(file))
                elif isinstance(source, Forecast) and not self.labelled:
                    yield from source.beyond(file)
                else:
                    yield from source.parse(file)
        else:
            assert hasattr(source, "add") and isinstance(source.source, FileSource)
            for file in source.source.files_of("train"):
                for one in source.source.parse(file):
                    yield one if isinstance(one, DataError) else source.add(one)

    def _trained(self, input: str) -> Any:
        """The training's source, made to read an input."""
        node = self._node()
        inner: Any = node.get("source")
        part = inner if isinstance(inner, Mapping) else node  # sound that a table names, ...
        self._check_of_files(part, input)
        read = _only(part, input)
        if self.asked is not None:
            read["encoding"] = self.asked
        beside = self._companions(part, input) if self.labelled else {}
        read |= beside
        source = self._source({**node, "source": read} if part is inner else read)
        self.notes += [f"{key} from {_listed(name)}" for key, name in beside.items() if name]
        return source

    def _companions(self, node: Mapping[str, Any], input: str) -> dict[str, Any]:
        """What stands beside an input and says what its y is."""
        made = self._class_of(node)
        path = node.get("path") or self.data["source"].get("path")
        before = (Path() if path is None else Path(path)) if self.own else None
        return dict(companions(made, node, input, before))

    def _source(self, node: Mapping[str, Any], input: str | None = None) -> Any:
        """The training's source, to read an input; without its y, where that is asked for."""
        node = node if input is None else _only(node, input)
        source = self.maker.make(node, "data.source")
        files = source if isinstance(source, FileSource) else getattr(source, "source", None)
        self.notes = []
        if isinstance(files, FileSource):
            files.as_one()
            if not self.labelled and self.y:
                note = files.without_y(self.y, self.known)
                self.notes = [note] if note else []
        return source

    def told(self, input: str) -> str:
        """How an input is read, for people.

        Raises:
            ConfigError: as `read`.
        """
        format = self.format_of(input)
        if format == "source":
            self._trained(input)
            text = f"as the training's files were ({self._made()})"
        else:
            text = "as a text a line" if format == "lines" else f"as {format}, column {self.column}"
        notes = "".join(f", {note}" for note in self.notes)
        return f"input={input}: read {text}{notes}; format=... reads it otherwise"

    def _check_of_files(self, node: Mapping[str, Any], input: str) -> None:
        made = self._class_of(node)
        if not (isinstance(made, type) and issubclass(made, FileSource)):
            text = f"{made.__name__}, which the model was trained on, reads no files"
            raise ConfigError(f"input={input}: {text}; allowed: a table or JSON lines")
        if self.asked is not None and "encoding" not in signature(made).parameters:
            text = f"{made.__name__} reads no text; allowed: leave it out"
            raise ConfigError(f"encoding={self.asked}: {text}")

    def _class_of(self, node: Mapping[str, Any]) -> Any:
        return self.maker.make({**node, "_partial_": True}, "data.source").func

    def _made(self) -> str:
        """The name of the training's source."""
        return str(self._node().get("_target_", "")).rpartition(".")[2]

    def _node(self) -> Mapping[str, Any]:
        """The training's source as it was written; of a named set, that of its files."""
        node: Mapping[str, Any] = self.data["source"]
        if str(node.get("_target_", "")).endswith(".Named"):
            node = {k: v for k, v in node["local"].items() if k != "_partial_"}
        return node


def _listed(name: str | list[str]) -> str:
    return name if isinstance(name, str) else ", ".join(name)


def _only(node: Mapping[str, Any], input: str) -> dict[str, Any]:
    """A source of files that reads one input and parts nothing."""
    made = {k: v for k, v in node.items() if k not in ("path", "group", "stratify")}
    return {**made, "train": input, "valid": 0.1, "test": 0.1}


def _told(error: DataError) -> DataError:
    """An error without the keys of a training, which the command does not have."""
    problems = []
    for text in error.problems:
        for theirs, ours in (
            ("data.source.encoding=", "encoding="),
            ("data.source.train=", "input="),
            ("data.source.format=", "format="),
        ):
            text = text.replace(theirs, ours)
        text = re.sub(r"\bdata\.source\.(\w+=)", r"the training's \1", text)  # not to be typed
        problems.append(text)
    return type(error)(problems)
