"""Text files with an example a line."""

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import ClassVar, Literal

from seqpipe.data.base import Found, OneLabel, PlacedRecord, Record, place
from seqpipe.data.sources.files import FileSource
from seqpipe.data.sources.table_formats import CARRIAGE_RETURN
from seqpipe.data.sources.text_lines import at_least_one, lines
from seqpipe.errors import DataError

FASTTEXT = "__label__"
SEVERAL = "task=multi_label data.y._target_=seqpipe.data.fields.multilabel.MultiLabel"


@dataclass(kw_only=True)
class LineSource(FileSource):
    """A record a line: a subclass says in `record` what one holds.

    Blank lines, bytes of another encoding, and the place of what is wrong are handled here.

    Args:
        blank: lines without text are left out (`skip`), or refused (`error`).

    Attributes:
        empty: the error of a file without a record.
    """

    empty: ClassVar[str] = "holds no text; allowed: one example per line"

    blank: Literal["skip", "error"] = "skip"

    @abstractmethod
    def record(self, line: str) -> Record | None:
        """The record of one line, which is not blank; None where it holds none, as a comment.

        Raises:
            DataError: what is wrong with it; what is allowed. A ValueError or TypeError says as
                much; its place is put before either.
        """

    def parse(self, file: Path) -> Iterator[Found]:
        """The lines of one file.

        Raises:
            DataError: it is empty, or cannot be read.
        """
        found = (self._found(file, *numbered) for numbered in lines(file, self.encoding))
        yield from at_least_one((one for one in found if one is not None), f"{file}: {self.empty}")

    def _found(self, file: Path, number: int, line: str | DataError) -> Found | None:
        if isinstance(line, DataError):
            return line
        if not line.strip():
            if self.blank == "skip":
                return None
            text = "is blank; allowed: text, or data.source.blank=skip"
            return DataError(f"{place(file, number)}: {text}")
        if "\r" in line:
            return DataError(f"{place(file, number)}: {CARRIAGE_RETURN}")
        try:
            record = self.record(line)
            return None if record is None else PlacedRecord(record, file, number)
        except (DataError, TypeError, ValueError) as error:
            return DataError(f"{place(file, number)}: {error}")


@dataclass(kw_only=True)
class Lines(LineSource):
    """A record a line, `text`, white space at its ends left out.

    Args:
        distinct: keep only the first of equal lines of a file.
    """

    distinct: bool = False

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

    def record(self, line: str) -> Record:
        """The text, white space at its ends left out."""
        return {"text": line.strip()}


_LOOKED_AT = 1_000  # lines that show whether a file has labels


@dataclass(kw_only=True)
class LabelledLines(LineSource):
    """A record a line, `LABEL text`: `label` before the first white space, `text` after it.

    With a prefix a line may have several labels, `__label__a __label__b text`. They are a list
    then, which `multilabel.MultiLabel` reads and `labels.Category` refuses; each is one label,
    whatever signs it holds.

    Args:
        prefix: what every label starts with, left out of it: `__label__` of fastText. All words
            at the start of a line that start with it are labels.
    """

    prefix: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._known: frozenset[str] | None = None  # to predict: the labels, which may be missing

    def without_y(self, column: str, known: Sequence[str]) -> str:
        """Lines of a file that mostly start with no known label are texts, without a label."""
        if column == "label":
            self._known = frozenset(known)
        return ""

    def holds(self, file: Path, labelled: bool = False) -> bool:
        """True: a line is read as one of the training, with or without its label."""
        return True

    def parse(self, file: Path) -> Iterator[Found]:
        """The lines of one file; see `without_y`."""
        if self._known is not None:
            self.bare = not self._are_labelled(file, self._known)
        yield from super().parse(file)

    def _are_labelled(self, file: Path, known: frozenset[str]) -> bool:
        """True where half the lines or more, of the first thousand, start with a known label."""
        texts = (line for _, line in lines(file, self.encoding) if isinstance(line, str))
        first = [line.split()[0] for line in islice((t for t in texts if t.strip()), _LOOKED_AT)]
        labels = [word for word in first if word.startswith(self.prefix)]
        return 2 * sum(word.removeprefix(self.prefix) in known for word in labels) >= len(first)

    def record(self, line: str) -> Record:
        """The label and the text.

        Raises:
            DataError: one of the two is missing, or the prefix; or the text holds a label.
        """
        if self.bare:
            return {"text": line.strip()}
        label, *rest = line.split(maxsplit=1)
        if not rest:
            raise DataError(f"{label!r} has no text after it; allowed: LABEL text")
        if not label.startswith(self.prefix):
            text = f"does not start with {self.prefix}; allowed: {self.prefix}LABEL text"
            raise DataError(f"{label!r} {text}")
        labels, text = [label.removeprefix(self.prefix)], rest[0].rstrip()
        while self.prefix and text.startswith(self.prefix):
            label, *rest = text.split(maxsplit=1)
            if not rest:
                raise DataError(f"{label!r} has no text after it; allowed: {self.prefix}LABEL text")
            labels.append(label.removeprefix(self.prefix))
            text = rest[0]
        if "" in labels:
            raise DataError(f"{self.prefix!r} has no label after it; allowed: {self.prefix}LABEL")
        self._refuse_within(label, text)
        if not self.prefix:
            return {"label": labels[0], "text": text}
        return {"label": OneLabel(labels[0]) if len(labels) == 1 else labels, "text": text}

    def _refuse_within(self, label: str, text: str) -> None:
        """Refuse a label that would be read as a word of the text.

        A prefix of one sign, as #, may start words of a text as well.
        """
        usual = FASTTEXT if not self.prefix and label.startswith(FASTTEXT) else self.prefix
        inside = [one for one in text.split() if len(usual) > 1 and one.startswith(usual)]
        if inside and self.prefix:
            before = f"labels before the text, as {label} {inside[0]} text"
            raise DataError(f"{inside[0]!r} is inside the text; allowed: {before}")
        if inside:
            several = f"data.source.prefix={usual}, and for several labels a line also {SEVERAL}"
            raise DataError(f"{inside[0]!r} would be a word of the text; allowed: {several}")
