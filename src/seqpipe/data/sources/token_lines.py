"""Sentences of files with a token a line, in columns of any kind and in those of CoNLL-U."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from seqpipe.data.base import Found, PlacedRecord, place
from seqpipe.data.sources.text_lines import lines
from seqpipe.errors import DataError, counted

CONLLU = tuple("id form lemma upos xpos feats head deprel deps misc".split())
"""The columns of CoNLL-U."""

_MARK = "\ufeff"
_MARK_INSIDE = (
    "starts with a byte order mark, as where files are joined; allowed: one at the start of a file"
)
_ID = re.compile(r"[1-9][0-9]*")
_SKIPPED_ID = re.compile(r"[1-9][0-9]*-[0-9]+|[0-9]+\.[1-9][0-9]*")


class Sentence:
    """A sentence while its lines are read.

    Args:
        names: of the columns that are kept.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.columns: dict[str, list[str]] = {name: [] for name in names}
        self.lines: list[int] = []
        self.problems: list[str] = []

    def __bool__(self) -> bool:
        """True where a token was read, or a line that cannot be used."""
        return bool(self.lines or self.problems)

    def add(self, line: int, cells: Mapping[str, str]) -> None:
        """Add a token; its line, and its entries by column."""
        for name, cell in cells.items():
            self.columns[name].append(cell)
        self.lines.append(line)

    def record(self, file: Path, **more: str) -> Found:
        """The sentence with more columns, or what is wrong with it."""
        if self.problems:
            return DataError(self.problems)
        return PlacedRecord({**self.columns, **more}, file, self.lines[0])


def line_blocks(
    file: Path, encoding: str, start: str | None = None
) -> Iterator[list[tuple[int, str | DataError]]]:
    """Numbered lines between lines of white space.

    Args:
        file: to read.
        encoding: of its text.
        start: of a line that also begins a block; None: no other lines do.
    """
    block: list[tuple[int, str | DataError]] = []
    for number, line in lines(file, encoding):
        if isinstance(line, str):
            begins = start is not None and line.startswith(start)
            if block and (begins or not line.strip()):
                yield block
                block = []
            if not line.strip():
                continue
            if line.startswith(_MARK):
                line = DataError(f"{place(file, number)}: {_MARK_INSIDE}")
        block.append((number, line))
    if block:
        yield block


def treebank_sentences(
    file: Path, encoding: str, columns: Mapping[str, str]
) -> Iterator[tuple[str, str, Sentence]]:
    """The sentences of CoNLL-U with their `sent_id` and their document, "" without them.

    Args:
        file: to read.
        encoding: of its text.
        columns: see `ConllU`.
    """
    documents, document = 0, ""
    for block in line_blocks(file, encoding):
        sentence, sent_id = Sentence(columns), ""
        for number, line in block:
            if isinstance(line, DataError):
                sentence.problems += line.problems
            elif line.startswith("#"):
                key, _, value = (part.strip() for part in line[1:].partition("="))
                if key in ("newdoc", "newdoc id"):
                    documents += 1
                    document = value or f"{file.name}:{documents}"
                elif key == "sent_id":
                    sent_id = value
            else:
                _add_word(file, sentence, number, line.split("\t"), columns)
        if sentence:
            yield sent_id, document, sentence


def _add_word(
    file: Path, sentence: Sentence, number: int, cells: Sequence[str], columns: Mapping[str, str]
) -> None:
    if len(cells) != len(CONLLU):
        text = f"{counted(len(cells), 'column')}; allowed: {len(CONLLU)}, separated by tabs"
        sentence.problems.append(f"{place(file, number)}: {text}")
    elif _ID.fullmatch(cells[0]):
        kept = {name: cells[CONLLU.index(column)] for name, column in columns.items()}
        sentence.add(number, kept)
    elif not _SKIPPED_ID.fullmatch(cells[0]):
        allowed = "the number of a word, 8, or 8-9, or 8.1"
        sentence.problems.append(f"{place(file, number)}: id={cells[0]}; allowed: {allowed}")


def is_treebank(file: Path, encoding: str) -> bool:
    """True where the first line of words has the ten columns of CoNLL-U."""
    for _, line in lines(file, encoding):
        if isinstance(line, DataError):
            return False
        if line.strip() and not line.startswith("#"):
            cells = line.split("\t")
            numbered = _ID.fullmatch(cells[0]) or _SKIPPED_ID.fullmatch(cells[0])
            return len(cells) == len(CONLLU) and numbered is not None
    return False
