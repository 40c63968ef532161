"""What MLflow calls to load a trained model; every `MLmodel` of ours names this module.

The layers below keep MLflow and the model apart: `inference.pyfunc` answers, `tracking.refusing`
tells MLflow's server what went wrong. `mlflow.pyfunc.load_model("runs:/<id>/model")` works wherever
seqpipe is installed.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seqpipe.errors import SeqpipeError
from seqpipe.inference.load import opened, trusted
from seqpipe.inference.pyfunc import Served
from seqpipe.tracking.serving import Failed, Refused

log = logging.getLogger(__name__)


class Asked:
    """A model as MLflow asks it, whose refusals MLflow's server tells to whoever asked.

    Args:
        served: what answers.
    """

    def __init__(self, served: Served) -> None:
        self.served = served

    def predict(self, data: Any, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """See `Served.predict`.

        Raises:
            Refused: rows that cannot be read, over HTTP a 400.
            Failed: an error of ours, over HTTP a 500; what it was is in the log.
        """
        try:
            return self.served.predict(data, params)
        except SeqpipeError as error:
            raise Refused(str(error)) from None
        except RecursionError:  # JSON that Python could just read
            raise Refused("inputs: are nested too deeply; allowed: what training read") from None
        except Exception:
            log.exception("no answer")
            raise Failed("the model could not answer; the log of its server says why") from None


def _load_pyfunc(path: str) -> Asked:
    """Called by MLflow with the folder that `MLmodel` names as `data`."""
    return Asked(Served(opened(Path(path), trusted())))
