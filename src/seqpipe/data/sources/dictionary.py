"""Pronunciation dictionaries: a word and its phonemes a line."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from seqpipe.data.base import Record
from seqpipe.data.sources.files import Names
from seqpipe.data.sources.text import LineSource
from seqpipe.errors import DataError

_ALTERNATIVE = re.compile(r"(.+)\(\d+\)")
_COMMENT = re.compile(r"(?:^|\s)#\s.*|^;;;.*")
_STRESS = re.compile(r"(?<=[A-Za-z])[012]$")


@dataclass(kw_only=True)
class Dictionary(LineSource):
    """A record a line, `word PH0 PH1 ...` as in CMUdict: `word`, and `phonemes`, a list.

    ` # ...` at the end of a line and lines that start with `;;;` are comments. `word(2)` is
    another pronunciation of `word`; all of one word stay in one split.

    Args:
        valid: a share is one of the words.
        alternatives: `keep`: each pronunciation is an example; `drop`: not those of `word(2)`.
        stress: keep the 0, 1, 2 at the end of a vowel; false: AH0 becomes AH.
    """

    y_column = "phonemes"
    empty = "holds no words; allowed: lines of WORD PHONEME PHONEME ..."

    alternatives: Literal["keep", "drop"] = "keep"
    stress: bool = True
    blank: Literal["skip", "error"] = field(init=False, default="skip")
    group: Names | None = field(init=False, default="word")
    stratify: str | None = field(init=False, default=None)

    def holds(self, file: Path, labelled: bool = False) -> bool:
        """True: a line is a word, with or without its phonemes."""
        return True

    def record(self, line: str) -> Record | None:
        """The entry of a line; None for a comment, or an alternative that is dropped.

        Raises:
            DataError: it has no phonemes.
        """
        word, *phonemes = _COMMENT.sub("", line).split() or [""]
        if not word:
            return None
        if not phonemes and not self.bare:
            raise DataError(f"{word!r} has no phonemes; allowed: WORD PHONEME PHONEME ...")
        if alternative := _ALTERNATIVE.fullmatch(word):
            if self.alternatives == "drop":
                return None
            word = alternative[1]
        if not self.stress:
            phonemes = [_STRESS.sub("", phoneme) for phoneme in phonemes]
        return {"word": word, "phonemes": phonemes}
