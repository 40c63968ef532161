"""The configuration of a recorded run, restored so that it can be trained again.

The run's config.yaml holds the resolved values. If its command still composes to the same values,
the composed configuration is used: it keeps the interpolations and is checked like any other.
"""

import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from seqpipe.config.commandline import check
from seqpipe.config.compose import Launch
from seqpipe.config.config_view import flat_params, is_kernel, leaves
from seqpipe.config.loader import Composed
from seqpipe.config.paths import conf_dir
from seqpipe.config.schema import ADDED, FOLDS, FORMER_KEYS, GROUPS, PANEL
from seqpipe.errors import ConfigError, DataError
from seqpipe.rules import shown
from seqpipe.runs.find_run import training_store
from seqpipe.runs.resume import add_new_options, adopt_choices
from seqpipe.runs.trust import (
    OF_HYDRA,
    argument_problems,
    check_data,
    command_words,
    foreign_targets,
    is_plain_command,
    keys_of_the_run,
    missing_keys,
    option_name,
)
from seqpipe.tracking.run_record import RunRecord
from seqpipe.tracking.store import resolve_uri

log = logging.getLogger(__name__)

# Set by `rerun`, which knows the number of threads; and what data.path is the result of.
_NOT_COMPARED = {"logger.tracking_uri", "trainer.threads", "data.source.default_folder"}


@dataclass(frozen=True)
class RestoredRun:
    """A recorded run, ready to be trained again.

    Args:
        cfg: its configuration.
        launch: how it was started, with a new folder.
        resolved: True if cfg is its config.yaml, see `load_data`.
        changed: keys that its command would set differently today, with both values; or the reason
            why its command was not composed.
    """

    cfg: DictConfig
    launch: Launch
    resolved: bool
    changed: tuple[str, ...]


def restore_run(
    found: RunRecord,
    root: Path,
    *,
    tags: Mapping[str, str],
    own_code: bool = False,
    own_data: bool = False,
) -> RestoredRun:
    """Restores a recorded run so that it can be trained again.

    Args:
        found: the run.
        root: the folder the user works in.
        tags: additional tags of the new run.
        own_code: allow classes and options from outside the package: a record from elsewhere could
            name anything, and importing it runs its code.
        own_data: allow reading the files and data sets that it names, though it was not trained
            from `root`.

    Raises:
        ConfigError: it trained nothing, or names code or data that is not allowed.
        DataError: it lacks a required key, or does not fit this version.
    """
    cfg = _recorded_config(found, own_code)
    check_data(found, found.config, root, own_data=own_data, instead="")
    words = command_words(found.tags.get("command", ""))
    flags = [word for word in words if word.startswith("-") or OF_HYDRA.match(word)]
    overrides = [word for word in words if word not in flags]
    composed, why = None, "its command no longer composes"
    if own_code:  # cells may lie beside their options, as when the run was started
        sys.path.extend(os.path.abspath(root / folder) for folder in _config_dirs(flags))
        composed = _compose_command(flags, overrides, root) if words else None
    elif is_plain_command([word for word in words if not OF_HYDRA.match(word)]):
        composed = _compose_command([], overrides, root) if words else None
    else:
        why = "its command names options or code of its own, which own_code=true would compose"
    if composed is not None:
        adopt_choices(composed.cfg, found.config)
        composed.cfg.update({key: value for key, value in ADDED.items() if key not in found.config})
    changed = (why,) if composed is None else tuple(_changed_keys(cfg, composed))
    if composed is not None and not changed:
        cfg, choices = composed.cfg, composed.choices
    else:
        choices = _recorded_choices(found, cfg)
        if wrong := list(argument_problems(found.config)):
            version = found.tags.get("version.seqpipe", "unknown")
            text = f"its configuration does not fit this version ({'; '.join(wrong)})"
            allowed = f"the version that wrote it ({version})"
            raise DataError(f"{found.typed}: {text}; allowed: {allowed}")
    _set_stores(cfg, found, root, own=found.is_own(root))
    name = "_".join([choices.get("data", "data"), choices.get("cell", "custom")])
    folder = root / "outputs" / "runs" / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{name}"
    more = tuple(sorted(tags.items()))
    launch = Launch(folder, root, choices, tuple(overrides), flags=tuple(flags), tags=more)
    return RestoredRun(cfg, launch, bool(changed), changed)


def _set_stores(cfg: DictConfig, found: RunRecord, root: Path, *, own: bool) -> None:
    """Sets where the new run is recorded: where the old one was found, or the default store.

    Only the user's own record may name another store, or the folder of prepared data.
    """
    then = found.config["logger"].get("tracking_uri")
    if then is not None:
        asked = found.tracking_uri if found.artifacts is not None else None
        if asked is not None and resolve_uri(str(then), root) == asked:
            asked = str(then)
        cfg.logger.tracking_uri = asked or (then if own else training_store())
        if not own and asked is None and then != cfg.logger.tracking_uri:
            text = (
                "the new run is recorded in %s, not in %s, which the record of the other run names"
            )
            log.warning(text, cfg.logger.tracking_uri, then)
    if not own and cfg.data.cache is not None:
        cfg.data.cache = OmegaConf.load(conf_dir() / "config.yaml").data.cache


def _recorded_config(found: RunRecord, own_code: bool) -> DictConfig:
    config, version = ADDED | dict(found.config), found.tags.get("version.seqpipe", "unknown")
    missing = [key for key in PANEL if key not in config] + missing_keys(config, GROUPS)
    if missing:
        text = f"its config.yaml lacks {', '.join(missing)}; allowed: the version that wrote it"
        raise DataError(f"{found.typed}: {text} ({version})")
    config["data"] = dict.fromkeys(FOLDS) | dict(config["data"])
    for key in FORMER_KEYS:
        if config.get(key):
            text = f"it did not train ({key}={shown(config[key])}); allowed: a run that trained"
            raise ConfigError(f"{found.typed}: {text}")
    foreign = foreign_targets(config)
    if foreign and not own_code:
        text = f"names code that is not seqpipe's ({', '.join(foreign)}), which would run"
        raise ConfigError(f"{found.typed}: {text}; allowed: own_code=true, if you trust it")
    if given := keys_of_the_run(config):
        text = f"sets what only a run can know ({', '.join(given)})"
        raise DataError(f"{found.typed}: {text}; allowed: the version that wrote it ({version})")
    cfg = OmegaConf.create({key: value for key, value in config.items() if key not in FORMER_KEYS})
    assert isinstance(cfg, DictConfig)
    return cfg


def _compose_command(flags: list[str], overrides: list[str], root: Path) -> Composed | None:
    """The configuration that the command composes today; None if it no longer works."""
    of_hydra = [word for word in flags if OF_HYDRA.match(word)]
    names = [word.partition("=")[2] for word in flags if word.startswith("--config-name=")]
    folders = [root / folder for folder in _config_dirs(flags)]
    try:
        checked = check([*of_hydra, *overrides], folders, config_name=(names or ["config"])[-1])
    except ConfigError:
        return None
    return None if checked.problems else checked.composed


def _changed_keys(cfg: DictConfig, composed: Composed) -> Iterator[str]:
    """Keys of the recorded configuration that its command would set differently today."""
    then = dict(leaves(OmegaConf.to_container(cfg)))
    now = dict(leaves(OmegaConf.to_container(composed.cfg, resolve=True)))
    add_new_options(then, now)
    for key in sorted({*then, *now} - _NOT_COMPARED):
        if is_kernel(key) and key not in then:  # of a version before there was a choice
            continue
        if key not in then or key not in now or then[key] != now[key]:
            both = [shown(values[key]) if key in values else "not there" for values in (then, now)]
            yield f"{key}: then {both[0]}, today {both[1]}"


def _config_dirs(flags: list[str]) -> list[str]:
    return [word.partition("=")[2] for word in flags if word.startswith("--config-dir=")]


def _recorded_choices(found: RunRecord, cfg: DictConfig) -> dict[str, str]:
    """The option chosen in each group: the params that are no key of the configuration."""
    keys = flat_params(cfg, {})
    chosen: dict[str, str] = {}
    for file in conf_dir().rglob("*/*.yaml"):
        group = file.parent.relative_to(conf_dir()).as_posix()
        name = group.replace("/", ".")
        if name not in keys and (option := option_name(found.params.get(name))):
            chosen[group] = option  # it becomes part of a folder's name
    return chosen
