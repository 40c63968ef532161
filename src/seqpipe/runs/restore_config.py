"""The configuration of a recorded run, and how it was started, made anew from its record.

The run's config.yaml is what ran, resolved. Where its command composes the same today, that is
taken: it still says which value is read by which other, and is checked like any.
"""

import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from seqpipe.config.commandline import check
from seqpipe.config.compose import Launch
from seqpipe.config.loader import Composed
from seqpipe.config.params import flat_params
from seqpipe.config.paths import conf_dir
from seqpipe.config.schema import FORMER_KEYS, GROUPS, PANEL
from seqpipe.errors import ConfigError, DataError
from seqpipe.rules import shown
from seqpipe.runs.find_run import training_store
from seqpipe.runs.trust import (
    OF_HYDRA,
    check_data,
    foreign_targets,
    given_by_the_run,
    is_plain,
    lacking,
    misfits,
    option_of,
    words_of,
)
from seqpipe.tracking.run_record import FoundRun
from seqpipe.tracking.store import resolve_uri

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rebuilt:
    """A recorded run, ready to be trained again.

    Args:
        cfg: its configuration.
        launch: how it was started, with a folder of its own.
        resolved: whether cfg is its config.yaml, see `train.run`.
        changed: keys that its command would set otherwise today, with both values; or why its
            command was not composed.
    """

    cfg: DictConfig
    launch: Launch
    resolved: bool
    changed: tuple[str, ...]


def rebuild(
    found: FoundRun,
    root: Path,
    *,
    tags: Mapping[str, str],
    own_code: bool = False,
    own_data: bool = False,
) -> Rebuilt:
    """A recorded run, ready to be trained again.

    Args:
        found: the run.
        root: the folder the user works in.
        tags: more to record of the new run.
        own_code: whether it may name classes and options of the user's own: a record from elsewhere
            could name anything, and naming it is running it.
        own_data: whether files and data sets that it names may be read, though it was not trained
            from `root`.

    Raises:
        ConfigError: it trained nothing, or names code or data of the user's own.
        DataError: it lacks what every run has, or has what this version does not take.
    """
    cfg = _recorded(found, own_code)
    check_data(found, found.config, root, own_data=own_data, instead="")
    words = words_of(found.tags.get("command", ""))
    flags = [word for word in words if word.startswith("-") or OF_HYDRA.match(word)]
    overrides = [word for word in words if word not in flags]
    composed, why = None, "its command no longer composes"
    if own_code:  # cells may lie beside their options, as when the run was started
        sys.path.extend(os.path.abspath(root / folder) for folder in _config_dirs(flags))
        composed = _composed(flags, overrides, root) if words else None
    elif is_plain([word for word in words if not OF_HYDRA.match(word)]):
        composed = _composed([], overrides, root) if words else None
    else:
        why = "its command names options or code of its own, which own_code=true would compose"
    choices, changed = _choices(found, cfg), tuple(_changed(cfg, composed))
    if composed is not None and not changed:
        cfg, choices = composed.cfg, composed.choices
    wrong = [] if composed is not None and not changed else list(misfits(found.config))
    if wrong:
        version = found.tags.get("version.seqpipe", "unknown")
        text = f"its configuration does not fit this version ({'; '.join(wrong)})"
        raise DataError(f"{found.typed}: {text}; allowed: the version that wrote it ({version})")
    _place(cfg, found, root, own=found.is_own(root))
    name = "_".join([choices.get("data", "data"), choices.get("cell", "custom")])
    folder = root / "outputs" / "runs" / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{name}"
    more = tuple(sorted(tags.items()))
    launch = Launch(folder, root, choices, tuple(overrides), flags=tuple(flags), tags=more)
    changed = changed if composed is not None else (why,)
    return Rebuilt(cfg, launch, composed is None or bool(changed), changed)


def _place(cfg: DictConfig, found: FoundRun, root: Path, *, own: bool) -> None:
    """The new run is recorded where the old one was looked for, or by default.

    Only a record of the user's own says otherwise, or where prepared data is kept.
    """
    then = found.config["logger"].get("tracking_uri")
    if then is not None:
        asked = found.tracking_uri if found.artifacts is not None else None
        if asked is not None and resolve_uri(str(then), root) == asked:
            asked = str(then)
        cfg.logger.tracking_uri = asked or (then if own else training_store())
        if not own and asked is None and then != cfg.logger.tracking_uri:
            text = "the new run is recorded in %s, not in %s, which somebody else's record names"
            log.warning(text, cfg.logger.tracking_uri, then)
    if not own and cfg.data.cache is not None:
        cfg.data.cache = OmegaConf.load(conf_dir() / "config.yaml").data.cache


def _recorded(found: FoundRun, own_code: bool) -> DictConfig:
    """The run's config.yaml, looked over."""
    config, version = found.config, found.tags.get("version.seqpipe", "unknown")
    missing = [key for key in PANEL if key not in config] + lacking(config, GROUPS)
    if missing:
        text = f"its config.yaml lacks {', '.join(missing)}; allowed: the version that wrote it"
        raise DataError(f"{found.typed}: {text} ({version})")
    for key in FORMER_KEYS:
        if config.get(key):
            text = f"it trained nothing ({key}={shown(config[key])}); allowed: a run that did"
            raise ConfigError(f"{found.typed}: {text}")
    foreign = foreign_targets(config)
    if foreign and not own_code:
        text = f"names code that is not seqpipe's ({', '.join(foreign)}), which would run"
        raise ConfigError(f"{found.typed}: {text}; allowed: own_code=true, if you trust it")
    if given := given_by_the_run(config):
        text = f"sets what only a run can know ({', '.join(given)})"
        raise DataError(f"{found.typed}: {text}; allowed: the version that wrote it ({version})")
    cfg = OmegaConf.create({key: value for key, value in config.items() if key not in FORMER_KEYS})
    assert isinstance(cfg, DictConfig)
    return cfg


def _composed(flags: list[str], overrides: list[str], root: Path) -> Composed | None:
    """What the command composes today; None where it no longer works."""
    of_hydra = [word for word in flags if OF_HYDRA.match(word)]
    names = [word.partition("=")[2] for word in flags if word.startswith("--config-name=")]
    folders = [root / folder for folder in _config_dirs(flags)]
    try:
        checked = check([*of_hydra, *overrides], folders, config_name=(names or ["config"])[-1])
    except ConfigError:
        return None
    return None if checked.problems else checked.composed


def _changed(cfg: DictConfig, composed: Composed | None) -> Iterator[str]:
    """Keys of the recorded configuration that its command would set otherwise today."""
    if composed is None:
        return
    then = dict(_leaves(OmegaConf.to_container(cfg)))
    now = dict(_leaves(OmegaConf.to_container(composed.cfg, resolve=True)))
    for key in sorted({*then, *now} - {"logger.tracking_uri"}):
        if key not in then or key not in now or then[key] != now[key]:
            told = [shown(values[key]) if key in values else "not there" for values in (then, now)]
            yield f"{key}: then {told[0]}, today {told[1]}"


def _leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, node


def _config_dirs(flags: list[str]) -> list[str]:
    return [word.partition("=")[2] for word in flags if word.startswith("--config-dir=")]


def _choices(found: FoundRun, cfg: DictConfig) -> dict[str, str]:
    """The option chosen in each group: the params that are no key of the configuration."""
    keys = flat_params(cfg, {})
    chosen: dict[str, str] = {}
    for file in conf_dir().rglob("*/*.yaml"):
        group = file.parent.relative_to(conf_dir()).as_posix()
        name = group.replace("/", ".")
        if name not in keys and (option := option_of(found.params.get(name))):
            chosen[group] = option  # it becomes part of a folder's name
    return chosen
