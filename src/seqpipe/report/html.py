"""Turns the Markdown of a page into one HTML file that needs nothing from outside."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

_STYLE = Path(__file__).with_name("page.css")
_LONG = 60  # characters of a cell that is given a width to be read in
_NAVIGATION_FROM = 4  # sections; a shorter page is seen at once


def to_html(markdown: str, folder: Path) -> str:
    """A page as HTML, with the pictures of its folder inside it.

    Tags in the Markdown are shown as text. A picture is shown if it lies in `figures/` of the
    folder; of any other picture only the description is left.

    Args:
        markdown: the page; its first heading is the title.
        folder: where the page lies.
    """
    reader = MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer).enable("table")
    tokens = reader.parse(markdown)
    headings = [(t.tag, tokens[k + 1]) for k, t in enumerate(tokens) if t.type == "heading_open"]
    title = html.escape(_words(headings[0][1])) if headings else "seqpipe"
    sections = [_words(inline) for tag, inline in headings if tag == "h2"]
    env = {"folder": folder, "sections": sections, "begun": 0}
    body = reader.renderer.render(tokens, reader.options, env).strip()
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n"
        f"<style>\n{_STYLE.read_text(encoding='utf-8')}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>"
    )


class _Renderer(RendererHTML):
    """Renders the tokens of a page; each method is named after the token that it renders."""

    def heading_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """Gives sections an id, and puts links to all before the first if there are many."""
        token = tokens[idx]
        if token.tag != "h2":
            return self.renderToken(tokens, idx, options, env)
        number, sections = env["begun"], env["sections"]
        env["begun"] += 1
        links = [f'<a href="#s{k}">{html.escape(name)}</a>' for k, name in enumerate(sections)]
        shown = number == 0 and len(sections) >= _NAVIGATION_FROM
        navigation = f'<nav aria-label="sections">{" ".join(links)}</nav>\n' if shown else ""
        return f'{navigation}<h2 id="s{number}">'

    def fence(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """A command is selected by one click, see page.css."""
        language = html.escape(tokens[idx].info)
        hint = ' title="one click selects it"' if language == "sh" else ""
        text = html.escape(tokens[idx].content.removesuffix("\n"))
        return f'<pre class="{language}"{hint}><code>{text}</code></pre>\n'

    def table_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """A wide table scrolls by itself, not with the page."""
        return '<div class="wide"><table>\n'

    def table_close(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return "</table></div>\n"

    def th_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """The heading of a column is aligned with it."""
        return f"<th{_kind(tokens, idx)}>"

    def td_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """Numbers are flush right; long text is given a width to be read in."""
        return f"<td{_kind(tokens, idx)}>"

    def paragraph_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """A picture by itself is a figure."""
        if _is_picture(tokens[idx + 1]):
            return "<figure>"
        return super().renderToken(tokens, idx, options, env)

    def paragraph_close(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        if _is_picture(tokens[idx - 1]):
            return "</figure>\n"
        return super().renderToken(tokens, idx, options, env)

    def image(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """Embeds a picture of the page's own folder; of any other, the text is shown."""
        source, text = unquote(str(tokens[idx].attrs["src"])), html.escape(tokens[idx].content)
        path = env["folder"] / source
        if path.parent != env["folder"] / "figures" or not path.is_file():
            return text
        kind = "svg+xml" if path.suffix == ".svg" else path.suffix.lstrip(".")
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        return f'<img alt="{text}" src="data:image/{html.escape(kind)};base64,{data}">'


def _words(inline: Token) -> str:
    """The text of a heading, without its escapes and marks."""
    return "".join(child.content for child in inline.children or ())


def _is_picture(inline: Token) -> bool:
    return [child.type for child in inline.children or ()] == ["image"]


def _kind(tokens: Sequence[Token], idx: int) -> str:
    if tokens[idx].attrs.get("style") == "text-align:right":
        return ' class="number"'
    is_long = tokens[idx].tag == "td" and len(_words(tokens[idx + 1])) > _LONG
    return ' class="long"' if is_long else ""
