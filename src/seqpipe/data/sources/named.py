"""Well-known data sets: local files where they are, the hub where the machine can reach it."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from seqpipe.data.base import Found, Source, Splits
from seqpipe.data.sources.argument_checks import MissingFiles
from seqpipe.errors import ConfigError, DataError
from seqpipe.files import exists


class Named(Source):
    """A data set by its name: its files in a folder, or else from a hub.

    Args:
        path: folder with the files of its official format; None: from the hub.
        get: how to get the files, for the message where they are missing.
        local: makes the source of the files, given `path`.
        hub: makes the source that fetches them; None where no hub has them.
        default_folder: becomes `path` where the configuration is composed, if that is None and this
            folder exists; here only for the message.

    Raises:
        ConfigError: no path and no hub, no such folder, or what the chosen source refuses.
    """

    inner = "local"

    def __init__(
        self,
        path: str | None,
        get: str,
        local: Callable[..., Source],
        hub: Callable[..., Source] | None = None,
        default_folder: str | None = None,
    ) -> None:
        default = "" if default_folder is None else f" or the folder {default_folder},"
        allowed = f"data.path=FOLDER,{default} which holds {get}"
        if path is None and hub is None:
            raise ConfigError(f"data.path=null: there are no files to read; allowed: {allowed}")
        if path is not None and not exists(Path(path)):
            text = f"no such folder in {Path.cwd()}"
            raise ConfigError(f"data.path={path}: {text}; allowed: {allowed}")
        self.from_hub = path is None
        asked = "would be read from the hub" if self.from_hub else "is the wrong folder"
        self._advice = f"data.path={'null' if path is None else path}: {asked}; allowed: {allowed}"
        with self._errors_with_advice():
            self.source = local(path=path) if path is not None or hub is None else hub()

    def read(self) -> Splits:
        """Read the chosen source.

        Raises:
            DataError: the source cannot be read; where that is the hub, with how to get the files.
        """
        with self._errors_with_advice():
            return self.source.read()

    def whole(self, split: str) -> Iterable[Found]:
        """See `Source`."""
        with self._errors_with_advice():
            return self.source.whole(split)

    def examples(self) -> Iterable[Found]:
        """Those of the chosen source."""
        return self.source.examples()

    def inputs(self) -> list[Path]:
        """Those of the chosen source.

        Raises:
            DataError: as `read`.
        """
        with self._errors_with_advice():
            return self.source.inputs()

    @contextmanager
    def _errors_with_advice(self) -> Iterator[None]:
        """Add how to get the files to errors about missing files or the hub."""
        try:
            yield
        except MissingFiles as error:
            raise MissingFiles([*error.problems, self._advice]) from None
        except (ConfigError, DataError) as error:
            if not self.from_hub:
                raise
            raise type(error)([*error.problems, self._advice]) from None
