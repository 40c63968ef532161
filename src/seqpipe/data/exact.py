"""Whole numbers that float64 does not hold: beyond 2^53 neighbours become one."""

from typing import Any

import numpy as np

MOST = 2**53
_LOST = (
    f"has more digits than float64 holds, so that neighbours become one; allowed: up to {MOST},"
    " differences from a first one, or labels.Category for what is a name"
)


class LostDigitsError(ValueError):
    """A whole number cannot be held in float64."""


def check_exact(value: object, held: np.ndarray[Any, np.dtype[np.float64]]) -> None:
    """Refuse whole numbers that became others in float64.

    Args:
        value: one, an array or nested lists, also as text.
        held: the same in float64.

    Raises:
        LostDigitsError: one of them did.
    """
    large = np.abs(held.reshape(-1)) >= MOST  # the first one that is lost becomes MOST itself
    if not large.any():
        return
    # As objects: among floats numpy makes an integer one before it can be looked at.
    raw = np.asarray(value, dtype=None if isinstance(value, np.ndarray) else object).reshape(-1)
    for one, number in zip(raw[large], held.reshape(-1)[large].tolist(), strict=True):
        text = str(one).strip()
        whole, _, rest = text.partition(".")
        is_whole = whole.lstrip("+-").isdecimal() and not rest.strip("0")
        if is_whole and np.isfinite(number) and int(whole) != int(number):
            raise LostDigitsError(f"{text} {_LOST}")
