"""Optional dependencies: libraries that only some data needs."""

import importlib
import importlib.util
import re
from types import ModuleType

from seqpipe.distribution import requirements
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
        text = f"needs {missing}, which is not installed; allowed: {command(module, extra)}"
        raise ConfigError(f"{what}: {text}") from None


def command(module: str, extra: str) -> str:
    """The command that installs a library, and what else its extra lacks.

    Args:
        module: to import, `onnx`.
        extra: of seqpipe that has it, `onnx`: `pip install "onnx>=1.17" "onnxruntime>=1.20"`.
    """
    bounds = {re.split(r"[^\w.-]", one, maxsplit=1)[0]: one for one in requirements(extra)}
    wanted = [module, *(name for name in bounds if name != module and not _is_there(name))]
    return " ".join(["pip install", *(f'"{bounds.get(name, name)}"' for name in wanted)])


def _is_there(name: str) -> bool:
    return importlib.util.find_spec(name) is not None
