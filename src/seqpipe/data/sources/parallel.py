"""Files of which line k of one is line k of the others in another language."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from seqpipe.data.base import SPLITS, Found, PlacedRecord, place
from seqpipe.data.sources.files import FileSource
from seqpipe.data.sources.text_lines import lines
from seqpipe.errors import ConfigError, DataError
from seqpipe.rules import refusal


@dataclass(kw_only=True)
class Parallel(FileSource):
    """A record a line: a column for each language, from a file of its own.

    A star in a file's name stands for the language: `train.*.gz` with languages `[de, en]` is
    train.de.gz and train.en.gz. Lines blank in all files are left out.

    Args:
        train: a name with a star, or several.
        languages: what the star stands for, which is also what the columns are called.

    Raises:
        ConfigError: fewer than two languages, a name without a star.
    """

    languages: list[str]

    def __post_init__(self) -> None:
        super().__post_init__()
        self._of_all: dict[Path, list[Path]] = {}  # the first language's file -> those of all
        problems = []
        if len(set(self.languages)) < max(2, len(self.languages)):
            wrong, allowed = "not enough of them", "two different ones or more"
            problems.append(refusal("data.source.languages", self.languages, wrong, allowed))
        for split in SPLITS:
            for name in self.names_of(split):
                if name.count("*") != 1:
                    text = "needs one star, for the language; allowed: as train.*"
                    problems.append(f"data.source.{split}={name}: {text}")
        if problems:
            raise ConfigError(problems)

    def inputs(self) -> list[Path]:
        """The files of all languages."""
        first = [file for split in SPLITS for file in self.files_of(split)]
        return [other for file in first for other in self._of_all[file]]

    def files_of(self, split: str) -> list[Path]:
        """The files of the first language, once those of the others are known to be there.

        Raises:
            DataError: one is not there.
        """
        found = []
        for name in self.names_of(split):
            files = [
                file
                for language in self.languages
                for file in self._matching(split, name.replace("*", language))
            ]
            self._of_all[files[0]] = files
            found.append(files[0])
        return self._each_once(found, split)

    def parse(self, file: Path) -> Iterator[Found]:
        """The lines of a file with those of the other languages.

        Raises:
            DataError: one has more lines than another, or cannot be read.
        """
        files = self._of_all[file]
        number = 0
        for together in zip_longest(*(lines(f, self.encoding) for f in files)):
            number += 1
            if None in together:
                self._refuse(files, number, [line is None for line in together])
            texts = [line for _, line in together if isinstance(line, str)]
            errors = [line for _, line in together if isinstance(line, DataError)]
            if errors:
                yield DataError([problem for error in errors for problem in error.problems])
                continue
            blank = [not text.strip() for text in texts]
            if any(blank) and not all(blank):
                empty, full = files[blank.index(True)], files[blank.index(False)]
                text = f"is blank, {place(full, number)} is not; allowed: text in both, or neither"
                yield DataError(f"{place(empty, number)}: {text}")
            elif not any(blank):
                stripped = (text.strip() for text in texts)
                yield PlacedRecord(dict(zip(self.languages, stripped, strict=True)), file, number)

    def _refuse(self, files: list[Path], number: int, ended: list[bool]) -> None:
        short, long = files[ended.index(True)], files[ended.index(False)]
        text = f"has no line {number}, {long} has one; allowed: as many lines in both"
        raise DataError(f"{place(short, number)}: {text}")
