"""Missing values in records, and the words with which text files write them."""

from collections.abc import Iterable
from decimal import Decimal
from math import isfinite, isinf

import numpy as np

MISSING_WORDS = frozenset({"", "?", "nan", "na", "n/a", "null", "none", "nat", "<na>"})
"""Words for a missing number in text files, in small letters."""
_NOTHING = frozenset({"NAType", "NaTType"})  # of pandas, which need not be installed


def is_missing(value: object) -> bool:
    """True for None, NaN, NaT and the NA of pandas; text is never missing, not even `nan`."""
    if value is None or type(value).__name__ in _NOTHING:
        return True
    if isinstance(value, (str, bytes, bool, int, list, tuple, dict)):
        return False
    try:
        return bool(value != value)  # NaN and NaT alone differ from themselves
    except (TypeError, ValueError, RuntimeError):  # an array
        return False
    except ArithmeticError:  # a signalling NaN of Decimal
        return True


def is_infinite(value: object) -> bool:
    """True for a number that is not finite; text is never, not even `inf`."""
    if not isinstance(value, (float, np.floating, Decimal)) or is_missing(value):
        return False
    return isinf(value)


def is_blank(value: object) -> bool:
    """True for a missing value and for text of nothing but white space."""
    return is_missing(value) or (isinstance(value, str) and not value.strip())


def missing_among_numbers(names: Iterable[str]) -> frozenset[str]:
    """Return words such as `nan`, `NA` or `inf` if all other names are numbers: missing values.

    Among other words they are words: the language Nan, the country code NA.
    """
    words = frozenset(name for name in names if is_no_number(name))
    rest = [name for name in names if name not in words]
    return words if rest and all(map(_is_number, rest)) else frozenset()


def is_no_number(word: str) -> bool:
    """True for a word that means a missing or infinite number in files."""
    plain = word.strip().lower()
    return plain in MISSING_WORDS or plain.lstrip("+-") in ("inf", "infinity")


def _is_number(name: str) -> bool:
    try:
        return isfinite(float(name))
    except ValueError:
        return False
