"""Hydra's private parts: the only module that uses them, held by tests/config/test_private_apis.py.

Hydra has no public way to compose with several folders, to apply one override to a composed
configuration, to run one that is composed, to parse its flags without running, or to leave options
out of its lists.
"""

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig

BASIC_LAUNCHER = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"

Repository = CachingConfigRepository
ConfigLoader = ConfigLoaderImpl

_all_options = ConfigRepository.get_group_options


def _offered_options(
    self: ConfigRepository,
    group_name: str,
    results_filter: ObjectType | None = ObjectType.CONFIG,
) -> list[str]:
    """The options or subgroups of a group, without base files: `_NAME`, which options share."""
    names = _all_options(self, group_name, results_filter)
    return [name for name in names if not name.startswith("_")]


# Hydra's own --help and completion call it, too.
ConfigRepository.get_group_options = _offered_options  # type: ignore[method-assign]


_options_by_command = ConfigLoaderImpl.get_group_options


def _options_by_repository(
    self: ConfigLoaderImpl,
    group_name: str,
    results_filter: ObjectType | None = ObjectType.CONFIG,
    config_name: str | None = None,
    overrides: list[str] | None = None,
) -> list[str]:
    """The same list, without a copy of the whole repository for each of the hundred in `--help`.

    Hydra copies it because a primary configuration or overrides could add folders.
    """
    if config_name is None and not overrides:
        return self.repository.get_group_options(group_name, results_filter)
    return _options_by_command(self, group_name, results_filter, config_name, overrides)


ConfigLoaderImpl.get_group_options = _options_by_repository  # type: ignore[method-assign]


def flags_parser() -> argparse.ArgumentParser:
    """Return the parser of Hydra's flags."""
    return get_args_parser()


def action_of(parser: argparse.ArgumentParser, flag: str) -> argparse.Action:
    """Return the action of a flag, as `--config-dir`."""
    return next(one for one in parser._actions if flag in one.option_strings)


def config_loader(packaged: Path, folders: Sequence[str]) -> ConfigLoaderImpl:
    """Return a loader of the packaged configuration and of more folders.

    Args:
        packaged: the packaged configuration.
        folders: as `--config-dir`, each an absolute path.
    """
    search_path = create_config_search_path(str(packaged))
    for folder in folders:
        anchor = SearchPathQuery(provider="schema")
        search_path.prepend("command-line", f"file://{folder}", anchor=anchor)
    return ConfigLoaderImpl(search_path)


def repository_of(
    loader: ConfigLoaderImpl, config_name: str, hydra_overrides: Sequence[str]
) -> CachingConfigRepository:
    """Return the repository of all options, with the search path that the overrides add.

    Raises:
        Exception: whatever Hydra or YAML finds in the primary configuration.
    """
    _, repository = loader._parse_overrides_and_create_caching_repo(
        config_name, list(hydra_overrides)
    )
    return repository


def grid_jobs(
    loader: ConfigLoaderImpl, params: Mapping[str, str], overrides: Sequence[str]
) -> list[list[str]]:
    """Return the overrides of each job of Hydra's own sweeper, in the order of their numbers.

    Args:
        loader: knows the options that `glob` finds.
        params: of the sweeper, key -> values.
        overrides: of the command line, without those of Hydra's own keys.
    """
    lines = [*(f"{key}={values}" for key, values in params.items()), *overrides]
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(lines)
    return [job for batch in BasicSweeper.split_arguments(parsed, None) for job in batch]


def apply_override(override: Override, cfg: DictConfig) -> None:
    """Apply one override to a composed configuration.

    Raises:
        HydraException: it cannot be applied.
    """
    ConfigLoaderImpl._apply_overrides_to_config([override], cfg)


class _ComposedBefore(ConfigLoaderImpl):
    """A loader of Hydra's runtime that gives it a configuration that is composed already.

    Args:
        loader: that composed it.
        cfg: the configuration, with Hydra's own node.
    """

    def __init__(self, loader: ConfigLoaderImpl, cfg: DictConfig) -> None:
        super().__init__(loader.config_search_path)
        self._cfg = cfg

    def load_configuration(self, *args: Any, **kwargs: Any) -> DictConfig:
        return self._cfg


def run_composed(
    loader: ConfigLoaderImpl, cfg: DictConfig, run: Callable[[DictConfig], float]
) -> None:
    """Run one job as Hydra does (folder, logging, callbacks), without composing it again.

    `hydra.main` can do neither: it composes twice, once for `hydra.mode` and once for the job.

    Args:
        loader: that composed the configuration.
        cfg: the configuration, with Hydra's own node and what was typed in it.
        run: the job.
    """
    cfg.hydra.mode = RunMode.RUN
    cfg.hydra.runtime.cwd = os.getcwd()  # options may have been composed elsewhere
    overrides = OverridesParser.create().parse_overrides(list(cfg.hydra.overrides.task))
    config = cfg.hydra.job.config.override_dirname
    cfg.hydra.job.override_dirname = get_overrides_dirname(
        overrides, config.exclude_keys, config.item_sep, config.kv_sep
    )
    hydra = Hydra("seqpipe", _ComposedBefore(loader, cfg))
    GlobalHydra.instance().initialize(hydra)
    try:
        hydra.run(cfg.hydra.job.config_name, run, [])
    finally:
        GlobalHydra.instance().clear()
