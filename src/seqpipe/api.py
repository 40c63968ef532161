"""`seqpipe.load`: a trained model from a folder, or from what MLflow knows."""

from collections.abc import Sequence
from pathlib import Path

import torch

from seqpipe.errors import ConfigError
from seqpipe.inference.load import load_model, usable_device
from seqpipe.inference.model import Model
from seqpipe.inference.model_format import ABOUT, PLACES
from seqpipe.records import BadRecordError, inside


def load(
    where: str | Path,
    *,
    device: str | torch.device = "cpu",
    trust: Sequence[str] = (),
    tracking_uri: str | None = None,
) -> Model:
    """A trained model, ready for `predict`, `sample` and `score`.

    A folder is opened without Hydra, MLflow or Lightning. Nothing in it is executed.

    Args:
        where: a folder of `export` or of a run; or a value of `run=` on the command line: an
            MLflow run id, `runs:/<id>`, `latest`, `models:/name@alias`.
        device: where it computes; "auto": a GPU where there is one.
        trust: modules of your own whose classes its configuration may use (`["my_cells"]`).
        tracking_uri: the MLflow store, where `where` is no folder; None: the one that training
            writes to, outputs/mlflow.db.

    Raises:
        ConfigError: the model or the device is not there; it cannot be read, or is of another
            version.
    """
    if not isinstance(where, (str, Path)):
        text = f"is {type(where).__name__}; allowed: a folder, or a run as text"
        raise ConfigError(f"where={where}: {text}")
    if not isinstance(tracking_uri, str | None):
        text = f"is {type(tracking_uri).__name__}; allowed: an address as text, or None"
        raise ConfigError(f"tracking_uri={tracking_uri}: {text}")
    computes = usable_device(device)
    folder = Path(where)
    if folder.is_dir():
        for place in PLACES:
            if (folder / place / ABOUT).is_file():
                try:
                    return load_model(inside(folder, place), trust).to(computes)
                except BadRecordError as error:
                    text = f"{error}; allowed: a folder without links to other places"
                    raise ConfigError(f"{folder / place}: {text}") from None
        raise ConfigError(f"{where}: holds no model; allowed: a run folder, or an exported one")
    from seqpipe.runs.open_model import find_model
    from seqpipe.runs.options import RunOptions

    kept, _run = find_model(RunOptions(run=str(where), tracking_uri=tracking_uri), Path.cwd())
    return load_model(kept, trust).to(computes)  # what was fetched is there as long as the run
