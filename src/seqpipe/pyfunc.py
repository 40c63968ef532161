"""Loader of trained models for MLflow; the `MLmodel` of every run names this module.

`inference.pyfunc` answers, `tracking.serving` has the errors of MLflow's server.
`mlflow.pyfunc.load_model("runs:/<id>/model")` works wherever seqpipe is installed.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seqpipe.errors import SeqpipeError
from seqpipe.inference.load import load_model, trusted_modules
from seqpipe.inference.pyfunc import Served
from seqpipe.tracking.mlflow_internals import refuse_deep_json
from seqpipe.tracking.serving import Failed, Refused, too_deep

log = logging.getLogger(__name__)


class ServedModel:
    """MLflow's wrapper of a model; wrong inputs become HTTP 400, internal errors 500.

    Args:
        served: the model.
    """

    def __init__(self, served: Served) -> None:
        self.served = served

    def predict(self, data: Any, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """See `Served.predict`.

        Raises:
            Refused: rows that cannot be read (HTTP 400).
            Failed: an internal error, which is in the log (HTTP 500).
        """
        try:
            return self.served.predict(data, params)
        except SeqpipeError as error:
            raise Refused(str(error)) from None
        except RecursionError:  # JSON that Python could just read
            raise too_deep() from None
        except Exception:
            log.exception("no answer")
            raise Failed("the model failed; the server's log has the reason") from None


def _load_pyfunc(path: str) -> ServedModel:
    """MLflow calls this with the folder that `MLmodel` names as `data`."""
    refuse_deep_json(too_deep)
    return ServedModel(Served(load_model(Path(path), trusted_modules())))
