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
    "averaging": Callback,
    "callbacks.*": Callback,
}
"""The class that a node at each key must make."""

_SHOWN = {
    Source: ("source", "a subclass of seqpipe.data.base.Source"),
    Field: ("field", "a subclass of seqpipe.data.base.Field"),
    nn.Module: ("network", "a subclass of torch.nn.Module"),
    Task: ("task", "a subclass of seqpipe.tasks.base.Task"),
    Cell: ("cell", "a subclass of seqpipe.nn.cells.Cell"),
    Optimizer: ("optimizer", "a subclass of torch.optim.Optimizer"),
    Trainer: ("trainer", "a subclass of pytorch_lightning.Trainer"),
    Tracker: ("tracker", "a class with the methods of seqpipe.tracking.base.Tracker"),
    Callback: ("callback", "a subclass of pytorch_lightning.Callback"),
}
"""Each of those classes as a message names it, and what is allowed."""

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
        foreign = dict(_foreign_targets(OmegaConf.to_container(node, resolve=True), key))
        if not key or not _is_fault_of(foreign, error.__cause__ or error):
            raise
        raise _refusal(foreign, error.__cause__ or error) from error


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
        foreign = foreign_in(cfg, *groups)
        if not _is_fault_of(foreign, error):
            raise
        raise _refusal(foreign, error) from error


def foreign_in(cfg: DictConfig, *groups: str) -> dict[str, str]:
    """The classes and functions in some groups that are not of this package, by their keys."""
    tree = Tree(cfg)
    found = {
        key: tree.get(f"{key}._target_")
        for group in groups
        for key, node in tree.mappings(group)
        if "_target_" in node
    }
    return {key: target for key, target in found.items() if _is_foreign(target)}


def _is_foreign(target: Any) -> bool:
    return isinstance(target, str) and target.split(".")[0] != "seqpipe"


def _foreign_targets(node: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, list):
        for place, value in enumerate(node):
            yield from _foreign_targets(value, f"{key}[{place}]")
    elif isinstance(node, Mapping):
        target = node.get("_target_")
        if _is_foreign(target):
            yield key, str(target)
        for name, value in node.items():
            yield from _foreign_targets(value, f"{key}.{name}")


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
        raise ConfigError(_wrong_class(key, target, base))


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
            problems.append(_wrong_class(key, target, base))
    if problems:
        raise ConfigError(problems)


def _is_below(found: type, base: type) -> bool:
    """True for a subclass; a tracker only needs the methods of the protocol."""
    if base is not Tracker:
        return issubclass(found, base)
    methods = [name for name, value in vars(Tracker).items() if inspect.isfunction(value)]
    return all(hasattr(found, name) for name in methods if not name.startswith("_"))


def _wrong_class(key: str, target: str, base: type) -> str:
    name, allowed = _SHOWN[base]
    return f"{key}._target_={target}: makes no {name}; allowed: {allowed}"


def _is_fault_of(foreign: Mapping[str, str], error: BaseException) -> bool:
    """True if a class of the user's may have raised it: neither memory nor the disk is full."""
    return bool(foreign) and not is_out_of_memory(error) and place_message(error) is None


def _refusal(foreign: Mapping[str, str], error: BaseException) -> ConfigError:
    blamed = _blamed_keys(foreign, error)
    shown = ", ".join(f"{key}._target_={foreign[key]}" for key in blamed)
    text = f"{shown}: cannot be used here ({describe_error(error)})"
    without = f", or ~{blamed[0]}" if blamed[0].startswith("callbacks.") else ""
    return ConfigError(f"{text}; allowed: arguments that it takes, or another class{without}")


def describe_error(error: BaseException) -> str:
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


def _blamed_keys(foreign: Mapping[str, str], error: BaseException) -> list[str]:
    """The key of the innermost class that was running; all keys if none is known to have run."""
    modules: dict[str, str] = {}
    for key, target in foreign.items():
        with contextlib.suppress(Exception):  # a missing class was reported before
            modules[get_object(target).__module__] = key
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        running = modules.get(frame.f_globals.get("__name__", ""))
        if running is not None:
            return [running]
    return list(foreign)


@contextlib.contextmanager
def refusing_callbacks(
    cfg: DictConfig, trainer: Trainer, begun: Callable[[], bool]
) -> Iterator[None]:
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
        key = None if begun() or place_message(error) else _key_of_running(cfg, callbacks, error)
        if key is None and not isinstance(error, MisconfigurationException):
            raise
        allowed = TOGETHER if key is None else TOGETHER.replace("callbacks.NAME", key)
        raise ConfigError(
            f"{key or 'callbacks'}: {describe_error(error)}; allowed: {allowed}"
        ) from error


def _key_of_running(
    cfg: DictConfig, callbacks: Iterable[Callback], error: BaseException
) -> str | None:
    """The key of the callback whose hook raised; None for any other error."""
    known = {id(callback): callback for callback in callbacks}
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        for name in ("self", "callback"):  # the second while Lightning calls its hooks
            callback = known.get(id(frame.f_locals.get(name)))
            if callback is not None and (key := callback_key(cfg, callback)) is not None:
                return key
    return None


def callback_key(cfg: DictConfig, callback: Callback) -> str | None:
    """The key of a callback in the configuration; None for those that every run has."""
    for name, node in cfg.callbacks.items():
        if get_object(node["_target_"]) is type(callback):
            return f"callbacks.{name}"
    return None
