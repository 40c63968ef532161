"""A model's folder as MLflow's pyfunc: `MLmodel` beside it, which names seqpipe as its loader."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seqpipe import __version__

LOADER = "seqpipe.inference.pyfunc"
log = logging.getLogger(__name__)


def write_pyfunc(
    folder: Path, data: Path, inputs: Sequence[Mapping[str, Any]], answers: Sequence[Any]
) -> Path:
    """Writes what `mlflow.pyfunc.load_model` and `mlflow models serve` open.

    Args:
        folder: to be made.
        data: the model's folder; it is copied to <folder>/data/.
        inputs: an example of what it reads; the signature follows from it.
        answers: what it answers to them, flat.

    Returns:
        the folder.
    """
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.models import infer_signature

    with warnings.catch_warnings():
        # Of integers that might be missing one day: our numbers are what they are.
        warnings.filterwarnings("ignore", message=".*integer column.*")
        signature = infer_signature(pd.DataFrame(list(inputs)), list(answers))
        quiet = logging.getLogger("mlflow")
        level = quiet.level
        quiet.setLevel(logging.ERROR)  # it tells that it looks at the example, and of our version
        try:
            mlflow.pyfunc.save_model(
                str(folder),
                loader_module=LOADER,
                data_path=str(data),
                signature=signature,
                input_example=pd.DataFrame(list(inputs)),
                pip_requirements=[f"seqpipe=={__version__}"],
            )
        finally:
            quiet.setLevel(level)
    return folder
