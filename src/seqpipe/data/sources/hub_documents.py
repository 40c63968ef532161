"""Long texts on the Hugging Face hub, a line a row, for language models."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from seqpipe.data.sources.files import Names
from seqpipe.data.sources.hub import Hub
from seqpipe.data.sources.stream import Documents, Line
from seqpipe.errors import DataError


class HubDocuments(Documents):
    """Documents whose lines are the rows of a set, as those of WikiText are.

    Args:
        name: see `Hub`, as are `train`, `valid`, `test`, `config`, `revision`, `streaming`.
        train: see `Hub`.
        valid: see `Hub`; a share is one of the distinct documents.
        test: as `valid`.
        column: of the set, with the lines.
        config: see `Hub`.
        revision: see `Hub`.
        path: see `Hub`.
        streaming: see `Hub`.
        start: see `Documents`, as is all that follows.
        blank_lines: see `Documents`.
        piece: characters of a record, cut at line ends.
        line_end: a word that is put at the end of each line; None: none.
        order: random or file.
        seed: of the random order.

    Raises:
        ConfigError: as `Hub` and `Documents`.
    """

    def __init__(
        self,
        name: str,
        train: Names = "train",
        valid: Names | float = "validation",
        test: Names | float = "test",
        *,
        column: str = "text",
        config: str | None = None,
        revision: str | None = None,
        path: str | None = None,
        streaming: bool = False,
        start: str | None = None,
        blank_lines: bool = False,
        piece: int = 10000,
        line_end: str | None = None,
        order: Literal["random", "file"] = "random",
        seed: int = 0,
    ) -> None:
        super().__init__(
            *(train, valid, test),
            start=start,
            blank_lines=blank_lines,
            piece=piece,
            line_end=line_end,
            order=order,
            seed=seed,
        )
        self.hub = Hub(
            *(name, train, valid, test),
            config=config,
            revision=revision,
            path=path,
            columns={column: "line"},
            streaming=streaming,
        )

    @property
    def name(self) -> str:
        """As `Hub`."""
        return self.hub.name

    def inputs(self) -> list[Path]:
        """As `Hub`."""
        return self.hub.inputs()

    def warnings(self) -> list[str]:
        """As `Hub`."""
        return self.hub.warnings()

    def files_of(self, split: str) -> list[Path]:
        """Its name in place of files; none where it is a share of train."""
        return [] if isinstance(self.names[split], float) else [Path(split)]

    def _splits_of_train(self) -> dict[str, Names]:
        """None: what it reads are splits of a set, no files."""
        return {}

    def _lines(self, file: Path) -> Iterator[Line]:
        for number, found in enumerate(self.hub.rows(file.name), 1):
            if isinstance(found, DataError):
                yield number, found
            else:
                line = str(found["line"])  # of some sets with its line end, of others without
                yield number, line if line.endswith("\n") else f"{line}\n"
