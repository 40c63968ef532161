"""The space of a search, read from Hydra's overrides.

A key with several values is a parameter: `cell=gru,lstm`, `hidden_size=range(32,257,32)`,
`optim.lr=tag(log,interval(1e-4,1e-1))`, `depth=int(interval(1,3))`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, Sweep
from omegaconf import DictConfig

from seqpipe.config.hydra_internals import ConfigLoader
from seqpipe.config.nested_groups import with_dots
from seqpipe.config.parameters import Choice, Numbers, Parameter
from seqpipe.config.swept import PARAMS, merge_overrides, params_of, values_of
from seqpipe.errors import ConfigError, did_you_mean

_SEARCHES = "hydra_plugins.seqpipe_sweepers."
_LOG = "log"


def is_search(hydra: DictConfig) -> bool:
    """True if the sweeper chooses the values of each job itself, as those of this package do."""
    return str((hydra.sweeper or {}).get("_target_")).startswith(_SEARCHES)


class Searched(NamedTuple):
    """The overrides and the space of a search.

    Args:
        fixed: overrides that all jobs share.
        swept: overrides with several values, by their keys.
        space: their parameters.
    """

    fixed: list[Override]
    swept: dict[str, Override]
    space: list[Parameter]


def searched(
    hydra: DictConfig, typed: Iterable[Override], loader: ConfigLoader, folders: Sequence[Path]
) -> Searched:
    """The space of a search, by its option and by the command line, which replaces it key by key.

    Args:
        hydra: Hydra's own node of the composed configuration.
        typed: overrides of the command line.
        loader: Hydra's.
        folders: the user's, with options of their own.

    Raises:
        ConfigError: with every override that is no parameter.
    """
    fixed, swept = merge_overrides(params_of(hydra), typed, loader, folders)
    return Searched([*fixed.values()], swept, space_of(swept))


def space_of(swept: Mapping[str, Override]) -> list[Parameter]:
    """The parameters of a search.

    Args:
        swept: overrides with several values, by their keys.

    Raises:
        ConfigError: with every override that is no parameter.
    """
    space, problems = list[Parameter](), list[str]()
    for key, override in swept.items():
        try:
            space.append(_parameter(key, override))
        except ConfigError as error:
            problems += error.problems
    if not (space or problems):
        allowed = "'optim.lr=tag(log,interval(1e-4,1e-1))', cell=gru,lstm"
        problems.append(
            f"{PARAMS}: there is nothing to search; allowed: keys with values, {allowed}"
        )
    if problems:
        raise ConfigError(problems)
    return space


def _parameter(key: str, override: Override) -> Parameter:
    line, values = with_dots(str(override.input_line)), override.value()
    tags = values.tags if isinstance(values, Sweep) else set()
    if unknown := sorted(tags - {_LOG}):
        hint = did_you_mean(unknown[0], [_LOG])
        raise ConfigError(f"{line}: unknown tag {unknown[0]}; allowed: {_LOG}{hint}")
    if getattr(values, "shuffle", False):
        raise ConfigError(f"{line}: a search has an order of its own; allowed: without shuffle")
    if isinstance(values, IntervalSweep):
        return _interval(key, line, values)
    if isinstance(values, RangeSweep):
        return _range(key, line, override, values)
    if tags:
        text = "words have no magnitude; allowed: without the tag, or an interval"
        raise ConfigError(f"{line}: {text}")
    listed = values_of(override)
    if len({*listed}) < len(listed):
        raise ConfigError(f"{line}: a value is listed twice; allowed: each once")
    return Choice(key, tuple(listed))


def _interval(key: str, line: str, values: IntervalSweep) -> Numbers:
    low, high, log = values.start, values.end, _LOG in values.tags
    assert low is not None and high is not None
    if not -math.inf < low < high < math.inf:
        raise ConfigError(f"{line}: holds no numbers; allowed: two ends, the smaller one first")
    is_whole = isinstance(low, int)  # int(interval(1,3))
    _check_log(line, low, log)
    return Numbers(key, low, high, 1 if is_whole else None, log, is_whole)


def _range(key: str, line: str, override: Override, values: RangeSweep) -> Numbers:
    values_of(override)  # refuses those that cannot be listed
    listed = sorted(values.range())
    step = abs(values.step)
    log = _LOG in values.tags
    _check_log(line, listed[0], log)
    if log and step != 1:
        text = "with steps there is no magnitude; allowed: without the tag, or an interval"
        raise ConfigError(f"{line}: {text}")
    is_whole = all(isinstance(one, int) for one in listed)
    return Numbers(key, listed[0], listed[-1], step, log, is_whole)


def _check_log(line: str, low: float, log: bool) -> None:
    if log and low <= 0:
        raise ConfigError(f"{line}: magnitudes start above 0; allowed: a smallest value above 0")
