"""Checks of constructor arguments, with the message a user needs."""

from collections.abc import Sequence

from seqpipe.rules import choice, real, require, whole


def at_least_one(key: str, value: int) -> int:
    """The value, if it is 1 or more.

    Raises:
        ConfigError: it is not.
    """
    require(key, value, whole(1))
    return value


def probability_below_one(key: str, value: float) -> float:
    """The value, if it lies in [0, 1).

    Raises:
        ConfigError: it does not.
    """
    require(key, value, real("[0, 1)"))
    return value


def one_of(key: str, value: str, allowed: Sequence[str]) -> str:
    """The value, if it is among those allowed.

    Raises:
        ConfigError: it is not.
    """
    require(key, value, choice(*allowed))
    return value
