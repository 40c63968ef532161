"""Raw records as examples of what a model reads: those of the data it was trained on."""

from collections.abc import Mapping
from itertools import islice
from typing import Any

import numpy as np

from seqpipe.data.base import Field, Record, Source
from seqpipe.data.hashing import plain
from seqpipe.errors import DataError
from seqpipe.inference.outputs import is_relative


class _Watched(dict[str, Any]):
    """A record that notes which of its columns were looked at."""

    def __init__(self, columns: Mapping[str, Any]) -> None:
        super().__init__(columns)
        self.read: dict[str, None] = {}

    def __getitem__(self, column: str) -> Any:
        self.read[column] = None
        return super().__getitem__(column)

    def get(self, column: str, default: Any = None) -> Any:
        """Notes the column, if it is there."""
        if column in self:
            self.read[column] = None
        return super().get(column, default)


def needed(x: Field, record: Record, data: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a record that its answer is made from, as JSON can hold them.

    Args:
        x: reads some of them.
        record: with all.
        data: the configuration of the data: a forecast may need the last step of the past.
    """
    watched = _Watched(record)
    x.encode(watched)
    if is_relative(data):
        watched.get("last")
    return {column: _plain(watched.get(column)) for column in watched.read}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value if isinstance(value, (str, int, float, bool)) else plain(value)


def first_records(source: Source, count: int) -> list[Record]:
    """The first records that can be used."""
    return list(islice((one for one in source.examples() if not isinstance(one, DataError)), count))
