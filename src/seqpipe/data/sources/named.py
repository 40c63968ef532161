"""Well-known data sets: local files where they are, the hub where the machine can reach it."""

from collections.abc import Callable, Sequence
from pathlib import Path

from seqpipe.data.base import Source, Splits
from seqpipe.errors import ConfigError, DataError


class Named(Source):
    """A data set by its name: its files in a folder, or else from a hub.

    Args:
        path: folder with the files of its official format; None: from the hub.
        get: how to get the files, for the message where they are missing.
        local: makes the source of the files, given `path`.
        hub: makes the source that fetches them; None where no hub has them.

    Raises:
        ConfigError: no path and no hub, or no such folder.
    """

    def __init__(
        self,
        path: str | None,
        get: str,
        local: Callable[..., Source],
        hub: Callable[..., Source] | None = None,
    ) -> None:
        allowed = f"data.path=FOLDER, which holds {get}"
        if path is None and hub is None:
            raise ConfigError(f"data.path=null: there are no files to read; allowed: {allowed}")
        if path is not None and not Path(path).exists():
            text = f"no such folder in {Path.cwd()}"
            raise ConfigError(f"data.path={path}: {text}; allowed: {allowed}")
        self.from_hub, self.allowed = path is None, allowed
        self.source = local(path=path) if path is not None or hub is None else hub()

    def read(self) -> Splits:
        """What the chosen source reads.

        Raises:
            DataError: the source cannot be read, with how to get the files.
        """
        try:
            return self.source.read()
        except DataError as error:
            told = f"data.path=null: the hub cannot be reached; allowed: {self.allowed}"
            raise DataError([*error.problems, *([told] if self.from_hub else [])]) from None

    def inputs(self) -> list[Path]:
        """Those of the chosen source."""
        return self.source.inputs()

    def keep_together(self, columns: Sequence[str]) -> None:
        """Told to the chosen source."""
        self.source.keep_together(columns)
