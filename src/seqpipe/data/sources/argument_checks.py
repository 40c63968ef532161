"""Checks of the arguments of sources: shares, bounds, regular expressions, missing files."""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any

from seqpipe.bounds import bounds_of, problems_together, together_of
from seqpipe.data.folds import Fold
from seqpipe.errors import ConfigError, DataError, did_you_mean, first_of
from seqpipe.files import is_folder
from seqpipe.rules import either, faults, list_of, real, refusal, shown, text

_SHOWN = 8  # files of a folder, in a message


class MissingFiles(DataError):
    """Files that were asked for are not there."""


Names = str | list[str]
_SHARE = real("(0, 1)").because("a share of the data")
Share = Annotated[float, _SHARE]
_FILES = replace(either(text(), list_of(text())), allowed="a file")
NamesOrShare = Annotated[Names | float, either(_SHARE, _FILES)]


def share_faults(valid: object, test: object) -> Iterator[tuple[str, str]]:
    """Yield shares that leave nothing to train on; what is no number names files."""
    shares = [share for share in (valid, test) if isinstance(share, (int, float))]
    if len(shares) == 2 and sum(shares) >= 1:
        text = f"leaves nothing to train on, with data.source.valid={valid}"
        yield "test", f"{text}; allowed: shares that together are less than 1"


def check_arguments(part: Any, below: str = "data.source.") -> None:
    """Refuse arguments of a dataclass that break the rules in their annotations, or `together`.

    Args:
        part: an instance of the dataclass.
        below: the key that its arguments stand under, with a dot at its end.

    Raises:
        ConfigError: with every one that does.
    """
    made: Callable[..., Any] = type(part)
    given = vars(part)
    problems = faults(bounds_of(made), given, below)
    together = together_of(made)
    if together is not None and not problems:
        found = problems_together(together, given)
        problems = [str(one._replace(key=below + one.key)) for one in found]
    if problems:
        raise ConfigError(problems)


def refuse_folds(fold: Fold, split_by: str, test: object) -> None:
    """Refuse folds of records that are split by their places, or whose test is given.

    Args:
        fold: that was chosen.
        split_by: what decides the split of a record, where no folds can be made; else empty.
        test: the files of the test, or its share of what is trained on.

    Raises:
        ConfigError: no folds can be made.
    """
    if split_by:
        text = f"the records are split by {split_by}; allowed: null"
        raise ConfigError(f"data.folds={fold.of}: {text}")
    if not isinstance(test, float):
        text = f"the test is given, data.source.test={shown(test)}"
        allowed = "null, or data.source.test=0.1 for folds of data.source.train"
        raise ConfigError(f"data.folds={fold.of}: {text}; allowed: {allowed}")


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


def not_there(key: str, file: Path, allowed: str) -> str:
    """The message that refuses a file or folder that does not exist, with what lies beside it.

    Args:
        key: where it was named: `data.source.train=a.csv`, or `list.csv:7`.
        file: the missing one.
        allowed: what could be named in its place; `a folder` where only folders may.
    """
    folder, only = file.parent, allowed.startswith("a folder")
    there = [f for f in folder.iterdir() if is_folder(f) or not only] if is_folder(folder) else []
    beside = sorted(f.name for f in there)
    holds = f"; it holds {first_of(beside, _SHOWN)}" if beside else ""
    text = f"no such {'folder' if only else 'file'} in {os.path.abspath(folder)}{holds}"
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
