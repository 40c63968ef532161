"""seqpipe: recurrent sequence models from YAML, with experiment tracking.

import seqpipe

model = seqpipe.load("outputs/runs/.../")     # or "latest", a run id, "models:/name@champion"
model.predict(["a film to remember"])
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from seqpipe.inference.model import Model
    from seqpipe.loading import load

__all__ = ["Model", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """`load` and `Model` bring torch with them: they are imported when they are asked for."""
    if name == "load":
        from seqpipe.loading import load

        return load
    if name == "Model":
        from seqpipe.inference.model import Model

        return Model
    raise AttributeError(f"module 'seqpipe' has no attribute {name!r}")
