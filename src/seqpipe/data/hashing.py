"""Digests of records: the same content gives the same digest on any machine."""

import hashlib
import json
from collections.abc import Iterable

import numpy as np
from torch import Tensor

from seqpipe.data.base import Record
from seqpipe.errors import DataError


class Digest:
    """sha256 of raw records, one after the other."""

    def __init__(self) -> None:
        self._total = hashlib.sha256()

    def update(self, record: Record) -> None:
        """Add a record: its keys sorted, arrays by type, shape and bytes.

        Raises:
            DataError: an entry of a kind that a record cannot hold.
        """
        line = json.dumps(dict(record), sort_keys=True, default=plain, ensure_ascii=False)
        self._total.update(line.encode("utf-8", "surrogatepass") + b"\n")

    def hex(self) -> str:
        """The digest so far, 64 hexadecimal digits."""
        return self._total.hexdigest()


def digest(records: Iterable[Record]) -> str:
    """sha256 (hex) of the raw records."""
    total = Digest()
    for record in records:
        total.update(record)
    return total.hex()


def plain(value: object) -> object:
    """Convert an entry that json does not know to one that it knows.

    Raises:
        DataError: a record cannot hold it.
    """
    if isinstance(value, Tensor):
        value = value.numpy(force=True)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        little = np.ascontiguousarray(value.astype(value.dtype.newbyteorder("<")))
        return [little.dtype.str, value.shape, hashlib.sha256(little.tobytes()).hexdigest()]
    if isinstance(value, bytes):
        return ["bytes", hashlib.sha256(value).hexdigest()]
    raise DataError(f"{type(value).__name__}: not a kind of entry that a record can hold")
