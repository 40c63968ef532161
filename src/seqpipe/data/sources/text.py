"""Text files with an example a line."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from seqpipe.data.base import Found, PlacedRecord, place
from seqpipe.data.sources.files import FileSource, Names, lines
from seqpipe.errors import DataError


class _Lines(FileSource):
    """What Lines and LabelledLines share: blank lines, and a file that holds nothing else."""

    blank: str

    def parse(self, file: Path) -> Iterator[Found]:
        """The lines of one file.

        Raises:
            DataError: it is empty, or cannot be read.
        """
        empty = True
        for number, line in lines(file, self.encoding):
            if isinstance(line, DataError):
                yield line
            elif line.strip():
                yield self._record(line, file, number)
            elif self.blank == "error":
                text = "is blank; allowed: text, or data.source.blank=skip"
                yield DataError(f"{place(file, number)}: {text}")
            empty = empty and not (isinstance(line, DataError) or line.strip())
        if empty:
            raise DataError(f"{file}: holds no text; allowed: an example a line")

    def _record(self, line: str, file: Path, number: int) -> Found:
        raise NotImplementedError


class Lines(_Lines):
    """A record a line, `text`, white space at its ends left out.

    Args:
        train: see `FileSource`, as all that are not described here.
        valid: a share is one of the distinct lines.
        test: as `valid`.
        path: folder that the names are relative to.
        blank: lines without text are left out (`skip`), or refused (`error`).
        encoding: of the text.
        group: columns; records alike in all of them stay in one split.
        stratify: a column; each split gets the same share of each of its values.
        order: random or file.
        seed: of the random order.
        distinct: keep only the first of the lines of a file that are alike.
    """

    def __init__(
        self,
        train: Names,
        valid: Names | float = 0.1,
        test: Names | float = 0.1,
        *,
        path: str | None = None,
        blank: Literal["skip", "error"] = "skip",
        encoding: str = "utf-8",
        group: Names | None = None,
        stratify: str | None = None,
        order: Literal["random", "file"] = "random",
        seed: int = 0,
        distinct: bool = False,
    ) -> None:
        super().__init__(
            train,
            valid,
            test,
            path=path,
            encoding=encoding,
            group=group,
            stratify=stratify,
            order=order,
            seed=seed,
        )
        self.blank, self.distinct = blank, distinct

    def parse(self, file: Path) -> Iterator[Found]:
        """The lines of one file.

        Raises:
            DataError: it is empty, or cannot be read.
        """
        seen: set[bytes] = set()  # a clash among a million lines has a chance of 1 in 10^7
        for found in super().parse(file):
            if self.distinct and not isinstance(found, DataError):
                text = found["text"].encode("utf-8", "surrogatepass")
                alike = hashlib.blake2b(text, digest_size=8).digest()
                if alike in seen:
                    continue
                seen.add(alike)
            yield found

    def _record(self, line: str, file: Path, number: int) -> Found:
        return PlacedRecord({"text": line.strip()}, file, number)


class LabelledLines(_Lines):
    """A record a line, `LABEL text`: `label` before the first white space, `text` after it.

    Args:
        train: see `FileSource`, as all that are not described here.
        valid: a share is one of the distinct texts.
        test: as `valid`.
        path: folder that the names are relative to.
        prefix: what every label starts with, left out of it: `__label__` of fastText.
        blank: lines without text are left out (`skip`), or refused (`error`).
        encoding: of the text.
        group: columns; records alike in all of them stay in one split.
        stratify: a column; each split gets the same share of each of its values.
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
        prefix: str = "",
        blank: Literal["skip", "error"] = "skip",
        encoding: str = "utf-8",
        group: Names | None = None,
        stratify: str | None = None,
        order: Literal["random", "file"] = "random",
        seed: int = 0,
    ) -> None:
        super().__init__(
            train,
            valid,
            test,
            path=path,
            encoding=encoding,
            group=group,
            stratify=stratify,
            order=order,
            seed=seed,
        )
        self.blank, self.prefix = blank, prefix

    def _record(self, line: str, file: Path, number: int) -> Found:
        label, *rest = line.split(maxsplit=1)
        where = place(file, number)
        if not rest:
            return DataError(f"{where}: {label!r} stands alone; allowed: LABEL text")
        if not label.startswith(self.prefix):
            text = f"does not start with {self.prefix}; allowed: {self.prefix}LABEL text"
            return DataError(f"{where}: {label!r} {text}")
        text = rest[0].rstrip()
        return PlacedRecord({"label": label.removeprefix(self.prefix), "text": text}, file, number)
