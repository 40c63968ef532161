"""Checks and choices that several sources share."""

from seqpipe.errors import ConfigError


def check_fractions(valid: float, test: float) -> None:
    """Refuse shares that leave a split empty.

    Raises:
        ConfigError: a share outside (0, 1), or both together 1 or more.
    """
    shares = {"valid": valid, "test": test}
    problems = [
        f"data.source.{name}={share}: must lie in (0, 1), a share of the data"
        for name, share in shares.items()
        if not 0 < share < 1
    ]
    if not problems and valid + test >= 1:
        both = f"data.source.valid={valid} data.source.test={test}"
        problems = [f"{both}: leave nothing to train on; together less than 1"]
    if problems:
        raise ConfigError(problems)


def check_sizes(**sizes: int) -> None:
    """Refuse counts below 1; the names are those of the source's arguments.

    Raises:
        ConfigError: a count below 1.
    """
    problems = [
        f"data.source.{name}={size}: must be at least 1" for name, size in sizes.items() if size < 1
    ]
    if problems:
        raise ConfigError(problems)
