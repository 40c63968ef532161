"""Long texts on the Hugging Face hub, a line a row, for language models."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from seqpipe.data.sources.argument_checks import NamesOrShare
from seqpipe.data.sources.files import Names
from seqpipe.data.sources.hub import Hub
from seqpipe.data.sources.stream import Documents, Line
from seqpipe.errors import DataError


@dataclass(kw_only=True)
class HubDocuments(Documents):
    """Documents whose lines are the rows of a set, as those of WikiText are.

    Args:
        name: see `Hub`, as are `train`, `valid`, `test`, `config`, `revision`, `streaming`.
        column: of the set, with the lines.
        config: see `Hub`.
        revision: see `Hub`.
        streaming: see `Hub`.

    Raises:
        ConfigError: as `Hub` and `Documents`.
    """

    name: str
    train: Names = "train"
    valid: NamesOrShare = "validation"
    test: NamesOrShare = "test"
    column: str = "text"
    config: str | None = None
    revision: str | None = None
    streaming: bool = False
    encoding: str = field(init=False, default="utf-8")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.as_one()  # it reads splits of a set, no files
        self.hub = Hub(
            name=self.name,
            train=self.train,
            valid=self.valid,
            test=self.test,
            config=self.config,
            revision=self.revision,
            path=self.path,
            columns={self.column: "line"},
            streaming=self.streaming,
        )

    def inputs(self) -> list[Path]:
        """See `Hub`."""
        return self.hub.inputs()

    def warnings(self) -> list[str]:
        """See `Hub`."""
        return self.hub.warnings()

    def files_of(self, split: str) -> list[Path]:
        """Its name in place of files; none where it is a share of train."""
        return [] if split in self.shares else [Path(split)]

    def _lines(self, file: Path) -> Iterator[Line]:
        for number, found in enumerate(self.hub.rows(file.name), 1):
            if isinstance(found, DataError):
                yield number, found
            else:
                line = str(found["line"])  # of some sets with its line end, of others without
                yield number, line if line.endswith("\n") else f"{line}\n"
