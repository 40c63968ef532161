"""Objects from the nodes of a configuration; errors of the user's classes become messages.

A `_target_` may name any class or function. Whatever can be checked without calling it is checked
with the configuration (`config/arguments.py`); the rest shows only here, when it is called.
"""

import contextlib
import inspect
import site
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_object
from hydra.utils import instantiate as hydra_instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.utilities.exceptions import (  # type: ignore[attr-defined]
    MisconfigurationException,
)
from torch import nn
from torch.optim import Optimizer

from seqpipe.config.config_view import Tree
from seqpipe.config.paths import PACKAGE
from seqpipe.data.base import Field, Source
from seqpipe.errors import ConfigError, SeqpipeError, is_out_of_memory, place_message
from seqpipe.nn.cell import Cell
from seqpipe.tasks.base import Task
from seqpipe.tracking.base import Tracker

BASES: dict[str, type] = {
    "data.source": Source,
    "data.x": Field,
    "data.y": Field,
    "architecture": nn.Module,
    "architecture.encoder": nn.Module,
    "architecture.decoder": nn.Module,
    "architecture.head": nn.Module,
    "task": Task,
    "cell": Cell,
    "optim": Optimizer,
    "trainer": Trainer,
    "logger": Tracker,
    "callbacks.*": Callback,
}
"""The class that a node at each key must make."""

TOGETHER = "callbacks, logger and trainer that work together, or ~callbacks.NAME"
"""Allowed where Lightning refuses several parts together."""

_REASON = 300  # characters of another library's message


def instantiate(node: DictConfig, key: str = "", **extra: Any) -> Any:
    """Calls a node's `_target_`, with plain lists and dicts instead of OmegaConf's.

    Args:
        node: with a `_target_`.
        key: its place in the configuration.
        extra: more arguments.

    Raises:
        SeqpipeError: raised by the `_target_`, without Hydra's wrapper; any other error of a class
            that is not ours becomes a ConfigError.
    """
    try:
        return hydra_instantiate(node, _convert_="all", **extra)
    except InstantiationException as error:
        if isinstance(error.__cause__, SeqpipeError):
            raise error.__cause__ from None
        found = _foreign(OmegaConf.to_container(node, resolve=True), key)
        refused = None if not key else _refusal(found, error.__cause__ or error)
        if refused is None:
            raise
        raise refused from error


@contextlib.contextmanager
def refusing(cfg: DictConfig, *groups: str) -> Iterator[None]:
    """Turns errors of the user's classes into a message that names their keys.

    Args:
        cfg: the whole configuration.
        groups: the groups whose objects are made or called within the block. If all of them are
            of this package, every error passes unchanged.

    Raises:
        ConfigError: one of the user's classes raises.
    """
    try:
        yield
    except SeqpipeError:
        raise
    except Exception as error:
        refused = _refusal(foreign_in(cfg, *groups), error)
        if refused is None:
            raise
        raise refused from error


def foreign_in(cfg: DictConfig, *groups: str) -> dict[str, str]:
    """The classes and functions in some groups that are not of this package, by their keys."""
    tree = Tree(cfg)
    found: dict[str, str] = {}
    for group in groups:
        for key, node in tree.mappings(group):
            if "_target_" in node:
                found |= _foreign({"_target_": tree.get(f"{key}._target_")}, key)
    return found


def _foreign(node: Any, key: str) -> dict[str, str]:
    if isinstance(node, list):
        parts = [_foreign(value, f"{key}[{place}]") for place, value in enumerate(node)]
        return {name: target for part in parts for name, target in part.items()}
    if not isinstance(node, Mapping):
        return {}
    target = node.get("_target_")
    found = {}
    if isinstance(target, str) and target.split(".")[0] != "seqpipe":
        found[key] = target
    for name, value in node.items():
        found |= _foreign(value, f"{key}.{name}")
    return found


def check_kind(made: Any, key: str, target: str, base: type | None = None) -> None:
    """Refuses an object of a wrong class.

    Args:
        made: the object.
        key: its place in the configuration.
        target: the class or function that made it.
        base: the required class; None: that of `BASES`.

    Raises:
        ConfigError: it is no instance of that class.
    """
    base = BASES[key] if base is None else base
    if not _is_below(type(made), base):
        raise _no_kind(key, target, base)


def check_kinds(cfg: DictConfig, *groups: str) -> None:
    """Refuses classes that do not belong at their keys, before any is instantiated.

    Args:
        cfg: the whole configuration.
        groups: the groups to check, with everything below. Functions pass.

    Raises:
        ConfigError: with each of them.
    """
    problems = []
    for key, target in foreign_in(cfg, *groups).items():
        base = BASES.get(key)
        found = get_object(target)
        if base is not None and inspect.isclass(found) and not _is_below(found, base):
            problems += _no_kind(key, target, base).problems
    if problems:
        raise ConfigError(problems)


def _is_below(found: type, base: type) -> bool:
    """True for a subclass; a tracker only needs the methods of the protocol."""
    if base is not Tracker:
        return issubclass(found, base)
    methods = [name for name, value in vars(Tracker).items() if inspect.isfunction(value)]
    return all(hasattr(found, name) for name in methods if not name.startswith("_"))


def _no_kind(key: str, target: str, base: type) -> ConfigError:
    names = {Optimizer: "optimizer", Trainer: "trainer", Tracker: "tracker", nn.Module: "network"}
    name = names.get(base, base.__name__.lower())
    where = {Callback: "pytorch_lightning.Callback", Trainer: "pytorch_lightning.Trainer"}
    where |= {nn.Module: "torch.nn.Module", Optimizer: "torch.optim.Optimizer"}
    where |= {Cell: "seqpipe.nn.cells.Cell"}
    shown = where.get(base, f"{base.__module__}.{base.__name__}")
    allowed = (
        f"a class with the methods of {shown}" if base is Tracker else f"a class below {shown}"
    )
    return ConfigError(f"{key}._target_={target}: makes no {name}; allowed: {allowed}")


def _refusal(found: Mapping[str, str], error: BaseException) -> ConfigError | None:
    """The message about an error of a class that is not ours; None without such a class."""
    if not found or is_out_of_memory(error) or place_message(error) is not None:
        return None
    blamed = _blamed(found, error)
    shown = ", ".join(f"{key}._target_={found[key]}" for key in blamed)
    text = f"{shown}: cannot be used here ({reason(error)})"
    without = f", or ~{blamed[0]}" if blamed[0].startswith("callbacks.") else ""
    return ConfigError(f"{text}; allowed: arguments that it takes, or another class{without}")


def reason(error: BaseException) -> str:
    """The message of an error in other code, and its line in the user's own files."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    if isinstance(error, MisconfigurationException) and lines:
        text = lines[0].rstrip(".")
    text = text if len(text) <= _REASON else f"{text[:_REASON]}..."
    libraries = (*site.getsitepackages(), *sysconfig.get_paths().values())
    for above, frame in enumerate(reversed(traceback.extract_tb(error.__traceback__))):
        ours = above > 0 and frame.filename.startswith(str(PACKAGE))  # it only called the library
        if not ours and not frame.filename.startswith(libraries) and "<" not in frame.filename:
            return f"{text}, {frame.filename.rpartition('/')[2]}:{frame.lineno}"
    return text


def _blamed(found: Mapping[str, str], error: BaseException) -> list[str]:
    """Keys of the classes that may have raised: the innermost one that was running, else all."""
    modules: dict[str, str] = {}
    for key, target in found.items():
        with contextlib.suppress(Exception):  # a missing class was reported before
            modules[get_object(target).__module__] = key
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        running = modules.get(frame.f_globals.get("__name__", ""))
        if running is not None:
            return [running]
    return list(found)


@contextlib.contextmanager
def beginning(cfg: DictConfig, trainer: Trainer, begun: Callable[[], bool]) -> Iterator[None]:
    """Turns errors of the user's callbacks before the first step into a message.

    Args:
        cfg: the whole configuration.
        trainer: with the callbacks.
        begun: returns True once the training began: later errors pass unchanged.

    Raises:
        ConfigError: a callback raises, or Lightning refuses the combination.
    """
    try:
        yield
    except SeqpipeError:
        raise
    except Exception as error:
        callbacks: list[Callback] = vars(trainer)["callbacks"]
        key = None if begun() or place_message(error) else _running(cfg, callbacks, error)
        if key is None and not isinstance(error, MisconfigurationException):
            raise
        allowed = TOGETHER if key is None else TOGETHER.replace("callbacks.NAME", key)
        raise ConfigError(f"{key or 'callbacks'}: {reason(error)}; allowed: {allowed}") from error


def _running(cfg: DictConfig, callbacks: Iterable[Callback], error: BaseException) -> str | None:
    """The key of the callback whose hook raised; None for any other error."""
    known = {id(callback): callback for callback in callbacks}
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        for name in ("self", "callback"):  # the second while Lightning calls its hooks
            callback = known.get(id(frame.f_locals.get(name)))
            if callback is not None and (key := key_of(cfg, callback)) is not None:
                return key
    return None


def key_of(cfg: DictConfig, callback: Callback) -> str | None:
    """The key of a callback in the configuration; None for those that every run has."""
    for name, node in cfg.callbacks.items():
        if get_object(node["_target_"]) is type(callback):
            return f"callbacks.{name}"
    return None
