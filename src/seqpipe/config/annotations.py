"""What a constructor takes, and the rules its annotations stand for."""

import datetime
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Union

from seqpipe.rules import (
    Rule,
    choice,
    either,
    flag,
    list_of,
    mapping_of,
    null,
    real,
    text,
    whole,
)


class TargetError(Exception):
    """A `_target_` that leads nowhere; the message says why."""


@dataclass(frozen=True)
class Signature:
    """What a class or function takes by keyword.

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


_MADE = Rule(  # YAML has no word for these
    "what a function of your own makes, as a mapping with _target_",
    lambda value: isinstance(value, dict) and "_target_" in value,
)


def rule_of(annotation: Any) -> Rule | None:
    """The rule a type annotation stands for; None where it stands for none."""
    simple: dict[Any, Callable[[], Rule]] = {
        int: whole,
        float: real,
        bool: flag,
        str: text,
        None: null,
        type(None): null,
    }
    if isinstance(annotation, (type, types.NoneType)) and annotation in simple:
        return simple[annotation]()
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in (datetime.timedelta, Callable, typing.Callable) or origin is Callable:
        return _MADE
    if origin is Annotated:
        return next((rule for rule in inner if isinstance(rule, Rule)), rule_of(inner[0]))
    if origin is Literal:
        return choice(*inner)
    if origin in (Union, types.UnionType):
        rules = [rule_of(option) for option in inner]
        known = [rule for rule in rules if rule is not None]
        return either(*known) if len(known) == len(rules) else None
    if origin in (list, Sequence) or (origin is tuple and inner[1:] == (...,)):
        return list_of(rule_of(inner[0]))
    if origin is tuple:
        return list_of(rule_of(inner[0]), length=len(inner))
    if origin in (dict, Mapping):
        return mapping_of(rule_of(inner[1]))
    return None
