"""Checks of constructor arguments, with the message a user needs."""

from collections.abc import Sequence

from seqpipe.errors import ConfigError, did_you_mean


def at_least_one(key: str, value: int) -> int:
    """The value, if it is 1 or more.

    Raises:
        ConfigError: it is not.
    """
    if value < 1:
        raise ConfigError(f"{key}={value}: must be at least 1")
    return value


def probability_below_one(key: str, value: float) -> float:
    """The value, if it lies in [0, 1).

    Raises:
        ConfigError: it does not.
    """
    if not 0.0 <= value < 1.0:
        raise ConfigError(f"{key}={value}: must lie in [0, 1)")
    return value


def one_of(key: str, value: str, allowed: Sequence[str]) -> str:
    """The value, if it is among those allowed.

    Raises:
        ConfigError: it is not.
    """
    if value not in allowed:
        raise ConfigError(
            f"{key}={value}: unknown; one of {', '.join(allowed)}{did_you_mean(value, allowed)}"
        )
    return value
