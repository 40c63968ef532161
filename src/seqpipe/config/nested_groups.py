"""Groups inside of groups: `architecture.head=crf` chooses an option as `cell=gru` does.

Hydra writes the key of such a group with a slash, which is what its keys are read as here; a dot
is what all other keys have.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from seqpipe.config.paths import conf_dir

_DOTTED = re.compile(r"(\w+(?:\.\w+)+)=(?!\{)")  # {...} changes keys of the option chosen
_SLASHED = re.compile(r"(\w+(?:/\w+)+)(?==)")


def with_slashes(words: Iterable[str], config_dirs: Sequence[str | Path] = ()) -> list[str]:
    """The words of a command, dotted keys that name a group written as Hydra reads them.

    Args:
        words: overrides, or a whole command line.
        config_dirs: the user's folders, which may hold groups of their own.
    """
    return [_with_slashes(word, (conf_dir(), *map(Path, config_dirs))) for word in words]


def _with_slashes(word: str, folders: Sequence[Path]) -> str:
    found = _DOTTED.match(word)
    if found is None or word.startswith("hydra."):
        return word
    group = found[1].replace(".", "/")
    known = any((folder / group).is_dir() for folder in folders)
    return group + word[found.end(1) :] if known else word


def with_dots(word: str) -> str:
    """An override or a key as it is typed, where a packaged group is in one."""
    key = word.partition("=")[0]
    found = _SLASHED.match(f"{key}=")
    known = found is not None and (conf_dir() / key).is_dir() and not key.startswith("hydra/")
    return key.replace("/", ".") + word[len(key) :] if known else word
