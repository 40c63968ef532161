"""A model as MLflow asks it: raw records in, rows of answers out."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seqpipe.errors import ConfigError, DataError, SeqpipeError
from seqpipe.inference.model import Model
from seqpipe.inference.writing import flat

_MOST_TOLD = 10  # rows that cannot be read


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
            DataError: rows that cannot be read, the first ten of them; or there is no row.
            ConfigError: `params`.
        """
        if params:
            raise ConfigError(f"params: {', '.join(params)} are not known; allowed: none")
        rows = _rows(data)
        if not rows:
            raise DataError("inputs: hold no rows; allowed: one or more")
        answers = self._samples(rows) if self.model.samples else self.model.predict(rows)
        return [_finite(flat(answer)) for answer in answers]

    def _samples(self, rows: Sequence[Any]) -> list[dict[str, Any]]:
        written: list[dict[str, Any]] = []
        problems: list[str] = []
        for number, row in enumerate(rows):
            try:
                written.append({"prediction": self._sample(row, number)})
            except SeqpipeError as error:
                problems.append(f"inputs[{number}]: {error}")
            if len(problems) == _MOST_TOLD:
                break
        if problems:
            raise DataError(problems)
        return written

    def _sample(self, row: Any, seed: int) -> Any:
        columns = row if isinstance(row, Mapping) else {"prompt": row}
        prompt = columns.get("prompt")
        prompt = "" if prompt is None else prompt
        if not isinstance(prompt, str):
            raise DataError(f"prompt={prompt}: is not text; allowed: text, or nothing")
        rest = {name: value for name, value in columns.items() if name != "prompt"}
        drawn = self.model.sample(1, prompt=prompt, condition=rest or None, seed=seed)[0]
        return drawn.tolist() if isinstance(drawn, np.ndarray) else drawn


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
    """A record as JSON gave it: arrays of arrays are lists again, and empty cells None.

    A cell of a table is NaN where its row lacks a column that another row has.
    """
    return {str(name): None if _missing(cell) else _list(cell) for name, cell in row.items()}


def _list(value: Any) -> Any:
    return [_list(one) for one in value] if isinstance(value, np.ndarray) else value


def _missing(cell: Any) -> bool:
    return isinstance(cell, float) and math.isnan(cell)


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: None in their places."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_finite(one) for one in value]
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    return value
