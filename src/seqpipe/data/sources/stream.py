"""Long texts for language models, read in pieces: never a whole file in memory."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from seqpipe.data.base import SPLITS, Found, PlacedRecord, Splits
from seqpipe.data.sources.argument_checks import compiled
from seqpipe.data.sources.files import FileSource, Names
from seqpipe.data.sources.text_lines import at_least_one, text_lines
from seqpipe.errors import ConfigError, DataError
from seqpipe.rules import whole

Line = tuple[int, str | DataError]


@dataclass(kw_only=True)
class _Pieces(FileSource):
    """Lines of a text, put together to pieces.

    Args:
        piece: characters of a record, cut at line ends (between words where a line is longer).
        line_end: a word that is put at the end of each line, so that models of words or tokens
            predict it, as `<eos>` for PTB and WikiText; None: none.
    """

    piece: Annotated[int, whole(1)] = 10000
    line_end: str | None = None
    group: Names | None = field(init=False, default=None)
    stratify: str | None = field(init=False, default=None)

    def holds(self, file: Path, labelled: bool = False) -> bool:
        """True to measure texts, whose lines are no examples; a text to continue is a line."""
        return labelled

    def _lines(self, file: Path) -> Iterator[Line]:
        """Each line with its line end; one longer than a piece comes in parts, cut between words.

        The parts of a line have one number.
        """
        rest = ""
        number = 1
        for number, part, problem in text_lines(file, self.encoding, limit=self.piece):
            if problem is not None:
                yield number, problem
                continue
            line, rest = rest + part, ""
            if not line.endswith("\n") and len(part) == self.piece:
                cut = max(line.rfind(" "), line.rfind("\t")) + 1 or len(line)
                line, rest = line[:cut], line[cut:]
            if line:
                yield number, line
        if rest:
            yield number, rest

    def _pieces(self, file: Path, lines: Iterable[Line]) -> Iterator[Found]:
        """The pieces of one document; all but the last have `goes_on`."""
        held: PlacedRecord | None = None
        for found in self._cut(file, lines):
            if isinstance(found, DataError):
                yield found
                continue
            if held is not None:
                held.goes_on = True
                yield held
            held = found
        if held is not None:
            yield held

    def _cut(self, file: Path, lines: Iterable[Line]) -> Iterator[PlacedRecord | DataError]:
        """Pieces that end after a line, and after the blank lines that follow it: none is blank."""
        text: list[str] = []
        first, size, written = 1, 0, False
        for number, line in lines:
            if isinstance(line, DataError):
                yield line
                continue
            blank = not line.strip()
            if written and not blank and size + len(line) > self.piece:
                yield PlacedRecord({"text": "".join(text)}, file, first)
                text, size, written = [], 0, False
            if not text:
                first = number
            text.append(self._ended(line))
            size, written = size + len(line), written or not blank
        if written:
            yield PlacedRecord({"text": "".join(text)}, file, first)

    def _ended(self, line: str) -> str:
        if self.line_end is None or not line.endswith("\n"):
            return line
        return f"{line.rstrip()} {self.line_end}\n".lstrip(" ")


@dataclass(kw_only=True)
class Stream(_Pieces):
    """One long text, split by position: each file a document, in pieces of some characters.

    Shares are of the characters of all files of `train`, in their order, cut at line ends: the
    first are trained on, those before the last validated, the last tested.

    Args:
        valid: files, or a share of the characters of train.
    """

    split_by: ClassVar[str] = "their places in the text"

    order: Literal["random", "file"] = field(init=False, default="file")
    seed: int = field(init=False, default=0)

    def parse(self, file: Path) -> Iterator[Found]:
        """The pieces of one file.

        Raises:
            DataError: it is empty, or cannot be read.
        """
        pieces = self._pieces(file, self._lines(file))
        return at_least_one(pieces, f"{file}: holds no text; allowed: a text")

    def keep_together(self, columns: Sequence[str]) -> None:
        """Ignored: the text is split by position."""

    def read(self) -> Splits:
        """Shares are split by position.

        Raises:
            DataError: a file that is not there, or cannot be read.
        """
        shares = self.shares
        if not shares:
            return super().read()
        files = self.files_of("train")
        sizes = (_size(line) for file in files for _, line in self._lines(file))
        total = sum(sizes)
        if total == 0:  # parse says why
            return Splits(*[self.records_of(files)] * len(SPLITS))
        end, views = total, {}
        for split in reversed(SPLITS):
            if split == "train" or split in shares:
                start = end - round(total * shares[split]) if split in shares else 0
                views[split] = _Stretch(self, files, start, end, split)
                end = start
        named = {s: self.records_of(self.files_of(s)) for s in SPLITS if s not in views}
        return Splits(**views, **named)


class _Stretch:
    """Lines of some files that start in a stretch of their characters."""

    def __init__(
        self, source: Stream, files: Sequence[Path], start: int, end: int, split: str
    ) -> None:
        self.source, self.files, self.split = source, files, split
        self.start, self.end = start, end

    def __iter__(self) -> Iterator[Found]:
        """The pieces; a DataError where no line starts there."""
        empty = True
        for file, numbered in groupby(self._lines(), key=itemgetter(0)):
            for found in self.source._pieces(file, (line for _, line in numbered)):
                empty = False
                yield found
        if empty:
            files = ", ".join(map(str, self.files[:3]))
            text = f"no line of {files} starts in the share that is {self.split}"
            piece = f"data.source.piece={self.source.piece}: a line is cut after so many characters"
            yield DataError(f"{piece}, and {text}; allowed: fewer, or a larger share")

    def _lines(self) -> Iterator[tuple[Path, Line]]:
        """Each line that starts there, with its file."""
        place = 0
        for file in self.files:
            for number, line in self.source._lines(file):
                if place >= self.end:
                    return
                if place >= self.start:
                    yield file, (number, line)
                place += _size(line)


def _size(line: str | DataError) -> int:
    return 0 if isinstance(line, DataError) else len(line)


@dataclass(kw_only=True)
class Documents(_Pieces):
    """Many texts: a file each, or separated by blank lines, or by the line that each starts with.

    Shares are of the documents, each of which is in one split whole (with those of the
    same start). A record: `text`, and `document`, alike in the pieces of one.

    Args:
        start: what a line that starts a document matches from its first character, a regular
            expression: ` = [^=]` for WikiText. None: see `blank_lines`.
        blank_lines: these separate documents; false: each file is one, unless `start` says more.

    Raises:
        ConfigError: an option that cannot work.
    """

    start: str | None = None
    blank_lines: bool = False
    group: Names | None = field(init=False, default="document")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start is not None and self.blank_lines:
            text = "documents already start otherwise; allowed: false, or start=null"
            raise ConfigError(f"data.source.blank_lines=true: {text}")
        key, allowed = "data.source.start", "as in Python's re"
        self._start = None if self.start is None else compiled(key, self.start, allowed)

    def parse(self, file: Path) -> Iterator[Found]:
        """The pieces of the documents of one file, in their order.

        Raises:
            DataError: it holds none, or cannot be read.
        """
        empty = f"{file}: holds no text; allowed: one or more documents"
        return at_least_one(self._documents(file), empty)

    def _documents(self, file: Path) -> Iterator[Found]:
        for _, numbered in groupby(self._numbered(file), key=itemgetter(0)):
            document = ""
            for found in self._pieces(file, (line for _, line in numbered)):
                if isinstance(found, PlacedRecord):
                    document = document or _alike(found["text"])
                    found["document"] = document
                yield found

    def _numbered(self, file: Path) -> Iterator[tuple[int, Line]]:
        """Each line with the number of its document; blank lines that separate them left out."""
        document, written, after_blank, before = 0, False, False, 0
        for number, line in self._lines(file):
            if isinstance(line, str):
                blank = not line.strip() and number != before  # a part of a long line is not
                before = number
                starts = self._start is not None and self._start.match(line) is not None
                if written and (starts or (self.blank_lines and after_blank and not blank)):
                    document, written = document + 1, False
                written, after_blank = written or not blank, blank
                if self.blank_lines and blank:
                    continue
            yield document, (number, line)


def _alike(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
