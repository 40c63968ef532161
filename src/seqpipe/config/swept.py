"""Overrides of a sweep: those of its options and of the command line, parsed and merged."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from seqpipe.config.config_view import leaves
from seqpipe.config.hydra_internals import ConfigLoader
from seqpipe.config.nested_groups import with_slashes
from seqpipe.errors import ConfigError
from seqpipe.rules import shown

PARAMS = "hydra.sweeper.params"


def params_of(hydra: DictConfig) -> dict[str, str]:
    """Return what an option such as sweep=cells sweeps over: key -> values.

    A key of null is left out: so a file drops one of the file that it builds on.
    """
    sweeper: Any = OmegaConf.to_container(hydra.sweeper or OmegaConf.create(), resolve=True)
    written = leaves(sweeper.get("params") or {})
    return {key: shown(value) for key, value in written if value not in (None, {})}


def merge_overrides(
    params: Mapping[str, str],
    typed: Iterable[Override],
    loader: ConfigLoader,
    config_dirs: Sequence[str | Path] | None = None,
) -> tuple[dict[str, Override], dict[str, Override]]:
    """The overrides of all jobs, and those with several values, by their keys.

    What was typed replaces what the option has for the same key.

    Args:
        params: see `params_of`.
        typed: overrides of the command line.
        loader: Hydra's, which knows the options that a `glob` finds.
        config_dirs: the user's folders, if keys of the option may name a group with a dot, as those
            of the command line do; None: Hydra's own sweeper does not know such keys.

    Raises:
        ConfigError: the values of a key cannot be read.
    """
    parser = OverridesParser.create(config_loader=loader)
    fixed: dict[str, Override] = {}
    swept: dict[str, Override] = {}
    of_option = [f"{key}={value}" for key, value in params.items()]
    if config_dirs is not None:
        of_option = with_slashes(of_option, config_dirs)
    for line in (*of_option, *(str(one.input_line) for one in typed)):
        try:
            (override,) = parser.parse_overrides([line])
        except HydraException as error:
            reason = str(error).splitlines()[0]
            text = f"cannot be read ({reason}); allowed: key: value1,value2"
            raise ConfigError(f"{PARAMS}: {line}: {text}") from None
        key = override.get_key_element()
        fixed.pop(key, None)
        swept.pop(key, None)
        (swept if override.is_sweep_override() else fixed)[key] = override
    return fixed, swept


def values_of(override: Override) -> list[str]:
    """The values of an override that lists them, as typed, at least one.

    Raises:
        ConfigError: they cannot be listed, or there are none.
    """
    line = str(override.input_line)
    try:
        values = list(override.sweep_string_iterator())
    except (HydraException, ValueError) as error:  # range(1,4,0); a name found by glob
        reason = str(error).splitlines()[0]
        allowed = "key=value1,value2, range(1,4) or glob(*)"
        raise ConfigError(f"{line}: cannot be read ({reason}); allowed: {allowed}") from None
    if not values:
        raise ConfigError(f"{line}: no values; allowed: one value or more")
    return values
