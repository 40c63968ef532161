"""Tunes in ABC notation."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from seqpipe.data.abc_notation import FIELD, TOKEN, fault_of, numbered
from seqpipe.data.base import Found, PlacedRecord, place
from seqpipe.data.music import Tunes
from seqpipe.data.sources.files import FileSource, Names
from seqpipe.data.sources.text_lines import lines
from seqpipe.errors import ConfigError, DataError

Line = str | DataError
_ARTICLE = re.compile(r"^(the|a|an) |, ?(the|a|an)$")
_VOICE = re.compile(r"\[V:\s*([^\]\s]+)[^\]]*\]")
_OVERLAY = re.compile(r'&(?=(?:[^"]*"[^"]*")*[^"]*$)[^|]*')  # not within a chord's name
_NOTES = re.compile(r"""(?:[\sA-Ga-gxzXZ\d/,'^_=<>\[\](){}~.\-+&*:|\\vuTHLMPS]|"[^"]*"|![^!]*!)+""")
_NOTE = re.compile(r"[A-Ga-gzx]")


@dataclass(kw_only=True)
class Abc(FileSource, Tunes):
    """Tunes of .abc files, a record each: text, tokens and the fields of the header.

    A tune starts at a line `X:` and ends before the next `X:`. Empty lines do not end it, but text
    that is no music is left out after one. Of several voices (`V:`, or `&` within a bar) the
    first is read, and the run warns. Comments are left out, and all but one of several spaces.
    The columns:

    - `text`: the header lines that are kept and the music, line by line;
    - `tokens`: the same as a list of header lines, notes, bar lines and other signs;
    - `number` (X), `title` (the first T), `key`, `meter`, `rhythm`, `transcriber`: empty where the
      tune has none;
    - `tune`: the title in small letters without article or marks; the music where it has no title.

    Args:
        keep: letters of the fields whose lines stay in the text.

    Raises:
        ConfigError: a field that is no letter.

    Source: the ABC music standard 2.1, sections 2.2 (tunes), 3 (fields) and 4 (music).
    """

    suffixes = (".abc",)
    prompt_files = suffixes

    keep: list[str] | tuple[str, ...] = ("M", "L", "K")
    group: Names = "tune"

    def __post_init__(self) -> None:
        super().__post_init__()
        for letter in self.keep:
            if not (len(letter) == 1 and letter.isascii() and letter.isalpha()):
                text = "a field of a tune is one letter; allowed: X, T, M, L, K, Z, ..."
                raise ConfigError(f"data.source.keep={letter}: {text}")
        self._many_voices: dict[Path, list[str]] = {}  # places of tunes with several voices

    def warnings(self) -> list[str]:
        """See `FileSource`; tunes of which only the first voice is read."""
        places = [one for found in self._many_voices.values() for one in found]
        if not places:
            return super().warnings()
        many = "1 tune has" if len(places) == 1 else f"{len(places):,} tunes have"
        voices = f"{places[0]}: {many} several voices, of which the first is read"
        return [*super().warnings(), voices]

    def parse(self, file: Path) -> Iterator[Found]:
        """The tunes of a file.

        Raises:
            DataError: there are none.
        """
        yield from self._records(file, lines(file, self.encoding))

    def _records(self, file: Path, numbered_lines: Iterable[tuple[int, Line]]) -> Iterator[Found]:
        any_tune = False
        voices = self._many_voices[file] = []
        for start, block in _blocks(numbered_lines):
            bad = next((line for line in block if isinstance(line, DataError)), None)
            text = [line for line in block if isinstance(line, str)]
            is_tune = bool(text) and text[0].startswith("X:")
            any_tune = any_tune or is_tune
            if bad is not None:
                yield bad
            elif is_tune:
                tune, first = _first_voice(text)
                if first:
                    voices.append(place(file, start))
                yield self._record(file, start, tune)
        if not any_tune:
            raise DataError(f"{file}: holds no tune; allowed: each starts at a line X:1")

    def _record(self, file: Path, start: int, tune: list[str]) -> Found:
        header: dict[str, str] = {}
        kept, music = [], []
        for raw in tune:
            line = " ".join(raw.partition("%")[0].split())
            field = FIELD.match(line)
            if field is not None:
                letter, value = field[1], field[2].strip()
                header.setdefault(letter, value)
                if letter in self.keep:
                    kept.append(f"{letter}:{value}")
            elif line:
                kept.append(line)
                music.append(line)
        number = header.get("X", "")
        if not music:
            text = f"tune {number or '(without number)'} has no music"
            return DataError(f"{place(file, start)}: {text}; allowed: lines of notes after K:")
        text, title = "\n".join(kept), header.get("T", "")
        columns = {
            "text": text,
            "tokens": TOKEN.findall(text),
            "number": number,
            "title": title,
            "tune": _plain(title) or "".join("".join(music).split()),
            "key": header.get("K", ""),
            "meter": header.get("M", ""),
            "rhythm": header.get("R", ""),
            "transcriber": header.get("Z", ""),
        }
        return PlacedRecord(columns, file, start)

    def tune_of(self, entry: str, number: int) -> str:
        """See `Tunes`. entry: the text of a tune, or its tokens with blanks between."""
        return numbered(entry, number)

    def fault_of(self, tune: str) -> str | None:
        """See `Tunes`: it has no music, or breaks the rules of the notation."""
        (found,) = self._records(Path("sample"), enumerate(tune.split("\n"), 1))
        if isinstance(found, DataError):
            return "no music"
        return fault_of(found["text"], needs_key="K" in self.keep)


def _blocks(
    lines: Iterable[tuple[int, Line]],
) -> Iterator[tuple[int, list[Line]]]:
    """Each tune from its line X:, with the number of that line; also the lines before the first.

    After an empty line a tune continues with music or a field; other text is not part of it.
    """
    block: list[Line] = []
    start, after_empty, is_text = 1, False, False
    for number, line in lines:
        if isinstance(line, str) and not line.strip():
            after_empty = True
            continue
        if isinstance(line, str) and line.startswith("X:"):
            if block:
                yield start, block
            block, start, is_text = [], number, False
        elif isinstance(line, str) and after_empty and block:
            is_text = not (FIELD.match(line) or _is_music(line))
        after_empty = False
        if not is_text:
            block.append(line)
    if block:
        yield start, block


def _is_music(line: str) -> bool:
    line = line.partition("%")[0]
    return "|" in line or (_NOTES.fullmatch(line) is not None and _NOTE.search(line) is not None)


def _first_voice(tune: Sequence[str]) -> tuple[list[str], bool]:
    """The lines of a tune that belong to its first voice; True where there are others."""
    kept: list[str] = []
    first, now, others, in_body = "", "", False, False
    for line in tune:
        field = FIELD.match(line)
        if field is not None and field[1] == "V":
            name = (field[2].split() or [""])[0]
            if in_body:
                now = name
            elif not now:  # defined in the header: the first one is where the music starts
                now = name
            if name == (first or now):
                kept.append(line)
            continue
        in_body = in_body or (field is not None and field[1] == "K")
        if field is not None:
            if not first or now == first:
                kept.append(line)
            continue
        music, parts = [], _VOICE.split(line)
        for place_, part in enumerate(parts):
            if place_ % 2:
                now = part
            elif part.strip():
                first = first or now or "1"
                now = now or "1"
                others |= now != first
                if now == first:
                    music.append(part)
        whole = " ".join(music)
        alone = _OVERLAY.sub("", whole)
        others |= alone != whole
        if alone.strip():
            kept.append(alone)
    return kept, others


def _plain(title: str) -> str:
    """The words of a title: the same for `Kerry Cobbler, The` and `The Kerry Cobbler`."""
    without = _ARTICLE.sub("", title.casefold().strip())
    return " ".join(re.findall(r"\w+", without))
