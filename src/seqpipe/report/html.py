"""Blocks as one HTML file that needs nothing from outside."""

import base64
import html
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

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

_STYLE = Path(__file__).with_name("page.css")
_NUMBER = re.compile(r"(≥ )?[-+]?[\d,]*\.?\d+(e[-+]?\d+)?( ?%| s)?|nan|inf|-inf")
_LONG = 60  # characters of a cell that is given a width to be read in
_NAVIGATION_FROM = 4  # sections; a shorter page is seen at once


def to_html(blocks: Sequence[Block], folder: Path) -> str:
    """A page as HTML, with pictures inside it.

    Args:
        blocks: the first heading is the title.
        folder: where the paths of the pictures start.
    """
    title = next((block.text for block in blocks if isinstance(block, Heading)), "seqpipe")
    body = visible("\n".join(part for part in _parts(blocks, folder) if part))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(visible(title))}</title>\n"
        f"<style>\n{_STYLE.read_text(encoding='utf-8')}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>"
    )


def _parts(blocks: Sequence[Block], folder: Path) -> Iterator[str]:
    sections = [block.text for block in blocks if isinstance(block, Heading) and block.level == 2]
    left = list(range(len(sections)))
    for block in blocks:
        if isinstance(block, Heading) and block.level == 2:
            if left[0] == 0 and len(sections) >= _NAVIGATION_FROM:
                yield _navigation(sections)
            yield f'<h2 id="s{left.pop(0)}">{html.escape(block.text)}</h2>'
        else:
            yield _block(block, folder)


def _navigation(sections: Sequence[str]) -> str:
    links = [f'<a href="#s{k}">{html.escape(name)}</a>' for k, name in enumerate(sections)]
    return f'<nav aria-label="sections">{" ".join(links)}</nav>'


def _block(block: Block, folder: Path) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{html.escape(block.text)}</h{block.level}>"
    if isinstance(block, Prose):
        return _prose(visible(block.text))
    if isinstance(block, Code):
        hint = ' title="one click selects it"' if block.language == "sh" else ""
        return f'<pre class="{block.language}"{hint}><code>{html.escape(block.text)}</code></pre>'
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Tiles):
        return _tiles(block)
    assert isinstance(block, Picture)
    return _picture(block, folder)


def _prose(text: str) -> str:
    """Markdown without tags of its own, pictures, or links to scripts."""
    from markdown_it import MarkdownIt  # a refused configuration need not wait for it

    return str(MarkdownIt("commonmark", {"html": False}).disable("image").render(text)).strip()


def _table(block: Table) -> str:
    if not block.rows:
        return ""
    columns = columns_of(block.rows)
    numeric = {name: _all_numbers([row.get(name, "") for row in block.rows]) for name in columns}
    kinds = {name: ' class="number"' if numeric[name] else "" for name in columns}
    heads = "".join(f"<th{kinds[name]}>{html.escape(name)}</th>" for name in columns)
    lines = []
    for k, row in enumerate(block.rows):
        cells = "".join(_td(row.get(name, ""), kinds[name]) for name in columns)
        lines.append(f"<tr{' class=marked' if k in block.marked else ''}>{cells}</tr>")
    head = f"<thead><tr>{heads}</tr></thead>" if any(name.strip() for name in columns) else ""
    return f'<div class="wide"><table>{head}<tbody>{"".join(lines)}</tbody></table></div>'


def _all_numbers(values: Sequence[object]) -> bool:
    """Whether a column is set flush right: numbers, and some that are missing."""
    texts = [cell(value) for value in values]
    return any(texts) and all(not text or _NUMBER.fullmatch(text) for text in texts)


def _td(value: object, kind: str) -> str:
    kind = ' class="long"' if not kind and len(cell(value)) > _LONG else kind
    return f"<td{kind}>{_cell(value)}</td>"


def _cell(value: object) -> str:
    text = html.escape(cell(value))
    if isinstance(value, Link):
        return f'<a href="{html.escape(value.target.replace(" ", "%20"))}">{text}</a>'
    return text


def _tiles(block: Tiles) -> str:
    tiles = [
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}<small>{html.escape(word)}"
        "</small></dd></div>"
        for name, value, word in block.numbers
    ]
    return f"<dl>{''.join(tiles)}</dl>"


def _picture(block: Picture, folder: Path) -> str:
    path = folder / block.path
    kind = "svg+xml" if path.suffix == ".svg" else path.suffix.lstrip(".")
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    words = html.escape(path.stem.replace("_", " "))
    image = f'<img alt="{words}" src="data:image/{kind};base64,{data}">'
    caption = f"<figcaption>{_prose(block.caption)}</figcaption>" if block.caption else ""
    return f"<figure>{image}{caption}</figure>"
