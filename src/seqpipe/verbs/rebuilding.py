"""The configuration of a recorded run, and how it was started, made anew from its record.

The run's config.yaml is what ran, resolved. Where its command composes the same today, that is
taken: it still says which value is read by which other, and is checked like any.
"""

import importlib
import os
import re
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from seqpipe.config.annotations import TargetError
from seqpipe.config.commandline import check
from seqpipe.config.compose import Launch
from seqpipe.config.loader import Composed
from seqpipe.config.params import flat_params
from seqpipe.config.paths import conf_dir
from seqpipe.config.schema import GROUPS, PANEL, TAKEN_BY_THE_RUN
from seqpipe.config.signatures import signature_of
from seqpipe.errors import ConfigError, DataError
from seqpipe.rules import shown
from seqpipe.tracking.found import FoundRun
from seqpipe.tracking.store import resolve_uri

_OF_HYDRA = re.compile(r"[+~]*hydra[./]")
_OURS = ("data", "nn", "models", "tasks", "training", "tracking", "diagnostics")
_START = ["python", "-m", "seqpipe"]


@dataclass(frozen=True)
class Rebuilt:
    """A recorded run, ready to be trained again.

    Args:
        cfg: its configuration.
        launch: how it was started, with a folder of its own.
        resolved: whether cfg is its config.yaml, see `train.run`.
        changed: keys that its command would set otherwise today, with both values.
    """

    cfg: DictConfig
    launch: Launch
    resolved: bool
    changed: tuple[str, ...]


def rebuild(
    found: FoundRun, root: Path, *, tags: Mapping[str, str], own_code: bool = False
) -> Rebuilt:
    """The run, made anew from its record.

    Args:
        found: the run.
        root: the folder the user works in.
        tags: more to record of the new run.
        own_code: whether it may name classes of the user's own: a record from elsewhere could
            name anything, and naming it is running it.

    Raises:
        ConfigError: it trained nothing, or names code of the user's own.
        DataError: it lacks what every run has, or has what this version does not take.
    """
    cfg = _recorded(found, own_code)
    words = _words(found.tags.get("command", ""))
    flags = [word for word in words if word.startswith("-") or _OF_HYDRA.match(word)]
    overrides = [word for word in words if word not in flags]
    if own_code:  # cells may lie beside their options, as when the run was started
        sys.path.extend(os.path.abspath(root / folder) for folder in _config_dirs(flags))
    composed = None
    if words and (own_code or not any("_target_" in word for word in words)):
        composed = _composed(flags, overrides, root)
    choices, changed = _choices(found, cfg), tuple(_changed(cfg, composed))
    if composed is not None and not changed:
        cfg, choices = composed.cfg, composed.choices
    misfits = [] if composed is not None and not changed else list(_misfits(found.config))
    if misfits:
        version = found.tags.get("version.seqpipe", "unknown")
        text = f"its configuration does not fit this version ({'; '.join(misfits)})"
        raise DataError(f"{found.typed}: {text}; allowed: the version that wrote it ({version})")
    written_to = cfg.logger.get("tracking_uri")
    if None not in (found.tracking_uri, written_to):  # the new run is recorded beside it
        if resolve_uri(written_to, root) != found.tracking_uri:
            cfg.logger.tracking_uri = found.tracking_uri
    name = "_".join([choices.get("data", "data"), choices.get("cell", "custom")])
    folder = root / "outputs" / "runs" / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{name}"
    more = tuple(sorted(tags.items()))
    launch = Launch(folder, root, choices, tuple(overrides), flags=tuple(flags), tags=more)
    return Rebuilt(cfg, launch, composed is None or bool(changed), changed)


def _recorded(found: FoundRun, own_code: bool) -> DictConfig:
    """The run's config.yaml, looked over."""
    cfg = OmegaConf.create(found.config)
    lacking = [key for key in (*PANEL, *GROUPS) if key not in cfg]
    if lacking:
        version = found.tags.get("version.seqpipe", "unknown")
        text = f"its config.yaml lacks {', '.join(lacking)}; allowed: the version that wrote it"
        raise DataError(f"{found.typed}: {text} ({version})")
    for key in ("describe", "replay"):
        if cfg[key]:
            text = f"it trained nothing ({key}={shown(cfg[key])}); allowed: a run that did"
            raise ConfigError(f"{found.typed}: {text}")
    foreign = sorted(set(_targets(found.config)) - _packaged())
    if foreign and not own_code:
        text = f"names code that is not seqpipe's ({', '.join(foreign)}), which would run"
        raise ConfigError(f"{found.typed}: {text}; allowed: own_code=true, if you trust it")
    return cfg


def _composed(flags: list[str], overrides: list[str], root: Path) -> Composed | None:
    """What the command composes today; None where it no longer works."""
    of_hydra = [word for word in flags if _OF_HYDRA.match(word)]
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


def _words(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError:  # cut off: the store keeps so many characters
        return []
    return words[len(_START) :] if words[: len(_START)] == _START else []


def _choices(found: FoundRun, cfg: DictConfig) -> dict[str, str]:
    """The option chosen in each group: the params that are no key of the configuration."""
    keys = flat_params(cfg, {})
    chosen: dict[str, str] = {}
    for file in conf_dir().rglob("*/*.yaml"):
        group = file.parent.relative_to(conf_dir()).as_posix()
        name = group.replace("/", ".")
        if name in found.params and name not in keys:
            chosen[group] = found.params[name]
    return chosen


def _targets(node: Any) -> Iterator[str]:
    """Every `_target_` in a configuration, but for classes of seqpipe's own."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            target = str(node["_target_"])
            if not _is_ours(target):
                yield target
        for value in node.values():
            yield from _targets(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _targets(value)


def _is_ours(target: str) -> bool:
    """A class written in one of our parts, or a schedule; not what their modules import."""
    module, _, name = target.rpartition(".")
    if not any(f"{module}.".startswith(f"seqpipe.{part}.") for part in _OURS):
        return False
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError:  # `seqpipe.data.cache.os` is no module of ours
        return False
    if found is None:  # of another version: `_misfits` tells
        return True
    known = isinstance(found, type) or module == "seqpipe.training.schedules"
    return known and str(getattr(found, "__module__", "")).startswith("seqpipe.")


def _misfits(node: Any, key: str = "") -> Iterator[str]:
    """What this version does not take of a configuration that an older one wrote."""
    if not isinstance(node, Mapping):
        return
    if "_target_" in node:
        try:
            taken = signature_of(str(node["_target_"]))
        except TargetError as error:
            yield f"{key}: {error}"
            return
        known = {*taken.rules, "_target_", "_partial_", *TAKEN_BY_THE_RUN.get(key, ())}
        unknown = [] if taken.takes_any else sorted(map(str, node.keys() - known))
        yield from (f"{key}.{name}: {taken.name} has no such argument" for name in unknown)
    for name, value in node.items():
        yield from _misfits(value, f"{key}.{name}" if key else str(name))


def _packaged() -> set[str]:
    """What the packaged options name, such as torch.optim.Adam."""
    files = conf_dir().rglob("*.yaml")
    return {
        target
        for file in files
        for target in _targets(yaml.safe_load(file.read_text(encoding="utf-8")))
    }
