"""A model behind MLflow's interface: raw records in, rows of answers out."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seqpipe.errors import ConfigError, DataError, SeqpipeError
from seqpipe.inference.generate import RULES
from seqpipe.inference.model import Model
from seqpipe.inference.preprocess import is_table, plain, records_of
from seqpipe.inference.writers import flat
from seqpipe.rules import faults

_MOST_PROBLEMS = 10
Params = Mapping[str, tuple[type, Any]]
_OF_SAMPLES: Params = {"temperature": (float, 1.0), "seed": (int, 0)}
_OF_TEXT: Params = {"top_k": (int, None), "top_p": (float, None), "allow_unknown": (bool, False)}
_OF_SEARCH: Params = {
    "beam_size": (int, None),
    "n_best": (int, 1),
    "length_penalty": (float, None),
}


class Served:
    """Answers tables, lists or arrays with a list of rows.

    Args:
        model: the trained model.
    """

    def __init__(self, model: Model) -> None:
        self.model = model

    def predict(self, data: Any, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Answer each row, flat: `prediction`, `probability`, `probabilities.<class>`.

        A model of one_to_many predicts no y: it draws a sample for each row, which continues the
        row's column `prompt`.

        Args:
            data: a pandas table, a list of records or of entries of x, an array, or one of these
                from JSON.
            params: see `Served.params`; for samples, `seed` is that of the first row, each later
                row has the next.

        Raises:
            DataError: rows cannot be read, the first ten are listed; or there is no row.
            ConfigError: a parameter is not known, or out of range.
        """
        known = self.params
        strange = [name for name in params or {} if name not in known]
        if strange:
            allowed = ", ".join(known) or "none"
            raise ConfigError(f"params: {', '.join(strange)} are not known; allowed: {allowed}")
        how: dict[str, Any] = {name: default for name, (_, default) in known.items()}
        how |= params or {}
        if self.model.samples and (problems := faults(RULES, how)):
            raise ConfigError(problems)
        rows = _rows(data)
        if not rows:
            raise DataError("inputs: hold no rows; allowed: one or more")
        ask = self._samples if self.model.samples else self.model.predict
        return [_finite(flat(answer)) for answer in ask(rows, **how)]

    @property
    def params(self) -> Params:
        """Parameters of `predict`: name -> (type, default).

        Those of `Model.sample`, or of a search by `Model.predict`; none for other models.
        """
        if self.model.samples:
            own = self.model.task.drawing_options
            text = {name: option for name, option in _OF_TEXT.items() if name in own}
            return {**_OF_SAMPLES, "max_length": (int, self.model.longest_sample), **text}
        return _OF_SEARCH if self.model.task.search_options else {}

    def _samples(self, rows: Sequence[Any], *, seed: int, **how: Any) -> list[dict[str, Any]]:
        written: list[dict[str, Any]] = []
        problems: list[str] = []
        for number, row in enumerate(rows):
            try:
                drawn = self._sample(row, seed=(seed + number) % 2**63, **how)
                written.append({"prediction": drawn})
            except SeqpipeError as error:
                problems.append(f"inputs[{number}]: {error}")
            if len(problems) == _MOST_PROBLEMS:
                break
        if problems:
            raise DataError(problems)
        return written

    def _sample(self, row: Any, **how: Any) -> Any:
        columns = row if isinstance(row, Mapping) else {"prompt": row}
        prompt = columns.get("prompt")
        prompt = "" if prompt is None else prompt
        if not isinstance(prompt, str):
            raise DataError(f"prompt={prompt}: is not text; allowed: text, or nothing")
        rest = {name: value for name, value in columns.items() if name != "prompt"}
        drawn = self.model.sample(1, prompt=prompt, condition=rest or None, **how)[0]
        return drawn.tolist() if isinstance(drawn, np.ndarray) else drawn


def _rows(data: Any) -> list[Any]:
    """List the records, or entries of x, of any container."""
    if is_table(data):
        return records_of(data)
    if isinstance(data, Mapping):  # columns
        columns = {name: list(values) for name, values in data.items()}
        if len({len(values) for values in columns.values()}) != 1:
            raise DataError(
                "inputs: columns of different length; allowed: one value per row in each"
            )
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if isinstance(data, str):
        return [data]
    if isinstance(data, np.ndarray | Sequence):
        return [plain(row) if isinstance(row, Mapping) else row for row in data]
    kind = type(data).__name__
    raise DataError(f"inputs: is {kind}; allowed: a table, or a list of records or entries of x")


def _finite(value: Any) -> Any:
    """Replace NaN and infinity, which JSON lacks, by None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_finite(one) for one in value]
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    return value
