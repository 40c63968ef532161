"""Objects from the nodes of a configuration; what a class of the user's refuses is a message.

A `_target_` may name any class or function. What is known of it without calling it is checked with
the configuration (`config/key_checks.py`); the rest shows only when it is called, here.
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
from seqpipe.errors import ConfigError, SeqpipeError
from seqpipe.files import out_of_memory, unwritable
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
"""What may stand at a key of the configuration."""

TOGETHER = "callbacks, logger and trainer that work together, or ~callbacks.NAME"
"""What is allowed where Lightning refuses several parts."""

_REASON = 300  # characters of somebody else's message


def instantiate(node: DictConfig, key: str = "", **extra: Any) -> Any:
    """What a node's `_target_` makes, given plain lists and dicts in place of OmegaConf's.

    Args:
        node: with a `_target_`.
        key: where it stands in the configuration.
        extra: more arguments.

    Raises:
        SeqpipeError: what the `_target_` says is wrong, not wrapped in an error of Hydra's; for one
            that is not ours, whatever it raises.
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
    """Turns what classes of the user's raise into a message that names their keys.

    Args:
        cfg: the whole configuration.
        groups: what is made or called within the block. Where all of it is of this package, every
            error stays what it is.

    Raises:
        ConfigError: one of them raises, or cannot be used as what it stands for.
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
    """The classes and functions in some groups that are not this package's, by their keys."""
    tree = Tree(cfg)
    found: dict[str, str] = {}
    for group in groups:
        for key, node in tree.mappings(group):
            if "_target_" in node:
                found |= _foreign({"_target_": tree.get(f"{key}._target_")}, key)
    return found


def _foreign(node: Any, key: str) -> dict[str, str]:
    """As `foreign_in`, of plain containers."""
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
    """Refuses what is no part of the kind that belongs at a key.

    Args:
        made: the object.
        key: where it stands in the configuration.
        target: what made it.
        base: its class; None: that of `BASES`.

    Raises:
        ConfigError: it is none.
    """
    base = BASES[key] if base is None else base
    if not _is_below(type(made), base):
        raise _no_kind(key, target, base)


def check_kinds(cfg: DictConfig, *groups: str) -> None:
    """Refuses classes that are no parts of the kinds that belong at their keys, before any is made.

    Args:
        cfg: the whole configuration.
        groups: those that are looked at, and all below. A function is not judged by what it is.

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
    """Whether a class is of a kind; a tracker has the methods, and need not name the protocol."""
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
    """The message about an error of a class that is not ours; None where there is no such class."""
    if not found or out_of_memory(error) or unwritable(error) is not None:
        return None
    blamed = _blamed(found, error)
    shown = ", ".join(f"{key}._target_={found[key]}" for key in blamed)
    text = f"{shown}: cannot be used here ({reason(error)})"
    without = f", or ~{blamed[0]}" if blamed[0].startswith("callbacks.") else ""
    return ConfigError(f"{text}; allowed: arguments that it takes, or another class{without}")


def reason(error: BaseException) -> str:
    """What an error of somebody else's code says, and where in the user's own files."""
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
    """Keys of the classes an error comes from: the innermost one that was running, else all."""
    modules: dict[str, str] = {}
    for key, target in found.items():
        with contextlib.suppress(Exception):  # what cannot be found was reported before
            modules[get_object(target).__module__] = key
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        running = modules.get(frame.f_globals.get("__name__", ""))
        if running is not None:
            return [running]
    return list(found)


@contextlib.contextmanager
def beginning(cfg: DictConfig, trainer: Trainer, begun: Callable[[], bool]) -> Iterator[None]:
    """Turns what a callback of the user's raises before it was of any use into a message.

    Args:
        cfg: the whole configuration.
        trainer: with the callbacks.
        begun: whether the training began: what comes later is no matter of how it was set up.

    Raises:
        ConfigError: a callback raises, or Lightning refuses what is set up together.
    """
    try:
        yield
    except SeqpipeError:
        raise
    except Exception as error:
        callbacks: list[Callback] = vars(trainer)["callbacks"]
        key = None if begun() or unwritable(error) else _running(cfg, callbacks, error)
        if key is None and not isinstance(error, MisconfigurationException):
            raise
        allowed = TOGETHER if key is None else TOGETHER.replace("callbacks.NAME", key)
        raise ConfigError(f"{key or 'callbacks'}: {reason(error)}; allowed: {allowed}") from error


def _running(cfg: DictConfig, callbacks: Iterable[Callback], error: BaseException) -> str | None:
    """Key of the callback in whose hook an error was raised; None where it was in none."""
    known = {id(callback): callback for callback in callbacks}
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        for name in ("self", "callback"):  # the second while Lightning calls its hooks
            callback = known.get(id(frame.f_locals.get(name)))
            if callback is not None and (key := key_of(cfg, callback)) is not None:
                return key
    return None


def key_of(cfg: DictConfig, callback: Callback) -> str | None:
    """Where a callback stands in the configuration; None for those that every run has."""
    for name, node in cfg.callbacks.items():
        if get_object(node["_target_"]) is type(callback):
            return f"callbacks.{name}"
    return None
