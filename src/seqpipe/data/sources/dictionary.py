"""Pronunciation dictionaries: a word and its phonemes a line."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from seqpipe.data.base import Found, PlacedRecord, place
from seqpipe.data.sources.files import FileSource, Names
from seqpipe.data.sources.text_lines import lines
from seqpipe.errors import DataError

_ALTERNATIVE = re.compile(r"(.+)\(\d+\)")
_COMMENT = re.compile(r"(?:^|\s)#\s.*|^;;;.*")
_STRESS = re.compile(r"(?<=[A-Za-z])[012]$")


@dataclass(kw_only=True)
class Dictionary(FileSource):
    """A record a line, `word PH0 PH1 ...` as in CMUdict: `word`, and `phonemes`, a list.

    ` # ...` at the end of a line and lines that start with `;;;` are comments. `word(2)` is
    another pronunciation of `word`; all of one word stay in one split.

    Args:
        valid: a share is one of the words.
        alternatives: `keep`: each pronunciation is an example; `drop`: not those of `word(2)`.
        stress: keep the 0, 1, 2 at the end of a vowel; false: AH0 becomes AH.
    """

    y_column = "phonemes"

    alternatives: Literal["keep", "drop"] = "keep"
    stress: bool = True
    group: Names | None = field(init=False, default="word")
    stratify: str | None = field(init=False, default=None)

    def holds(self, file: Path, labelled: bool = False) -> bool:
        """True: a line is a word, with or without its phonemes."""
        return True

    def parse(self, file: Path) -> Iterator[Found]:
        """The entries of one file.

        Raises:
            DataError: it is empty, or cannot be read.
        """
        empty = True
        for number, line in lines(file, self.encoding):
            if isinstance(line, DataError):
                empty = False
                yield line
                continue
            entry = _COMMENT.sub("", line).split()
            if not entry:
                continue
            empty = False
            word, *phonemes = entry
            alternative = _ALTERNATIVE.fullmatch(word)
            if not phonemes and not self.bare:
                text = f"{word!r} has no phonemes; allowed: WORD PHONEME PHONEME ..."
                yield DataError(f"{place(file, number)}: {text}")
            elif alternative is None or self.alternatives == "keep":
                if not self.stress:
                    phonemes = [_STRESS.sub("", phoneme) for phoneme in phonemes]
                word = word if alternative is None else alternative[1]
                yield PlacedRecord({"word": word, "phonemes": phonemes}, file, number)
        if empty:
            raise DataError(f"{file}: holds no words; allowed: WORD PHONEME PHONEME ... a line")
