"""Checks of the arguments of sources: shares, bounds, regular expressions, missing files."""

import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

from seqpipe.bounds import bounds_of
from seqpipe.errors import ConfigError, DataError, did_you_mean
from seqpipe.rules import either, faults, real, refusal, shown, text

_SHOWN = 8  # files of a folder, in a message


class MissingFiles(DataError):
    """Files that were asked for are not there."""


def check_arguments(part: Any, below: str = "data.source.") -> None:
    """Refuse arguments of a dataclass that break the rules in their annotations.

    Args:
        part: an instance of the dataclass.
        below: the key that its arguments stand under, with a dot at its end.

    Raises:
        ConfigError: with every one that does.
    """
    made: Callable[..., Any] = type(part)
    rules = bounds_of(made)
    given = {name: getattr(part, name) for name in rules}
    if problems := faults(rules, given, below):
        raise ConfigError(problems)


_OF_TEXT = ("encoding", "delimiter", "quote", "header")


def check_use(source: Any) -> None:
    """Refuse options of text files that were set and that no file of a source makes use of.

    Args:
        source: a dataclass with `unread_options`, see `FileSource`.

    Raises:
        ConfigError: with every one of them.
    """
    usual = {one.name: one.default for one in fields(source) if one.init and one.name in _OF_TEXT}
    changed = {name: getattr(source, name) for name in usual}
    changed = {name: value for name, value in changed.items() if value != usual[name]}
    unread: dict[str, str] = source.unread_options() if changed else {}
    if problems := [
        refusal(f"data.source.{name}", value, unread[name], shown(usual[name]))
        for name, value in changed.items()
        if name in unread
    ]:
        raise ConfigError(problems)


_SHARE = real("(0, 1)").because("a share of the data")
Share = Annotated[float, _SHARE]


def check_together(valid: float, test: float) -> None:
    """Refuse shares that leave nothing to train on.

    Raises:
        ConfigError: they are 1 or more together.
    """
    if valid + test >= 1:
        both = f"data.source.valid={valid} data.source.test"
        allowed = "shares that together are less than 1"
        raise ConfigError(refusal(both, test, "leave nothing to train on", allowed))


def check_shares(valid: object, test: object) -> None:
    """Refuse shares that leave a split empty; what is no number names files.

    Raises:
        ConfigError: a share outside (0, 1), or both together 1 or more.
    """
    given = {"valid": valid, "test": test}
    shares = {k: v for k, v in given.items() if isinstance(v, (int, float))}
    of_train = either(real("(0, 1)").because("a share of train"), text(allowed="a file"))
    rule = _SHARE if len(shares) == 2 else of_train
    if problems := faults(dict.fromkeys(shares, rule), shares, below="data.source."):
        raise ConfigError(problems)
    if len(shares) == 2:
        check_together(**shares)


def not_there(key: str, file: Path, allowed: str) -> str:
    """The message that refuses a file or folder that does not exist, with what lies beside it.

    Args:
        key: where it was named: `data.source.train=a.csv`, or `list.csv:7`.
        file: the missing one.
        allowed: what could be named in its place; `a folder` where only folders may.
    """
    folder, only = file.parent, allowed.startswith("a folder")
    there = [f for f in folder.iterdir() if f.is_dir() or not only] if folder.is_dir() else []
    beside = sorted(f.name for f in there)
    holds = f"; it holds {', '.join(beside[:_SHOWN])}" if beside else ""
    holds += ", ..." if len(beside) > _SHOWN else ""
    text = f"no such {'folder' if only else 'file'} in {folder.resolve()}{holds}"
    return f"{key}: {text}; allowed: {allowed}{did_you_mean(file.name, beside)}"


def compiled(key: str, pattern: str, allowed: str) -> re.Pattern[str]:
    """A regular expression that was given as an argument.

    Raises:
        ConfigError: it is none.
    """
    try:
        return re.compile(pattern)
    except re.error as error:
        wrong = f"not a regular expression ({error})"
        raise ConfigError(refusal(key, pattern, wrong, allowed)) from None
