"""seqpipe: recurrent sequence models from YAML, with experiment tracking.

import seqpipe

model = seqpipe.load("outputs/runs/.../")     # or "latest", a run id, "models:/name@champion"
model.predict(["a film to remember"])
"""

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any

from seqpipe._version import __version__

if TYPE_CHECKING:
    from seqpipe.api import load
    from seqpipe.inference.model import Model

__all__ = ["Model", "__version__", "load"]


def _import_matplotlib() -> None:
    """Import matplotlib although MPLBACKEND may name a backend that is not installed here.

    A notebook leaves its own to the commands it starts. With it matplotlib, and with that
    torchmetrics and Lightning, cannot be imported at all. Our figures never use a backend; one that
    works stays the caller's.
    """
    backend = os.environ.get("MPLBACKEND", "")
    if not backend or backend.lower() == "agg" or "matplotlib" in sys.modules:
        return
    del os.environ["MPLBACKEND"]
    try:
        import matplotlib

        with contextlib.suppress(ValueError):  # as matplotlib does, which then cannot be imported
            matplotlib.rcParams["backend"] = backend
    finally:
        os.environ["MPLBACKEND"] = backend


_import_matplotlib()


def __getattr__(name: str) -> Any:
    """`load` and `Model` bring torch with them: they are imported when they are asked for."""
    if name == "load":
        from seqpipe.api import load

        return load
    if name == "Model":
        from seqpipe.inference.model import Model

        return Model
    raise AttributeError(f"module 'seqpipe' has no attribute {name!r}")
