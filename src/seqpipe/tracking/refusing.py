"""Errors that MLflow's scoring server tells to whoever asked, in our words alone."""

import json

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE


class _Told(MlflowException):
    """The server answers with the status of its code, and with this message.

    MLflow puts the whole of the data before the message of any other error, or a traceback beside
    it: neither helps who asked, and both are long.

    Args:
        message: for whoever asked.
    """

    code: int

    def __init__(self, message: str) -> None:
        super().__init__(message, error_code=self.code)
        self.told = message

    def serialize_as_json(self) -> str:
        """The body of the answer."""
        return json.dumps({"error_code": self.error_code, "message": self.told})


class Refused(_Told):
    """What was asked cannot be read: 400."""

    code = INVALID_PARAMETER_VALUE


class Failed(_Told):
    """What was asked could not be answered, and that is not to blame on who asked: 500."""

    code = INTERNAL_ERROR
