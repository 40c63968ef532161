'''Options of a command: a frozen dataclass is their types, defaults, limits and help at once.

    @dataclass(frozen=True, kw_only=True)
    class Sample(RunOptions):
        """Write new sequences."""

        n: Count = option("how many", 5)
        format: Literal["text", "midi"] = option("how they are written", "text")
        seed: int | None = option("of what is drawn; null: another each time", None)

        def problems(self) -> Iterator[str]:       # where options must fit together
            yield from super().problems()

Types: str, int, float, bool, Literal, `Annotated` with a rule, `| None` of these, and
tuple[..., ...] of these (`[a,b]`). A str is all that was typed behind the first `=`; for the other
types `null` is None.
'''

import dataclasses
import re
import shlex
import textwrap
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import MISSING, Field, field
from typing import Annotated, Any, Literal, TypeVar, Union

from seqpipe.bounds import rule_of
from seqpipe.errors import ConfigError, did_you_mean
from seqpipe.rules import Rule, shown

T = TypeVar("T")
_WIDTH = 96


def option(help: str, default: Any = MISSING) -> Any:
    """A field that is typed as key=value.

    Args:
        help: one line, without a full stop.
        default: its value if it is not typed; without one it must be typed.
    """
    return field(default=default, metadata={"help": help})


def passed_on(help: str, *groups: str) -> Any:
    """A field, `tuple[str, ...]`, that collects overrides of the run's configuration as typed.

    Args:
        help: one line, without a full stop.
        groups: the first part of the keys that are passed on: `data` takes data.path=...
    """
    return field(default=(), metadata={"help": help, "groups": groups})


def read(kind: type[T], words: Sequence[str], command: str) -> T:
    """The options that were typed.

    Args:
        kind: the dataclass.
        words: as typed, without the command.
        command: for messages.

    Raises:
        ConfigError: with every problem found.
    """
    fields, types_of = _fields(kind), typing.get_type_hints(kind, include_extras=True)
    values: dict[str, Any] = {}
    problems: list[str] = []
    for word in words:
        key, is_pair, typed = word.partition("=")
        passing = _passing(fields.values(), key)
        if word.startswith("-"):
            problems.append(f"{word}: no such flag of {command}; allowed: --help")
        elif not is_pair:
            text = "has no value; allowed: key=value, in quotes if it has spaces: 'key=two words'"
            problems.append(f"{shlex.quote(word)}: {text}")
        elif passing is not None:
            values[passing] = (*values.get(passing, ()), word)
        elif key not in fields or _groups(fields[key]):
            problems.append(f"{word}: {_unknown(key, fields.values(), command)}")
        elif key in values:
            problems.append(f"{word}: {key} is given twice; allowed: once")
        else:
            values[key] = _read(typed, types_of[key])
            fault = _rule(types_of[key]).fault(values[key])
            problems += [] if fault is None else [f"{word}: {fault}"]
    for name in fields.keys() - values.keys():
        if fields[name].default is MISSING:
            is_text = _is_text(types_of[name])
            allowed = fields[name].metadata["help"] if is_text else _rule(types_of[name]).allowed
            problems.append(f"{name}=: is missing; allowed: {allowed}")
    if not problems:
        options = kind(**values)
        problems += getattr(options, "problems", tuple)()
    if problems:
        raise ConfigError(problems)
    return options


def help_of(kind: type[Any], command: str) -> str:
    """The text of a command's `--help`: the class's docstring, and lines for each option."""
    fields, types_of = _fields(kind), typing.get_type_hints(kind, include_extras=True)
    needed = [f"{name}=..." for name, one in fields.items() if one.default is MISSING]
    usage = " ".join(["python -m seqpipe", command, *needed, "[key=value ...]"])
    rows = [_row(one, types_of[name]) for name, one in fields.items()]
    width = max(len(name) for name, _ in rows)
    lines = [
        textwrap.fill(
            text,
            _WIDTH,
            initial_indent=f"  {name:<{width}}  ",
            subsequent_indent=" " * (width + 4),
            break_long_words=False,
            break_on_hyphens=False,
        )
        for name, text in rows
    ]
    return "\n".join([usage, "", *_description(kind), "", *lines])


def first_line(kind: type[Any]) -> str:
    """Return what a command does: the first line of its dataclass's docstring."""
    return (kind.__doc__ or "").strip().partition("\n")[0]


def _description(kind: type[Any]) -> Iterator[str]:
    first, _, rest = (kind.__doc__ or "").strip().partition("\n")
    yield from (first, *textwrap.dedent(rest).rstrip().splitlines())


def _row(one: "Field[Any]", annotation: Any) -> tuple[str, str]:
    parts = [one.metadata["help"]]
    if _groups(one):
        return ", ".join(f"{group}.*" for group in _groups(one)), parts[0]
    if not _is_text(annotation):
        parts.append(_rule(annotation).allowed)
    if one.default is MISSING:
        parts.append("must be given")
    elif one.default is not None and one.default != ():
        parts.append(f"default {shown(one.default)}")
    return one.name, "; ".join(parts)


def _fields(kind: type[Any]) -> "dict[str, Field[Any]]":
    return {one.name: one for one in dataclasses.fields(kind)}


def _groups(one: "Field[Any]") -> tuple[str, ...]:
    return tuple(one.metadata.get("groups", ()))


def _passing(fields: "Iterable[Field[Any]]", key: str) -> str | None:
    """Name of the field that collects overrides of this key."""
    first = key.lstrip("+~").partition(".")[0]
    return next((one.name for one in fields if first in _groups(one)), None)


def _unknown(key: str, fields: "Iterable[Field[Any]]", command: str) -> str:
    names = [one.name for one in fields if not _groups(one)]
    groups = [f"{group}.*" for one in fields for group in _groups(one)]
    hint = did_you_mean(key, names)
    return f"not an option of {command}; allowed: {', '.join([*names, *groups])}{hint}"


def _kinds(annotation: Any) -> tuple[Any, ...]:
    """The types of a union, or the one type; without their rules."""
    is_union = typing.get_origin(annotation) in (Union, types.UnionType)
    kinds = typing.get_args(annotation) if is_union else (annotation,)
    return tuple(one.__origin__ if typing.get_origin(one) is Annotated else one for one in kinds)


def _is_text(annotation: Any) -> bool:
    return str in _kinds(annotation)


def _read(typed: str, annotation: Any) -> Any:
    """The value that was typed; text that is none of the type stays text, for the rule."""
    kinds = _kinds(annotation)
    if str in kinds:
        return typed
    if typed == "null" and types.NoneType in kinds:
        return None
    for kind in kinds:
        origin, inner = typing.get_origin(kind), typing.get_args(kind)
        if origin is tuple:
            parts = typed.removeprefix("[").removesuffix("]").split(",")
            return tuple(_read(part.strip(), inner[0]) for part in parts if part.strip())
        if origin is Literal:
            return next((value for value in inner if shown(value) == typed), typed)
        if kind in _READERS:
            with_pattern, reader = _READERS[kind]
            if re.fullmatch(with_pattern, typed):
                return reader(typed)
    return typed


_READERS: dict[Any, tuple[str, Callable[[str], Any]]] = {
    bool: ("true|false", lambda typed: typed == "true"),
    int: (r"[+-]?\d+", int),
    float: (r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf|nan", float),
}


def _rule(annotation: Any) -> Rule:
    rule = rule_of(annotation)
    assert rule is not None, f"{annotation}: no type of an option"
    return rule
