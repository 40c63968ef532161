"""Writes a model as MLflow's pyfunc, with an `MLmodel` that names seqpipe as its loader."""

import logging
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch

from seqpipe.distribution import pinned, write_wheel
from seqpipe.tracking.base import Usage
from seqpipe.tracking.mlflow_internals import unchecked_requirements

LOADER = "seqpipe.pyfunc"
WHEELS = "wheels"  # a folder beside MLmodel, as MLflow itself names it
_TYPES: dict[type, str] = {bool: "boolean", int: "long", float: "double"}
log = logging.getLogger(__name__)


def write_pyfunc(folder: Path, data: Path, usage: Usage) -> Path:
    """Writes a folder that `mlflow.pyfunc.load_model` and `mlflow models serve` can open.

    Args:
        folder: made here.
        data: the model's folder; it is copied to <folder>/data/.
        usage: the signature follows from its examples.

    Returns:
        the folder. Its `wheels` holds the package as it runs here, and its requirements name that
        file, because `seqpipe` on the package index is another project.
    """
    import pandas as pd

    with warnings.catch_warnings():
        # MLflow's warnings about deprecations, type hints and integer columns: the user cannot fix
        # them, and where warnings are errors there would be no model.
        warnings.simplefilter("ignore")
        import mlflow.pyfunc

        example = pd.DataFrame(list(usage.inputs))
        signature = _signature(example, usage)
        quiet = logging.getLogger("mlflow")
        level = quiet.level
        with tempfile.TemporaryDirectory() as made:
            wheel = write_wheel(Path(made))
            needed = [f"{WHEELS}/{wheel.name}", *pinned("torch", torch.__version__)]
            quiet.setLevel(logging.ERROR)  # messages about the example and the wheel
            try:
                with unchecked_requirements():
                    mlflow.pyfunc.save_model(
                        str(folder),
                        loader_module=LOADER,
                        data_path=str(data),
                        signature=signature,
                        input_example=example,
                        pip_requirements=needed,
                    )
            finally:
                quiet.setLevel(level)
            (folder / WHEELS).mkdir()
            shutil.copyfile(wheel, folder / WHEELS / wheel.name)
    return folder


def _signature(example: Any, usage: Usage) -> Any:
    """The signature: the columns, and which of them are text; all other columns have type `any`.

    The model checks the values itself. MLflow would compare each number of an array with its type,
    which takes longer than the prediction, would refuse a float where the example has an integer,
    and would not name the row.
    """
    from mlflow.models import infer_signature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType

    answers: Any = list(usage.answers)
    signature = infer_signature(model_output=answers)
    any_type = AnyType()  # type: ignore[no-untyped-call]
    columns: list[Any] = []
    for name in example.columns:
        text = all(isinstance(value, str) for value in example[name])
        of = DataType.string if text else any_type
        columns.append(ColSpec(of, name, required=name not in usage.optional))
    signature.inputs = Schema(columns)
    if usage.params:
        signature.params = ParamSchema(
            [ParamSpec(name, _TYPES[of], value) for name, (of, value) in usage.params.items()]
        )
    return signature
