"""Columns of tokens and tags, one token a line: CoNLL and CoNLL-U."""

import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import ClassVar, Literal

from seqpipe.data.base import Found, place
from seqpipe.data.sources.files import FileSource
from seqpipe.data.sources.text_lines import at_least_one, lines, packed_too
from seqpipe.data.sources.token_lines import (
    CONLLU,
    Sentence,
    is_treebank,
    line_blocks,
    treebank_sentences,
)
from seqpipe.data.tag_notation import Convention, Survey, readings
from seqpipe.data.tags import convert, faults
from seqpipe.errors import ConfigError, DataError, counted, did_you_mean

_COLUMNS = {"tokens": 0, "tags": -1}
_LOOKED_AT = 200  # lines, to tell columns from text
_DOCUMENT = "-DOCSTART-"
_COMMENTS = "; 'data.source.comment=\"#\"' leaves lines that start with # out"
_SPACES = re.compile("[ \t]+")


@dataclass(kw_only=True)
class TokenLines(FileSource):
    """Sentences with a token a line, between lines of white space."""

    wanted: ClassVar[str]  # what a line should hold, for messages
    stratify: str | None = field(init=False, default=None)

    def parse(self, file: Path) -> Iterator[Found]:
        """The sentences of a file, in their order.

        Raises:
            DataError: it holds no tokens, or its lines have too few columns.
        """
        empty = f"{file}: holds no tokens; allowed: one per line, {self.wanted}"
        return at_least_one(self.sentences(file), empty)

    @abstractmethod
    def sentences(self, file: Path) -> Iterator[Found]:
        """The sentences, none for an empty file."""


@dataclass(kw_only=True)
class Conll(TokenLines):
    """Sentences of the CoNLL shared tasks: a token and its tags a line, in columns.

    A file in the ten columns of CoNLL-U is recognised and read as `ConllU` reads it; the default
    columns then are the words and their universal parts of speech.

    A line that is empty, or holds white space only, ends a sentence; so does -DOCSTART-, which
    starts a document. Every other line has as many columns as the first. A sentence with a line
    that cannot be used is not used.

    Records: each of `columns`, list of str, one for each token; `document` str, file name and
    number of the document, so that `group=document` keeps documents whole.

    The scheme is turned here, not in the field of tags, since only here the line of a wrong tag
    is known.

    Args:
        columns: what the record calls them -> which column, from 0, or from -1, the last. None:
            tokens 0, tags -1.
        separator: `tab`; `space`, any number of blanks and tabs; `auto`: tab where the first line
            of a file holds one.
        comment: lines that start so are left out, `#`; None: there are none, # is a token.
        spans: the column whose tags `scheme` is about.
        scheme: these mark spans, written as `io`, `iob1`, `bio` or `bioes` (see
            `seqpipe.data.tags`); `auto`: the one that most tags of train follow, if any. With
            either, other notations (BILOU, BMES, IOE, B_PER, B/PER, b-per, PER-B, o for O) are
            read as its tags, and a tag that does not fit is refused with its line. None: leave
            tags as they are.
        convert_to: write them so; None: as `scheme`. Of no effect where nothing marks spans.
        invalid: of tags that break the scheme: `error`, or `repair`, as conlleval reads them.

    Of a folder, files called *.conll, *.iob, *.bio, *.tsv, *.txt and *.conllu are read, packed
    (.gz) or not.

    Raises:
        ConfigError: `spans` is none of the columns.
    """

    wanted = "in columns separated by tabs or spaces"
    suffixes = packed_too(".conll", ".iob", ".bio", ".tsv", ".txt", ".conllu")

    columns: dict[str, int] | None = None
    separator: Literal["auto", "tab", "space"] = "auto"
    comment: str | None = None
    spans: str = "tags"
    scheme: Literal["auto", "io", "iob1", "bio", "bioes"] | None = None
    convert_to: Literal["io", "iob1", "bio", "bioes"] | None = None
    invalid: Literal["error", "repair"] = "error"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._read_columns = _COLUMNS if self.columns is None else self.columns
        self._known = frozenset[str]()
        if self.scheme is not None and self.spans not in self._read_columns:
            known = self._read_columns
            allowed = ", ".join(known) + did_you_mean(self.spans, known)
            raise ConfigError(f"data.source.spans={self.spans}: not a column; allowed: {allowed}")

    def sentences(self, file: Path) -> Iterator[Found]:
        """The sentences, their tags checked and converted."""
        convention = self._convention
        for document, sentence in self._read(file):
            if convention is not None:
                sentence.columns[self.spans] = self._spans(file, sentence, convention)
            yield sentence.record(file, document=f"{file.name}:{document}")

    def without_y(self, column: str, known: Sequence[str]) -> str:
        """The column of the tags is not read; words may stand alone."""
        self._known, width = frozenset(known), len(self._read_columns)
        self._read_columns = {name: at for name, at in self._read_columns.items() if name != column}
        self.bare = len(self._read_columns) < width
        if column == self.spans:
            self.scheme = None
        return ""

    def holds(self, file: Path, labelled: bool = False) -> bool:
        """True for columns with known tags, and for words a line with sentences between them."""
        if is_treebank(file, self.encoding):
            return True
        found = (line for _, line in lines(file, self.encoding) if isinstance(line, str))
        first = [line.split() for line in islice(found, _LOOKED_AT)]
        while first and not first[-1]:
            first.pop()
        rows = [cells for cells in first if cells]
        widths = {len(cells) for cells in rows}
        if len(widths) != 1:
            return False
        if widths == {1}:
            return len(rows) < len(first)
        tags = [cells[-1] for cells in rows]
        known = (not self._known.isdisjoint(readings(tag)) for tag in tags)
        tagged = 2 * sum(known) >= len(tags)
        return tagged or (len(rows) > 1 and len(rows) < len(first))

    def _read(self, file: Path) -> Iterator[tuple[int, Sentence]]:
        """Each sentence as it is written, with the number of its document."""
        if is_treebank(file, self.encoding):
            yield from self._read_treebank(file)
            return
        document = 0
        first: tuple[int, int] | None = None  # line of the first token, its columns
        by_tab, hash_first = self.separator == "tab", False
        for block in line_blocks(file, self.encoding, _DOCUMENT):
            sentence = Sentence(self._read_columns)
            for number, line in block:
                if isinstance(line, DataError):
                    sentence.problems += line.problems
                    continue
                if line.startswith(_DOCUMENT):
                    document += 1
                    continue
                if self.comment is not None and line.startswith(self.comment):
                    continue
                if first is None and self.separator == "auto":
                    by_tab = "\t" in line
                cells = line.split("\t") if by_tab else _SPACES.split(line.strip(" \t"))
                if first is None:
                    first, hash_first = (number, len(cells)), line[0] == "#"
                    self._check_columns(file, *first)
                if len(cells) == first[1]:
                    self._add(file, sentence, number, cells)
                    continue
                allowed = f"{first[1]}, separated by {'tabs' if by_tab else 'spaces'}"
                text = f"{counted(len(cells), 'column')}, line {first[0]} has {first[1]}"
                text += f"; allowed: {allowed}"
                text += _COMMENTS if self.comment is None and (line[0] == "#" or hash_first) else ""
                sentence.problems.append(f"{place(file, number)}: {text}")
            if sentence:
                yield document, sentence

    def _read_treebank(self, file: Path) -> Iterator[tuple[int, Sentence]]:
        """The sentences of a file in CoNLL-U; all are of its document 0 without `# newdoc`."""
        usual = self._read_columns.items() <= _COLUMNS.items()
        conllu = {"tokens": 1, "tags": 3}
        numbers = {n: conllu[n] for n in self._read_columns} if usual else self._read_columns
        columns = {name: CONLLU[number] for name, number in numbers.items()}
        documents: dict[str, int] = {}
        for _, document, sentence in treebank_sentences(file, self.encoding, columns):
            yield documents.setdefault(document, len(documents)), sentence

    def _check_columns(self, file: Path, number: int, width: int) -> None:
        for name, column in self._read_columns.items():
            if self.bare and width == 1:
                continue
            if not -width <= column < width:
                held = counted(width, "column")
                text = f"data.source.columns.{name}={column}: the line has {held}"
                allowed = f"{-width} to {width - 1}; data.source.separator=tab or space"
                raise DataError(f"{place(file, number)}: {text}; allowed: {allowed}")

    def _add(self, file: Path, sentence: Sentence, number: int, cells: Sequence[str]) -> None:
        alone = self.bare and len(cells) == 1
        kept = {n: cells[0 if alone else at].strip(" ") for n, at in self._read_columns.items()}
        empty = [name for name, cell in kept.items() if not cell]
        for name in empty:
            at = f"{place(file, number)}: {name} is empty"
            sentence.problems.append(f"{at}; allowed: a token and its tags, or an empty line")
        if not empty:
            sentence.add(number, kept)

    def _spans(self, file: Path, sentence: Sentence, convention: Convention) -> list[str]:
        """The tags of a sentence, converted; what is wrong with them is added to its problems."""
        written, scheme = sentence.columns[self.spans], convention.scheme
        tags = convention.read(written)
        wrong = faults(tags, scheme)
        if self.invalid == "repair":
            wrong = [(step, text) for step, text in wrong if not tags[step]]
        for step, text in wrong:
            shown = written[step]
            if not shown.isprintable() or not shown[:2].isascii():
                shown = ascii(shown)  # a sign of another script looks like O, B or -
            if tags[step] and tags[step] != written[step]:
                shown += f" (read as {tags[step]})"
            hint = " or data.source.invalid=repair"
            if not tags[step]:
                hint = convention.likely(written[step])
                hint += "; data.on_error=skip leaves such sentences out"
            at = f"{place(file, sentence.lines[step])}: {self.spans}={shown}: {text}"
            sentence.problems.append(f"{at}{hint}")
        return tags if wrong else convert(tags, self.convert_to or scheme)

    @cached_property
    def _convention(self) -> Convention | None:
        """The notation of the tags, by the files of train; None where they mark no spans."""
        if self.scheme is None:
            return None
        survey = Survey(
            sentence.columns[self.spans]
            for file in self.files_of("train")
            for _, sentence in self._read(file)
        )
        convention = survey.convention(None if self.scheme == "auto" else self.scheme)
        if convention is None:
            self._remarks.append(f"data.source.scheme=auto: {survey.without_spans(self.spans)}")
        return convention


@dataclass(kw_only=True)
class ConllU(TokenLines):
    """Sentences of Universal Dependencies: ten columns, comments, numbered words.

    Words are what is tagged: lines of a token that holds several (8-9) and of words that are not
    written (8.1) are left out.

    Records: each of `columns`, list of str, one for each word; `sent_id` and `document` str, from
    the comments `# sent_id = ` and `# newdoc id = `, or file name and line (number of the
    document) where these are missing; `group=document` keeps documents whole.

    Args:
        columns: what the record calls them -> which column, of id, form, lemma, upos, xpos,
            feats, head, deprel, deps, misc. None: tokens form, tags upos.

    Raises:
        ConfigError: no such column.

    Source: universaldependencies.org/format.html.
    """

    wanted = "in ten columns separated by tabs"
    suffixes = (".conllu", ".conllu.gz")

    columns: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        usual = {"tokens": "form", "tags": "upos"}
        self._read_columns = usual if self.columns is None else self.columns
        for name, column in self._read_columns.items():
            if column not in CONLLU:
                allowed = ", ".join(CONLLU) + did_you_mean(column, CONLLU)
                key = f"data.source.columns.{name}={column}"
                raise ConfigError(f"{key}: not a column of CoNLL-U; allowed: {allowed}")

    def without_y(self, column: str, known: Sequence[str]) -> str:
        """The column is not read."""
        self._read_columns = {name: at for name, at in self._read_columns.items() if name != column}
        return ""

    def holds(self, file: Path, labelled: bool = False) -> bool:
        """True for ten columns, the first of them numbers."""
        return is_treebank(file, self.encoding)

    def sentences(self, file: Path) -> Iterator[Found]:
        """The sentences, words only, with what the comments say."""
        read = treebank_sentences(file, self.encoding, self._read_columns)
        for sent_id, document, sentence in read:
            line = next(iter(sentence.lines), None)
            yield sentence.record(
                file,
                sent_id=sent_id or f"{file.name}:{line}",
                document=document or f"{file.name}:0",
            )
