"""A model's folder as MLflow's pyfunc: `MLmodel` beside it, which names seqpipe as its loader."""

import logging
import warnings
from pathlib import Path
from typing import Any

from seqpipe import __version__
from seqpipe.tracking.base import Usage

LOADER = "seqpipe.pyfunc"
_TYPES: dict[type, str] = {bool: "boolean", int: "long", float: "double"}
log = logging.getLogger(__name__)


def write_pyfunc(folder: Path, data: Path, usage: Usage) -> Path:
    """Writes what `mlflow.pyfunc.load_model` and `mlflow models serve` open.

    Args:
        folder: to be made.
        data: the model's folder; it is copied to <folder>/data/.
        usage: what it reads and answers; the signature follows from it, see `_signature`.

    Returns:
        the folder.
    """
    import pandas as pd

    with warnings.catch_warnings():
        # MLflow is told of what others deprecate, tells of type hints in classes of its own and of
        # integers that might be missing one day. Nobody who trains can mend that, and where
        # warnings are errors there would be no model.
        warnings.simplefilter("ignore")
        import mlflow.pyfunc

        example = pd.DataFrame(list(usage.inputs))
        signature = _signature(example, usage)
        quiet = logging.getLogger("mlflow")
        level = quiet.level
        quiet.setLevel(logging.ERROR)  # it tells that it looks at the example, and of our version
        try:
            mlflow.pyfunc.save_model(
                str(folder),
                loader_module=LOADER,
                data_path=str(data),
                signature=signature,
                input_example=example,
                pip_requirements=[f"seqpipe=={__version__}"],
            )
        finally:
            quiet.setLevel(level)
    return folder


def _signature(example: Any, usage: Usage) -> Any:
    """What MLflow checks before it asks the model: that each column is there, and which are text.

    All else is `any` to it. MLflow would compare each number of an array with its type, which takes
    longer than the answer does, would refuse an integer for a float that was an integer in the
    example, and would say neither in which row nor in which words of ours. The model checks it.
    """
    from mlflow.models import infer_signature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType

    signature = infer_signature(example, list(usage.answers))
    any_type = AnyType()  # type: ignore[no-untyped-call]
    signature.inputs = Schema(
        [
            column if column.type == DataType.string else ColSpec(any_type, column.name)
            for column in signature.inputs
        ]
    )
    if usage.params:
        signature.params = ParamSchema(
            [ParamSpec(name, _TYPES[of], value) for name, (of, value) in usage.params.items()]
        )
    return signature
