"""What a page is made of. The same blocks become Markdown and HTML, so both say the same."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seqpipe.report.findings import Row

LONGEST_CELL = 300  # characters of an example on the page; examples.csv has all


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the page's title."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Prose:
    """Sentences of ours, in Markdown."""

    text: str


@dataclass(frozen=True)
class Code:
    """Text that is shown as it is, such as a command."""

    text: str
    language: str = "text"


@dataclass(frozen=True)
class Table:
    """Rows; the columns are those of all rows, in the order they first appear.

    Args:
        rows: any text may stand in them.
        marked: numbers of the rows that stand out.
    """

    rows: Sequence[Row]
    marked: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Tiles:
    """A few numbers that are seen first: (name, value, a word about it)."""

    numbers: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class Picture:
    """A file in the page's folder, with what is read below it."""

    path: Path
    caption: str


@dataclass(frozen=True)
class Link:
    """A cell that leads to a file or folder, relative to the page."""

    text: str
    target: str

    def __str__(self) -> str:
        return self.text


Block = Heading | Prose | Code | Table | Tiles | Picture


def columns_of(rows: Sequence[Row]) -> list[str]:
    """The columns of all rows, in the order they first appear."""
    return list(dict.fromkeys(column for row in rows for column in row))


def number(value: float) -> str:
    """A number for people: 0.9877, 1,234.5, 1.23e-05."""
    if not math.isfinite(value):
        return str(value)
    if abs(value) < 1:
        return f"{value:.4g}"
    if abs(value) >= 10_000:
        return f"{value:,.0f}" if abs(value) < 1e9 else f"{value:.4g}"
    return f"{value:,.4f}".rstrip("0").rstrip(".")


def cell(value: object) -> str:
    """An entry of a table on one line, cut where it is too long."""
    told = number(value) if isinstance(value, float) else str(value)
    if type(value) is int and abs(value) >= 10_000:
        told = f"{value:,}"
    text = " ".join(told.split())
    return text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 1]}…"
