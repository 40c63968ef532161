"""What processes that train together tell each other."""

from typing import Any

from torch import distributed


def rank() -> int:
    """The number of this process; 0 if it trains alone."""
    return distributed.get_rank() if _together() else 0


def gather(value: Any) -> list[Any]:
    """The value of each process, by rank. All processes must call it."""
    if not _together():
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()
