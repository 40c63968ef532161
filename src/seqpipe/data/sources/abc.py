"""Tunes in ABC notation."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from seqpipe.data.base import Found, PlacedRecord, place
from seqpipe.data.sources.files import FileSource, Names, lines
from seqpipe.errors import ConfigError, DataError

_FIELD = re.compile(r"([A-Za-z]):(?![|:])(.*)")  # A:| is a note before the end of a repeat
_ARTICLE = re.compile(r"^(the|a|an) |, ?(the|a|an)$")
_TOKEN = re.compile(
    r"""
    ^[A-Za-z]:(?![|:]).*            # a field, whole: M:6/8
    | \[[A-Za-z]:[^\]]*\]           # a field within a line: [K:G]
    | "[^"]*"                       # a chord's name
    | ![^!\s]+!                     # a decoration
    | (?:\[|[\^_=]*[A-Ga-gxzZ][,']*[\d/]*)  # a note or rest with its length; the start of a chord
    | \][\d/]*                      # the end of a chord, with its length
    | [:|]+\]?(?:\d(?:[,-]\d)*)?    # a bar line, with the number of an ending
    | [<>]+ | \(\d?(?::\d?){0,2}    # broken rhythm, a slur or tuplet
    | \S                            # anything else
    """,
    re.VERBOSE | re.MULTILINE,
)


class Abc(FileSource):
    """A record a tune of .abc files: its text, its tokens, and what its header says.

    A tune starts at a line `X:` and ends at an empty line or the next `X:`. Comments are left
    out, and all but one of several spaces. The columns:

    - `text`: the header lines that are kept and the music, line by line;
    - `tokens`: the same as a list of header lines, notes, bar lines and other signs;
    - `number` (X), `title` (the first T), `key`, `meter`, `rhythm`, `transcriber`: empty where the
      tune has none;
    - `tune`: the title in small letters without article or marks; the music where it has no title.

    Args:
        train: see `FileSource`.
        valid: see `FileSource`.
        test: see `FileSource`.
        path: see `FileSource`.
        encoding: see `FileSource`.
        keep: letters of the fields whose lines stay in the text.
        group: see `FileSource`: two transcriptions of one tune must not be parted. `number` suits
            files that are numbered as one book.
        stratify: see `FileSource`.
        order: see `FileSource`.
        seed: see `FileSource`.

    Raises:
        ConfigError: a field that is no letter.

    Source: the ABC music standard 2.1, sections 2.2 (tunes), 3 (fields) and 4 (music).
    """

    suffixes = (".abc",)

    def __init__(
        self,
        train: Names,
        valid: Names | float = 0.1,
        test: Names | float = 0.1,
        *,
        path: str | None = None,
        encoding: str = "utf-8",
        keep: list[str] | tuple[str, ...] = ("M", "L", "K"),
        group: Names = "tune",
        stratify: str | None = None,
        order: Literal["random", "file"] = "random",
        seed: int = 0,
    ) -> None:
        super().__init__(
            *(train, valid, test),
            path=path,
            encoding=encoding,
            group=group,
            stratify=stratify,
            order=order,
            seed=seed,
        )
        for letter in keep:
            if not (len(letter) == 1 and letter.isascii() and letter.isalpha()):
                text = "a field of a tune is one letter; allowed: X, T, M, L, K, Z, ..."
                raise ConfigError(f"data.source.keep={letter}: {text}")
        self.keep = frozenset(keep)

    def parse(self, file: Path) -> Iterator[Found]:
        """The tunes of a file.

        Raises:
            DataError: there are none.
        """
        any_tune = False
        for start, block in _blocks(lines(file, self.encoding)):
            bad = next((line for line in block if isinstance(line, DataError)), None)
            text = [line for line in block if isinstance(line, str)]
            is_tune = bool(text) and text[0].startswith("X:")
            any_tune = any_tune or is_tune
            if bad is not None:
                yield bad
            elif is_tune:
                yield self._record(file, start, text)
        if not any_tune:
            raise DataError(f"{file}: holds no tune; allowed: each starts at a line X:1")

    def _record(self, file: Path, start: int, tune: list[str]) -> Found:
        said: dict[str, str] = {}
        kept, music = [], []
        for raw in tune:
            line = " ".join(raw.partition("%")[0].split())
            field = _FIELD.match(line)
            if field is not None:
                letter, value = field[1], field[2].strip()
                said.setdefault(letter, value)
                if letter in self.keep:
                    kept.append(f"{letter}:{value}")
            elif line:
                kept.append(line)
                music.append(line)
        number = said.get("X", "")
        if not music:
            text = f"tune {number or '(without number)'} has no music"
            return DataError(f"{place(file, start)}: {text}; allowed: lines of notes after K:")
        text, title = "\n".join(kept), said.get("T", "")
        columns = {
            "text": text,
            "tokens": _TOKEN.findall(text),
            "number": number,
            "title": title,
            "tune": _plain(title) or "".join("".join(music).split()),
            "key": said.get("K", ""),
            "meter": said.get("M", ""),
            "rhythm": said.get("R", ""),
            "transcriber": said.get("Z", ""),
        }
        return PlacedRecord(columns, file, start)


def _blocks(
    lines: Iterable[tuple[int, str | DataError]],
) -> Iterator[tuple[int, list[str | DataError]]]:
    """Lines between empty ones, with the number of the first; a line X: starts anew."""
    block: list[str | DataError] = []
    start = 1
    for number, line in lines:
        empty = isinstance(line, str) and not line.strip()
        if block and (empty or (isinstance(line, str) and line.startswith("X:"))):
            yield start, block
            block = []
        if not empty:
            start = start if block else number
            block.append(line)
    if block:
        yield start, block


def _plain(title: str) -> str:
    """`Kerry Cobbler, The` and `The Kerry Cobbler` alike."""
    without = _ARTICLE.sub("", title.casefold().strip())
    return " ".join(re.findall(r"\w+", without))
