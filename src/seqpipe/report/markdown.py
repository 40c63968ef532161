"""Blocks as Markdown."""

import re
from collections.abc import Sequence

from seqpipe.display import visible
from seqpipe.report.blocks import (
    Block,
    Code,
    Heading,
    Link,
    Picture,
    Prose,
    Table,
    Tiles,
    cell,
    columns_of,
)
from seqpipe.report.findings import Row

_MARKS = re.compile(
    r"[\\`*|<$~]|(?<=!)\[|\[(?=[^]]*\][(\[:])|&(?=#?\w+;)"
    r"|(?<![^\W_])_|_(?![^\W_])|^#+(?= )|^[-+>](?= )"
)


def to_markdown(blocks: Sequence[Block]) -> str:
    """A page as Markdown. What stands in tables is text, never HTML or a picture."""
    parts = [_block(block) for block in blocks]
    return visible("\n\n".join(part for part in parts if part))


def table(rows: Sequence[Row]) -> str:
    """Rows as a Markdown table."""
    if not rows:
        return ""
    columns = columns_of(rows)
    lines = [list(map(escaped, columns)), ["---"] * len(columns)]
    lines += [[_cell(row.get(column, "")) for column in columns] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _block(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {escaped(' '.join(block.text.split()))}"
    if isinstance(block, Prose):
        return block.text
    if isinstance(block, Code):
        fence = "`" * (1 + max(map(len, re.findall("`{3,}", block.text)), default=2))
        return f"{fence}{block.language}\n{block.text}\n{fence}"
    if isinstance(block, Table):
        return table(block.rows)
    if isinstance(block, Tiles):
        return table([{"": name, " ": value, "  ": word} for name, value, word in block.numbers])
    assert isinstance(block, Picture)
    picture = f"![{block.path.stem.replace('_', ' ')}]({block.path.as_posix()})"
    return f"{picture}\n\n{block.caption}" if block.caption else picture


def _cell(value: object) -> str:
    if isinstance(value, Link):
        return f"[{escaped(cell(value))}]({value.target.replace(' ', '%20')})"
    return escaped(cell(value))


def in_code(text: str) -> str:
    """A name within a sentence, in the type of code: whatever it holds ends nothing.

    >>> print(in_code("val/f1/`a`"))
    `` val/f1/`a` ``
    """
    line = " ".join(text.split())
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    return f"{fence} {line} {fence}" if len(fence) > 1 else f"`{line}`"


def escaped(text: str) -> str:
    """Text that Markdown shows as it is: no end of a cell, no tag, link or emphasis."""
    return _MARKS.sub(r"\\\g<0>", text)
