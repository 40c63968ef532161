"""Files that a source reads besides those of its examples, where it reads other examples.

Annotations, tables of labels and names of classes belong to the files that they were made for. Of
another file they stand beside it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seqpipe.data.sources.files import FileSource

PACKED = ".gz"


def companions(
    made: type[FileSource],
    node: Mapping[str, Any],
    input: str | Sequence[str],
    before: Path | None,
) -> dict[str, str | list[str] | None]:
    """The arguments of a source that name such files, with those that stand beside an input.

    A file called as the input is, with another ending, comes before one that is called as that of
    the training. An input that holds them itself, GFF with its sequences, needs none.

    Args:
        made: the source.
        node: its arguments.
        input: a file, a folder or a pattern, or several.
        before: folder of the training's files, for what does not stand beside the input; None:
            those may not be read.
    """
    first = Path(input if isinstance(input, str) else input[0])
    folder = first if first.is_dir() else first.parent
    found: dict[str, str | list[str] | None] = {}
    for key, endings in made.companions.items():
        typed = node.get(key)
        if typed is None:
            continue
        if first.name.lower().removesuffix(PACKED).endswith(endings or ("\0",)):
            found[key] = None
            continue
        names = [typed] if isinstance(typed, str) else list(typed)
        own = [] if first.is_dir() else _called_alike(first, endings)
        there = own or [str(_beside(folder, name, before)) for name in names]
        found[key] = there[0] if len(there) == 1 else there
    return found


def _called_alike(file: Path, endings: Sequence[str]) -> list[str]:
    """The file with the name of another and one of some endings, plain or packed."""
    stem = Path(file.name.removesuffix(PACKED)).stem
    names = [f"{stem}{ending}{packed}" for ending in endings for packed in ("", PACKED)]
    return [str(file.parent / name) for name in names if (file.parent / name).is_file()][:1]


def _beside(folder: Path, name: str, before: Path | None) -> Path:
    """Where a file that the training names stands; if nowhere, where it should.

    Beside the input it may lie in the same folders or in none.
    """
    places = [folder / Path(name).name]
    if not Path(name).is_absolute():
        places.insert(0, folder / name)
    if before is not None:
        places.append((before if before.is_dir() else before.parent) / name)
    return next((place for place in places if place.is_file()), folder / Path(name).name)
