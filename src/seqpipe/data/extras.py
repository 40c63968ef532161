"""Libraries that only some data needs, asked for where they are missing."""

import importlib
from types import ModuleType

from seqpipe.errors import ConfigError


def need(module: str, *, extra: str, what: str) -> ModuleType:
    """Import a library of an optional extra.

    Args:
        module: to import, `soundfile`.
        extra: of seqpipe that installs it, `audio`.
        what: needs it, as typed in the configuration: `data.source=Audio`.

    Raises:
        ConfigError: it is not installed, with the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = error.name or module
        text = f"needs {missing}, which is not installed; allowed: pip install 'seqpipe[{extra}]'"
        raise ConfigError(f"{what}: {text}") from None
