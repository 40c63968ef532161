"""Files whose names give columns of their records: sound files and video clips."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from seqpipe.data.sources.argument_checks import compiled
from seqpipe.data.sources.files import FileSource
from seqpipe.errors import ConfigError, DataError
from seqpipe.rules import refusal


@dataclass(kw_only=True)
class NamedFiles(FileSource):
    r"""A source of files whose names are matched with a regular expression.

    Args:
        pattern: a regular expression for the whole name of a file without its ending, or of a
            folder; each named group, `(?P<label>[a-z]+)_\d+`, is a column. None: the name gives
            no columns.

    Raises:
        ConfigError: a pattern that is none, names no column, or one of `own_columns`.

    Attributes:
        own_columns: the columns that every record has.
    """

    class_depth = 2
    own_columns: ClassVar[tuple[str, ...]] = ()

    pattern: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pattern is None:
            self._name = None
            return
        key, example = "data.source.pattern", r"as (?P<word>\w+)_(?P<take>\d+)"
        self._name = compiled(key, self.pattern, example)
        if not self.name_columns:
            raise ConfigError(refusal(key, self.pattern, "has no named group", example))
        if taken := [name for name in self.name_columns if name in self.own_columns]:
            wrong = f"{', '.join(taken)} is a column of every record"
            raise ConfigError(refusal(key, self.pattern, wrong, "another name"))

    @property
    def name_columns(self) -> list[str]:
        """The columns that the names of files give."""
        return [] if self._name is None else list(self._name.groupindex)

    def without_y(self, column: str, known: Sequence[str]) -> str:
        """A name need not fit the pattern that holds the column."""
        self.bare = column in self.name_columns
        return ""

    def columns_of(self, name: str, where: str) -> dict[str, str]:
        """The columns that a name gives.

        Args:
            name: without the ending.
            where: the place of the file, for the message.

        Raises:
            DataError: it does not match the pattern, and is to hold y.
        """
        match = None if self._name is None else self._name.fullmatch(name)
        if match is None and self._name is not None and not self.bare:
            text = f"{name!r} does not match data.source.pattern={self.pattern}"
            raise DataError(f"{where}: {text}; allowed: a pattern for the whole name")
        return {} if match is None else {key: text or "" for key, text in match.groupdict().items()}
