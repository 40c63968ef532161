"""Writes the parts of a page as Markdown: headings, commands, tables, pictures.

Headings, tables and commands may contain text of the user's data. It is escaped: it is shown as
it is, and cannot end a cell, open a tag or load a picture.
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from seqpipe.report.findings import Row

LONGEST_CELL = 300  # characters of an example on the page; examples.csv has all of them
_MARKS = re.compile(
    r"[\\`*|<$~]|(?<=!)\[|\[(?=[^]]*\][(\[:])|&(?=#?\w+;)"
    r"|(?<![^\W_])_|_(?![^\W_])|^#+(?= )|(?<= )#+$|^[-+>](?= )"
)
_NUMBER = re.compile(r"(≥ )?[-+]?[\d,]*\.?\d+(e[-+]?\d+)?( ?%| s)?|nan|inf|-inf")


class Markup(str):
    """A cell of a table that is Markdown already, such as a link; all other cells are escaped."""


def heading(text: str, level: int = 2) -> str:
    """A heading; level 1 is the page's title."""
    return f"{'#' * level} {escaped(' '.join(text.split()))}"


def code(text: str, language: str = "text") -> str:
    """A block of text that is shown as it is, such as a command (language `sh`)."""
    fence = "`" * (1 + max(map(len, re.findall("`{3,}", text)), default=2))
    return f"{fence}{language}\n{text}\n{fence}"


def table(rows: Sequence[Row]) -> str:
    """A table with the columns of all rows; columns of numbers are flush right."""
    columns = columns_of(rows)
    if not columns:
        return ""
    texts = {column: [cell(row.get(column, "")) for row in rows] for column in columns}
    lines = [list(map(escaped, columns))]
    lines.append(["---:" if _all_numbers(texts[column]) else "---" for column in columns])
    for place, row in enumerate(rows):
        marked = {name for name in columns if isinstance(row.get(name), Markup)}
        lines.append([str(row[n]) if n in marked else escaped(texts[n][place]) for n in columns])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def picture(path: Path, text: str = "") -> str:
    """A picture in the page's folder; without an alternative text, its file name is one."""
    return f"![{escaped(text or path.stem.replace('_', ' '))}]({quote(path.as_posix())})"


def link(text: str, target: str) -> Markup:
    """A link to a file or folder, relative to the page."""
    return Markup(f"[{escaped(cell(text))}]({quote(target)})")


def in_code(text: str) -> str:
    """A name within a sentence, in the type of code; no character in it can end it.

    >>> print(in_code("val/f1/`a`"))
    `` val/f1/`a` ``
    """
    line = " ".join(text.split())
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    return f"{fence} {line} {fence}" if len(fence) > 1 else f"`{line}`"


def escaped(text: str) -> str:
    """Text that Markdown shows as it is: no end of a cell, no tag, link or emphasis."""
    return _MARKS.sub(r"\\\g<0>", text)


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
    text = number(value) if isinstance(value, float) else str(value)
    if type(value) is int and abs(value) >= 10_000:
        text = f"{value:,}"
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_CELL else f"{line[: LONGEST_CELL - 1]}…"


def _all_numbers(texts: Sequence[str]) -> bool:
    """True for a column of numbers, some of which may be missing."""
    return any(texts) and all(not text or _NUMBER.fullmatch(text) for text in texts)
