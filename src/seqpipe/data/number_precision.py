"""Detection of digits that numbers lose in float64 or float32."""

import math
from typing import Any

import numpy as np

MOST = 2**53
_LOST = (
    f"has more digits than float64 holds, so neighbouring numbers become equal; allowed: up to"
    f" {MOST}, differences from a first one, or labels.Category for what is a name"
)


class LostDigitsError(ValueError):
    """A whole number cannot be held in float64."""


def check_exact(value: object, held: np.ndarray[Any, np.dtype[np.float64]]) -> None:
    """Refuse whole numbers that float64 cannot hold exactly.

    Args:
        value: a number, an array or nested lists, also as text.
        held: the same in float64.

    Raises:
        LostDigitsError: a number lost digits.
    """
    large = np.abs(held.reshape(-1)) >= MOST  # the first one that is lost becomes MOST itself
    if not large.any():
        return
    # As objects: in an array with floats, numpy would convert integers before the comparison.
    raw = np.asarray(value, dtype=None if isinstance(value, np.ndarray) else object).reshape(-1)
    for one, number in zip(raw[large], held.reshape(-1)[large].tolist(), strict=True):
        text = str(one).strip()
        whole, _, rest = text.partition(".")
        is_whole = whole.lstrip("+-").isdecimal() and not rest.strip("0")
        if is_whole and np.isfinite(number) and int(whole) != int(number):
            raise LostDigitsError(f"{text} {_LOST}")


Doubles = np.ndarray[Any, np.dtype[np.float64]]
Floats = np.ndarray[Any, np.dtype[np.float32]]

_BLOCK = 256  # consecutive rows, which differ least
_BLOCKS = 16
_COLUMNS = 64
_HALF = 0.5
_ALIKE = 1e-6  # of the interquartile range: smaller differences are rounding
_LOST_DIGITS = 0.01  # share of the different values; a few random values are always equal


def to_float32(numbers: Doubles) -> Floats:
    """Convert to float32, as models read numbers; numbers out of range become infinity."""
    with np.errstate(over="ignore"):
        return numbers.astype(np.float32)


def shown(value: float, scale: float, digits: int = 4) -> str:
    """Format a number, with more digits if numbers `scale` apart would look equal.

    >>> shown(1_700_000_012.34, 10.0), shown(0.123456, 1.0), shown(123.456, 10.0)
    ('1700000012.3', '0.1235', '123.5')
    """
    larger = abs(value) / scale if value else 0.0
    places = digits - 2 + math.ceil(math.log10(larger)) if larger > 1 and larger < math.inf else 0
    return f"{value:.{min(17, max(digits, places))}g}"


class DigitLoss:
    """Counts different numbers that become equal in float32, in a sample of the rows.

    At most 16 blocks of 256 rows are kept, evenly spread over the added ones, and 64 columns.
    """

    def __init__(self) -> None:
        self._seen, self._every = 0, 1  # rows so far; one block in so many is kept
        self._blocks: dict[int, list[tuple[Doubles, Floats]]] = {}

    def add(self, exact: Doubles, kept: Floats) -> None:
        """Add rows before and after the conversion, both (N, D)."""
        step = max(1, -(-exact.shape[1] // _COLUMNS))
        first, end = self._seen, self._seen + len(exact)
        self._seen = end
        for block in range(first // _BLOCK, -(-end // _BLOCK)):
            if block % self._every:
                continue
            rows = slice(max(first, block * _BLOCK) - first, (block + 1) * _BLOCK - first)
            pair = exact[rows, ::step].copy(), kept[rows, ::step].copy()
            self._blocks.setdefault(block, []).append(pair)
        while len(self._blocks) > _BLOCKS:
            self._every *= 2
            self._blocks = {b: rows for b, rows in self._blocks.items() if b % self._every == 0}

    def report(self) -> tuple[str, bool] | None:
        """Return `125 different numbers become 2`, of the column that lost most; None without loss.

        The second value is True if it lost half of them, or more.
        """
        worst: tuple[float, int, int] = (_LOST_DIGITS, 0, 0)
        pairs = (zip(*rows, strict=True) for rows in self._blocks.values())
        blocks = [[np.concatenate(side) for side in pair] for pair in pairs]
        if not blocks:
            return None
        for column in range(blocks[0][0].shape[1]):
            counts = [
                (_different(exact[:, column]), len(np.unique(kept[:, column])))
                for exact, kept in blocks
            ]
            before, after = np.sum(counts, axis=0).tolist()
            worst = max(worst, (1 - after / before, before, after))
        lost, before, after = worst
        if not before:
            return None
        return f"{before:,} different numbers become {after:,} in float32", lost >= _HALF


def _different(numbers: Doubles) -> int:
    """The number of values that differ by more than rounding."""
    low, middle, high = np.quantile(numbers, [0.25, 0.5, 0.75])
    with np.errstate(over="ignore", invalid="ignore"):
        grid = _ALIKE * (high - low if high > low else numbers.std())
        cells = np.round((numbers - middle) / grid) if 0 < grid < np.inf else numbers
    return len(np.unique(cells))
