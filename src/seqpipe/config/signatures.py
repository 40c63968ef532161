"""The arguments of a `_target_`, with the rule that each annotation stands for."""

import contextlib
import functools
import importlib
import inspect
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from seqpipe.bounds import rule_of
from seqpipe.config.config_view import Tree
from seqpipe.config.paths import PACKAGE, conf_dir
from seqpipe.rules import Rule, either, null


class TargetError(Exception):
    """A `_target_` that leads nowhere; the message says why."""


@dataclass(frozen=True)
class Signature:
    """The keyword arguments of a class or function.

    Args:
        name: as in `_target_`.
        rules: what each parameter may be; None where its annotation says nothing we check.
        required: parameters without a default.
        takes_any: whether it has **kwargs.
    """

    name: str
    rules: dict[str, Rule | None]
    required: frozenset[str] = field(default=frozenset())
    takes_any: bool = False


def is_ours(target: str) -> bool:
    """Return True for a `_target_` in this package."""
    return target.split(".")[0] == PACKAGE.name


@functools.cache
def found_target(target: str) -> Any:
    """The class or function behind a `_target_`; its module is imported.

    Raises:
        TargetError: there is no such class or function, or its module cannot be imported.
    """
    module_name, _, name = target.rpartition(".")
    if not module_name:
        raise TargetError("it must be written module.Class")
    try:
        found = getattr(importlib.import_module(module_name), name)
    except AttributeError:
        raise TargetError(f"{module_name} has no {name}") from None
    except (Exception, SystemExit) as error:  # the user's module may fail in any way
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise TargetError(f"{module_name} cannot be imported: {reason}") from error
    if not callable(found):
        raise TargetError(f"{name} cannot be called")
    return found


def import_targets(tree: Tree) -> None:
    """Imports the classes that a configuration names; one that cannot be is met when it is made."""
    for key, node in tree.mappings():
        target = tree.get(f"{key}._target_") if "_target_" in node else None
        if isinstance(target, str):
            with contextlib.suppress(TargetError):
                found_target(target)


def class_attribute(target: str, name: str) -> Any:
    """An attribute of the class behind a `_target_`; None if it has none.

    Raises:
        TargetError: as `found_target`.
    """
    return getattr(found_target(target), name, None)


@functools.cache
def signature_of(target: str) -> Signature:
    """The signature behind a `_target_`.

    Raises:
        TargetError: as `found_target`, or its arguments are not known.
    """
    found = found_target(target)
    try:
        parameters = inspect.signature(found).parameters.values()
    except ValueError:  # builtins, such as dict
        raise TargetError("what it takes is not known") from None
    try:
        hints = typing.get_type_hints(
            found.__init__ if inspect.isclass(found) else found, include_extras=True
        )
    except (NameError, TypeError):  # names that exist for type checkers only
        hints = {}
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    rules = {}
    for parameter in named:
        rule = rule_of(hints.get(parameter.name, Any))
        may_be_null = rule and parameter.default is None and not rule.accepts(None)
        rules[parameter.name] = either(rule, null()) if rule and may_be_null else rule
    required = frozenset(p.name for p in named if p.default is p.empty)
    return Signature(target, rules, required, any(p.kind is p.VAR_KEYWORD for p in parameters))


@functools.cache
def packaged_keys(group: str, target: str) -> frozenset[str]:
    """Keys that the packaged options of a group give to a `_target_`: known to be right."""
    keys: set[str] = set()
    folder = conf_dir() / group
    for file in sorted(folder.glob("*.yaml")):
        node = _read_yaml(file)
        if "default" in node.get("defaults", ()):
            node = {**_read_yaml(folder / "default.yaml"), **node}
        keys |= _keys_given_to(target, node)
    return frozenset(keys)


@functools.cache
def packaged_nodes(group: str) -> tuple[dict[str, Any], ...]:
    """The packaged options of a group, as written."""
    return tuple(_read_yaml(file) for file in sorted((conf_dir() / group).glob("*.yaml")))


def _read_yaml(file: Path) -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where it is built
    return yaml.load(file.read_text(encoding="utf-8"), Loader=loader) or {}


def _keys_given_to(target: str, node: Any) -> set[str]:
    if not isinstance(node, dict):
        return set()
    below = [_keys_given_to(target, value) for value in node.values()]
    own = set(node) if node.get("_target_") == target else set()
    return own.union(*below) - {"defaults"}
