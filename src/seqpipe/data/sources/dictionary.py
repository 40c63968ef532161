"""Pronunciation dictionaries: a word and its phonemes a line."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from seqpipe.data.base import Found, PlacedRecord, place
from seqpipe.data.sources.files import FileSource, Names, lines
from seqpipe.errors import DataError

_ALTERNATIVE = re.compile(r"(.+)\(\d+\)")
_COMMENT = re.compile(r"(?:^|\s)#\s.*|^;;;.*")
_STRESS = re.compile(r"(?<=[A-Za-z])[012]$")


class Dictionary(FileSource):
    """A record a line, `word PH0 PH1 ...` as in CMUdict: `word`, and `phonemes`, a list.

    ` # ...` at the end of a line and lines that start with `;;;` are comments. `word(2)` is
    another pronunciation of `word`; all of one word stay in one split.

    Args:
        train: see `FileSource`, as all that are not described here.
        valid: a share is one of the words.
        test: as `valid`.
        path: folder that the names are relative to.
        alternatives: `keep`: each pronunciation is an example; `drop`: not those of `word(2)`.
        stress: keep the 0, 1, 2 at the end of a vowel; false: AH0 becomes AH.
        encoding: of the text.
        order: random or file.
        seed: of the random order.
    """

    def __init__(
        self,
        train: Names,
        valid: Names | float = 0.1,
        test: Names | float = 0.1,
        *,
        path: str | None = None,
        alternatives: Literal["keep", "drop"] = "keep",
        stress: bool = True,
        encoding: str = "utf-8",
        order: Literal["random", "file"] = "random",
        seed: int = 0,
    ) -> None:
        super().__init__(
            train,
            valid,
            test,
            path=path,
            encoding=encoding,
            group="word",
            order=order,
            seed=seed,
        )
        self.alternatives, self.stress = alternatives, stress
        self._bare = False

    def without_y(self, column: str, known: Sequence[str]) -> str:
        """A word may stand alone."""
        self._bare = column == "phonemes"
        return ""

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
            if not phonemes and not self._bare:
                text = f"{word!r} has no phonemes; allowed: WORD PHONEME PHONEME ..."
                yield DataError(f"{place(file, number)}: {text}")
            elif alternative is None or self.alternatives == "keep":
                if not self.stress:
                    phonemes = [_STRESS.sub("", phoneme) for phoneme in phonemes]
                word = word if alternative is None else alternative[1]
                yield PlacedRecord({"word": word, "phonemes": phonemes}, file, number)
        if empty:
            raise DataError(f"{file}: holds no words; allowed: WORD PHONEME PHONEME ... a line")
