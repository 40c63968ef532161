"""Records that know where they were found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class OneLabel(str):
    """A label that its file marks as one label, even if it has a separator: `R&B|Soul`."""

    __slots__ = ()


class PlacedRecord(dict[str, Any]):
    """A record that knows where it was found.

    Args:
        columns: column -> value.
        file: its file; None if there is none.
        line: its first line, from 1; None if the format has no lines.
        goes_on: the next record continues this one: no <EOS> between them, the state is carried.
    """

    __slots__ = ("file", "goes_on", "line")

    def __init__(
        self,
        columns: Mapping[str, Any],
        file: Path | str | None = None,
        line: int | None = None,
        *,
        goes_on: bool = False,
    ) -> None:
        super().__init__(columns)
        self.file, self.line, self.goes_on = file, line, goes_on

    @property
    def place(self) -> str:
        """The start of a message about the record: `reviews.csv:17`."""
        return place(self.file, self.line)


def place(file: Path | str | None, line: int | None = None) -> str:
    """Format `file:line`, or `file` without lines."""
    return f"{file}" if line is None else f"{file}:{line}"
