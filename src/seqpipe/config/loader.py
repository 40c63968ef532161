"""Hydra's composition, one override at a time, so that one mistake does not hide the next."""

import os
import pickle
import re
import shlex
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra import version
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.core.utils import setup_globals
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError

from seqpipe.config.adjustments import drop_inherited, settle
from seqpipe.config.config_view import Tree
from seqpipe.config.hydra_internals import (
    ConfigLoader,
    Repository,
    apply_override,
    config_loader,
    repository_of,
    run_composed,
)
from seqpipe.config.key_names import deletable, unknown_key
from seqpipe.config.nested_groups import with_dots
from seqpipe.config.paths import conf_dir
from seqpipe.config.schema import GROUPS, MAY_BE_NULL
from seqpipe.config.sweep_keys import LAUNCHER, take_sweep_keys
from seqpipe.config.validate import rule_at
from seqpipe.errors import ConfigError, did_you_mean
from seqpipe.rules import Problem, shown

VERSION_BASE = "1.3"
_NO_PLACE = re.compile(
    r"Could not (?:override|delete) '([^'=]+)[^']*'\.\s*"
    r"(?:Did you mean to override (?:one of )?([^?]+))?"
)


class Composed(NamedTuple):
    """A composed configuration, without Hydra's own node.

    Args:
        cfg: the configuration.
        choices: the option chosen in each group.
        hydra: Hydra's own node.
        problems: overrides that could not be applied, and so are not in cfg.
        refused: groups whose option does not exist, cfg has their default option; and keys whose
            value cannot be read.
        nulls: keys that held null and were removed, which Hydra itself refuses.
        loader: Hydra's loader that composed it.
        of_sweep: the keys about how the jobs of a sweep are started, which cfg has not.
    """

    cfg: DictConfig
    choices: dict[str, str]
    hydra: DictConfig
    problems: list[Problem | str]
    refused: frozenset[str]
    nulls: frozenset[str]
    loader: ConfigLoader
    of_sweep: dict[str, object]

    @property
    def is_sweep(self) -> bool:
        """True where the options chosen make it a sweep, without the flag for one."""
        return bool(self.hydra.mode == RunMode.MULTIRUN)

    def has_value(self, key: str, shown: str) -> bool:
        """True if a key holds a value in what `--cfg` shows: job, hydra or all."""
        is_hydra = key.split(".")[0] == "hydra"
        if shown != "all" and is_hydra != (shown == "hydra"):
            return False
        try:
            return OmegaConf.select(self._whole(), key) is not None
        except OmegaConfBaseException:  # the interpolation there leads nowhere, or it is no key
            return False

    def run(self, job: Callable[[DictConfig], float]) -> None:
        """Run it as one job of Hydra's, without composing it again."""
        run_composed(self.loader, self._whole(), job)

    def _whole(self) -> DictConfig:
        whole = self.cfg.copy()
        with open_dict(whole):
            whole.hydra = self.hydra
        return whole


def choices_of(hydra: Any) -> dict[str, str]:
    """The option chosen in each group of a job, from Hydra's own node; others are left out."""
    return {
        str(group): str(option)
        for group, option in hydra.runtime.choices.items()
        if option is not None and str(group).split("/")[0] not in ("hydra", LAUNCHER)
    }


class Unreadable(NamedTuple):
    """An override that Hydra's grammar does not take, and what its parser says."""

    line: str
    reason: str


Typed = Override
"""One override of a command line, for modules that may not import Hydra."""


def parse(overrides: Sequence[str]) -> tuple[list[Override], dict[str, Unreadable]]:
    """The overrides that can be read, and the others by their keys."""
    parser, parsed, unreadable = OverridesParser.create(), list[Override](), dict[str, Unreadable]()
    for line in overrides:
        try:
            override = parser.parse_override(line)
            if not override.key_or_group:
                raise HydraException("no key")
            parsed.append(override)
        except HydraException as error:
            key = line.partition("=")[0].lstrip("+~")
            unreadable[key] = Unreadable(line, str(error).splitlines()[0])
    return parsed, unreadable


def in_quotes(line: str) -> str:
    """An override with its value in quotes, as a shell takes it; else how one is written."""
    key, is_pair, value = line.partition("=")
    if is_pair and key.lstrip("+~") and value[:1] not in ("[", "{"):
        text = QuotedString(text=value, quote=Quote.double).with_quotes()
        try:
            is_read = OverridesParser.create().parse_override(f"{key}={text}").value() == value
        except HydraException:  # its key is what cannot be read
            is_read = False
        if is_read:
            return f"in quotes, {shlex.quote(f'{with_dots(key)}={text}')}"
    return "key=value, +key=value or ~key, special characters in quotes: 'key=\"a b\"'"


def _as_key(name: object) -> str:
    return str(name) if str(name).isidentifier() else "NAME"


class Loader:
    """Composes the packaged configuration, and that of more folders.

    Args:
        config_dirs: the user's folders, as in `--config-dir`.
        hydra_overrides: overrides of Hydra's own keys, such as hydra.searchpath.
        config_name: the primary configuration.

    Raises:
        ConfigError: a folder does not exist.
    """

    def __init__(
        self,
        config_dirs: Sequence[str | Path] = (),
        hydra_overrides: Sequence[str] = (),
        config_name: str = "config",
    ) -> None:
        version.setbase(VERSION_BASE)
        setup_globals()
        self.hydra_overrides = list(hydra_overrides)
        self.config_name = config_name
        for folder in config_dirs:
            if not Path(folder).is_dir():
                raise ConfigError(f"--config-dir={folder}: no such folder; allowed: a folder")
        folders = [os.path.abspath(folder) for folder in config_dirs]
        self.hydra_loader = config_loader(conf_dir(), folders)
        self.repository = self._repository()
        self._composed: dict[tuple[str, ...], bytes] = {}

    def _repository(self) -> Repository:
        try:
            repository = repository_of(self.hydra_loader, self.config_name, self.hydra_overrides)
        except Exception as error:  # whatever Hydra or YAML finds in the primary configuration
            raise ConfigError(f"{self.config_name}.yaml: {_in_words(error)}") from None
        if not repository.config_exists(self.config_name):
            text = "no such configuration; allowed: config, or NAME of a NAME.yaml in --config-dir"
            raise ConfigError(f"--config-name={self.config_name}: {text}")
        return repository

    def user_dirs(self) -> list[Path]:
        """Folders on the search path that are neither Hydra's nor ours."""
        return [
            Path(source.path)
            for source in self.repository.get_sources()
            if source.scheme() == "file" and Path(source.path) != conf_dir()
        ]

    def is_group(self, override: Override) -> bool:
        """Return True if an override chooses an option of a group."""
        return override.package is not None or self.repository.group_exists(override.key_or_group)

    def options(self, group: str) -> list[str]:
        """The options of a group, packaged and the user's."""
        return self.repository.get_group_options(group)

    def unreadable_problem(self, found: Unreadable, cfg: DictConfig) -> str:
        """Return the problem of an override that cannot be applied to a configuration."""
        line, group = with_dots(found.line), found.line.partition("=")[0].lstrip("+~")
        allowed = in_quotes(found.line)
        rule = rule_at(Tree(cfg), with_dots(group))
        if rule is not None and not rule.accepts(found.line.partition("=")[2]):
            allowed = rule.allowed
        if group and self.repository.group_exists(group):
            options = self.options(group)
            allowed = ", ".join(options) + did_you_mean(found.line.partition("=")[2], options)
        return f"{line}: cannot be read ({found.reason}); allowed: {allowed}"

    def choice_problem(self, override: Override) -> Problem | str | None:
        """Return the problem of the choice of an option, or None."""
        group, value, options = override.key_or_group, override.value(), None
        typed = with_dots(override.get_key_element())
        if "/_" in group:
            text = "base files are no options, options are built from them"
            return f"{override.input_line}: {text}; allowed: leave it out"
        if override.is_delete():
            allowed = "leave it out" if group in MAY_BE_NULL else "another option"
            refused = group in (*GROUPS, *MAY_BE_NULL)
            return (
                f"{override.input_line}: cannot be deleted; allowed: {allowed}" if refused else None
            )
        known = isinstance(value, str) and self.repository.config_exists(f"{group}/{value}")
        chosen = (*GROUPS, *MAY_BE_NULL)
        if override.is_add() and known and group in chosen and override.package is None:
            allowed = f"without the plus: {group}={shown(value)}"
            return Problem(typed, value, f"is in the configuration already; allowed: {allowed}")
        if isinstance(value, list) and group in GROUPS and group != "callbacks":
            allowed = f"one of {', '.join(self.options(group))}"
            return Problem(typed, value, f"several options; allowed: {allowed}")
        for name in value if isinstance(value, list) else [value]:
            exists = self.repository.config_exists(f"{group}/{name}")
            if name is not None and exists and not str(name).startswith("_"):
                continue
            options = self.options(group)
            if name is None and group in MAY_BE_NULL:  # Hydra takes no null
                text = f"none is chosen without it; allowed: leave it out, {', '.join(options)}"
                return Problem(typed, value, text)
            wrong = "an option must be chosen" if name is None else "no such option"
            hint = did_you_mean(shown(name), options)
            if group == "callbacks" and not hint:
                hint = f"; one more callback: +callbacks.{_as_key(name)}._target_=module.Class"
            return Problem(typed, value, f"{wrong}; allowed: {', '.join(options)}{hint}")
        return None

    def compose(self, overrides: Sequence[Override], unread: Collection[str] = ()) -> Composed:
        """Apply what can be applied and list what cannot.

        Args:
            overrides: all but those that cannot be read.
            unread: keys and groups of those: they are not judged by their defaults.

        Raises:
            ConfigError: the groups chosen cannot be composed at all.
        """
        problems: list[Problem | str] = []
        refused: set[str] = set(unread)
        lines, values = list[str](), list[Override]()
        for override in overrides:
            if not self.is_group(override):
                values.append(override)
            elif problem := self.choice_problem(override):
                problems.append(problem)
                refused.add(override.key_or_group)
            else:
                lines.append(str(override.input_line))
        try:
            cfg = self._compose_groups(tuple(lines))
        except ConfigError as error:
            raise ConfigError([*map(str, problems), *error.problems]) from None
        nulls = set[str]()
        for override in values:
            if override.is_delete() and OmegaConf.select(cfg, override.key_or_group) is None:
                nulls.add(override.key_or_group)
            problem = _apply(override, cfg)
            # Keys of an option that does not exist cannot be judged by those of another.
            if problem and override.key_or_group.split(".")[0] not in refused:
                problems.append(problem)
        drop_inherited(cfg, [str(override.input_line) for override in values])
        hydra = cfg.hydra
        with open_dict(cfg):
            del cfg["hydra"]
        of_sweep = take_sweep_keys(cfg)
        settle(cfg)
        hydra.overrides.task = [str(override.input_line) for override in overrides]
        sets = frozenset(refused), frozenset(nulls)
        found = (cfg, choices_of(hydra), hydra, problems, *sets)
        return Composed(*found, self.hydra_loader, of_sweep)

    def _compose_groups(self, lines: tuple[str, ...]) -> DictConfig:
        """Compose the options chosen; a sweep does so once for each set of options."""
        if lines not in self._composed:
            try:
                cfg = self.hydra_loader.load_configuration(
                    self.config_name, [*self.hydra_overrides, *lines], RunMode.RUN
                )
            except Exception as error:  # whatever Hydra or YAML finds in the user's files
                if problem := _without_place(error, lines):
                    raise ConfigError(problem) from None
                # Hydra does not always name the one of these that it stumbles over.
                typed = f"{' '.join(self.hydra_overrides)}: " if self.hydra_overrides else ""
                raise ConfigError(f"{typed}{_in_words(error)}") from None
            self._composed[lines] = pickle.dumps(cfg)
        copied: DictConfig = pickle.loads(self._composed[lines])  # five times as fast as deepcopy
        return copied


def _without_place(error: Exception, lines: Sequence[str]) -> str | None:
    """Return the problem of an option whose place the options chosen do not have, or None."""
    found = _NO_PLACE.match(str(error))
    if found is None:
        return None
    place, closest = found.groups()
    line = next((one for one in lines if one.lstrip("+~").partition("=")[0] == place), None)
    if line is None:
        return None
    value, (group, _, part) = line.partition("=")[2], place.partition("/")
    if part and not closest and "@" not in place:
        text = f"the chosen {group} has no {part}; allowed: leave it out, or another {group}"
    else:
        listed = [f"{with_dots(one)}={value}" for one in (closest or "").split(", ") if one]
        allowed = " or ".join(listed) or "leave it out"
        text = f"the configuration has no such place; allowed: {allowed}"
    return f"{with_dots(line)}: {text}"


def _in_words(error: Exception) -> str:
    """Hydra's message on one line, with the options and the closest one where it knows them."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if error.__cause__ is not None and str(error.__cause__):
        lines.append(str(error.__cause__).splitlines()[0])
    if isinstance(error, MissingConfigException) and error.options:
        wanted = str(error.missing_cfg_file).rpartition("/")[2]
        hint = did_you_mean(wanted, error.options)
        file = str(error.missing_cfg_file)
        return f"{file}: {lines[0]}; allowed: {', '.join(error.options)}{hint}"
    if isinstance(error, MarkedYAMLError) and (mark := error.problem_mark):
        place = f"{mark.name}:{mark.line + 1}"
        return f"{place}: {error.problem}; allowed: a file that YAML can read"
    if isinstance(error, YAMLError) or isinstance(error.__cause__, YAMLError):
        lines.append("; allowed: a file that YAML can read")
    else:
        lines.append("; allowed: overrides that Hydra can compose")
    return " ".join(lines).replace(" ; ", "; ")


def _apply(override: Override, cfg: DictConfig) -> Problem | str | None:
    """Change cfg as the override says; what is wrong where that cannot be done."""
    parent = override.key_or_group.rpartition(".")[0]
    holder = OmegaConf.select(cfg, parent) if parent else cfg
    if holder is not None and not OmegaConf.is_config(holder):  # Hydra would replace it by {}
        return f"{override.input_line}: {parent} holds a value; allowed: {parent}=..."
    if override.is_delete():
        return _delete(override, cfg)
    if holder is None and not override.is_add() and Tree(cfg).has(parent):  # null: as a value
        key, value = override.key_or_group, override.value()
        return Problem(key, value, unknown_key(cfg, key, value))
    try:
        apply_override(override, cfg)
    except ConfigCompositionException as error:
        key, value = override.key_or_group, override.value()
        if isinstance(error.__cause__, (ConfigAttributeError, ConfigKeyError)):
            return Problem(key, value, unknown_key(cfg, key, value))
        if "Could not append" in str(error):
            allowed = f"without the plus: {key}={shown(value)}"
            if not OmegaConf.is_config(OmegaConf.select(cfg, key)):  # judged by what was meant
                OmegaConf.update(cfg, key, value, merge=False)
            return f"+{key}={shown(value)}: is in the configuration already; allowed: {allowed}"
        rule = rule_at(Tree(cfg), key)
        if rule is not None and (fault := rule.fault(value)):
            return Problem(key, value, fault)
        return f"{override.input_line}: {_in_words(error)}"
    return None


def _delete(override: Override, cfg: DictConfig) -> str | None:
    """Remove a key, also one that holds null, which Hydra takes for one that is not there."""
    key, line = override.key_or_group, str(override.input_line)
    parent, _, name = key.rpartition(".")
    holder = OmegaConf.select(cfg, parent) if parent else cfg
    if OmegaConf.is_dict(holder) and OmegaConf.is_missing(holder, name):
        return f"{line}: has no value, so there is nothing to delete; allowed: leave it out"
    if not OmegaConf.is_dict(holder) or name not in holder:
        return f"{line}: no such key; allowed: {deletable(cfg, key)}"
    found = OmegaConf.select(holder, name)
    if override.value() is not None and override.value() != found:
        return f"{line}: {key} holds {shown(found)}; allowed: ~{key}"
    with open_dict(holder):
        del holder[name]
    return None
