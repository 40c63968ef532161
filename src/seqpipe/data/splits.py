"""Records as they are read, and their splits."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from seqpipe.errors import DataError

Record = Mapping[str, Any]
"""One example as read: column -> value."""


Found = Record | DataError
"""A record, or an error in place of a record that cannot be used."""

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Splits:
    """The records of the three splits, which are disjoint and never change.

    Each split can be read several times, in the same order: it is a list, or an object whose
    `__iter__` reads the files. A DataError in place of a record explains why it cannot be used.
    """

    train: Iterable[Found]
    valid: Iterable[Found]
    test: Iterable[Found]

    def by_name(self) -> dict[str, Iterable[Found]]:
        """The three splits in their order, by name."""
        return {split: getattr(self, split) for split in SPLITS}
