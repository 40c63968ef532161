"""What MLflow calls to load a model and to ask it: raw records in, rows of answers out.

`MLmodel` names this module as the loader, so that nothing in a logged model is code or a pickle:
`mlflow.pyfunc.load_model("runs:/<id>/model")` works wherever seqpipe is installed.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seqpipe.errors import ConfigError, DataError
from seqpipe.inference.model import Model
from seqpipe.inference.opening import opened
from seqpipe.inference.writing import flat

TRUST = "SEQPIPE_TRUST"
"""Environment variable: modules outside of seqpipe that a served model may use, with commas."""


class Served:
    """A model as MLflow asks it: tables, lists or arrays in, a list of rows out.

    Args:
        model: the trained model.
    """

    def __init__(self, model: Model) -> None:
        self.model = model

    def predict(self, data: Any, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """An answer for each row, flat: `prediction`, `probability`, `probabilities.<class>`.

        A model of one_to_many has no y to predict: it writes a `sample` for each row, whose
        column `prompt` it goes on from.

        Args:
            data: a pandas table, a list of records or of entries of x, an array, or one of these
                as JSON gives it.
            params: none are known.

        Raises:
            DataError: rows that cannot be read; the first ten.
        """
        if params:
            raise ConfigError(f"params: {', '.join(params)} are not known; allowed: none")
        if self.model.samples:
            return self._samples(_rows(data))
        return [flat(answer) for answer in self.model.predict(_rows(data))]

    def _samples(self, rows: Sequence[Any]) -> list[dict[str, Any]]:
        written = []
        for number, row in enumerate(rows):
            columns = row if isinstance(row, Mapping) else {"prompt": row}
            prompt = str(columns.get("prompt") or "")
            rest = {name: value for name, value in columns.items() if name != "prompt"}
            drawn = self.model.sample(1, prompt=prompt, condition=rest or None, seed=number)
            written.append(flat({"prediction": drawn[0]}))
        return written


def _rows(data: Any) -> list[Any]:
    """Records, or entries of x, whatever they came in."""
    if hasattr(data, "to_dict") and hasattr(data, "columns"):  # pandas; it need not be installed
        return [_plain(row) for row in data.to_dict(orient="records")]
    if isinstance(data, Mapping):  # columns
        columns = {name: list(values) for name, values in data.items()}
        if len({len(values) for values in columns.values()}) != 1:
            raise DataError("inputs: columns of different length; allowed: a value a row in each")
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if isinstance(data, str):
        return [data]
    if isinstance(data, np.ndarray | Sequence):
        return [_plain(row) if isinstance(row, Mapping) else row for row in data]
    kind = type(data).__name__
    raise DataError(f"inputs: is {kind}; allowed: a table, or a list of records or entries of x")


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """A record whose arrays of arrays, as tables hold them, are lists again."""
    return {str(name): _list(value) for name, value in row.items()}


def _list(value: Any) -> Any:
    return [_list(one) for one in value] if isinstance(value, np.ndarray) else value


def _load_pyfunc(path: str) -> Served:
    """Called by MLflow with the folder that `MLmodel` names as `data`."""
    trust = [name for name in os.environ.get(TRUST, "").split(",") if name]
    return Served(opened(Path(path), trust))
