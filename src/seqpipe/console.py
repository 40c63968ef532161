"""Rich's console for text that may be the user's."""

from typing import Any

from rich.console import Console

from seqpipe.display import visible

WIDTH = 140


class PlainConsole(Console):
    """Rich's console without markup: `[/red]` and `:smile:` are plain text.

    Where no terminal is, it is `WIDTH` columns wide: a file or a pipe has no width of its own.

    Args:
        **options: as of `rich.console.Console`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "highlight": False, "emoji": False, **options})
        if not self.is_terminal and "width" not in options:
            self.width = WIDTH

    def render_str(self, text: str, **options: Any) -> Any:
        """Renders every plain string that is printed, also cells and titles of tables."""
        return super().render_str(visible(text), **options)
