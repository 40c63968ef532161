"""A progress bar for work on many records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from types import TracebackType
from typing import TypeVar

from rich.progress import MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from seqpipe.console import PlainConsole
from seqpipe.display import visible

Item = TypeVar("Item")
_EVERY = 64  # records between two updates of the bar


class Progress:
    """Counts records as they pass. On a terminal it shows them; elsewhere it is silent.

    Args:
        show: False: never.
        doing: the work, in words.
    """

    def __init__(self, show: bool = True, doing: str = "preparing data") -> None:
        console = PlainConsole(stderr=True)
        self._bar = Bar(
            SpinnerColumn(),
            TextColumn(f"{doing}: {{task.description}}", markup=False),
            MofNCompleteColumn(),
            TextColumn("records,"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not (show and console.is_terminal),
        )

    def __enter__(self) -> Progress:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove the bar."""
        self._bar.stop()

    def count(self, items: Iterable[Item], what: str) -> Iterator[Item]:
        """The items, counted under a name; how many there are is known from an earlier pass."""
        if self._bar.disable:
            yield from items
            return
        total = len(items) if isinstance(items, Sized) else None
        task = self._bar.add_task(visible(what), total=total)
        number = 0
        for number, item in enumerate(items, 1):
            yield item
            if number % _EVERY == 0:
                self._bar.update(task, completed=number)
        self._bar.update(task, completed=number, total=number)
