"""Searches for files: by name, by pattern, in a folder, and beside another file."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from glob import glob
from pathlib import Path

from seqpipe.errors import first_of
from seqpipe.files import is_file, is_folder

_TYPES = 5  # types of files that are listed in a message


def find_files(place: Path, endings: tuple[str, ...]) -> tuple[list[Path], list[Path]]:
    """The files that a name means, and those of a folder that are of other types, each sorted.

    Args:
        place: a file, a folder or a pattern; whatever is not there means no file.
        endings: of the files taken from a folder; empty: all.
    """
    if is_folder(place):
        return files_in_folder(place, endings)
    if is_file(place):
        return [place], []
    return sorted(f for f in map(Path, glob(str(place), recursive=True)) if f.is_file()), []


def files_in_folder(folder: Path, endings: tuple[str, ...]) -> tuple[list[Path], list[Path]]:
    """The files of a folder that are read, and those of other types, each sorted.

    Hidden files, and what lies in hidden folders (.git, .ipynb_checkpoints), are neither.
    """
    taken: list[Path] = []
    others: list[Path] = []
    for file in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        if file.is_file() and not hidden:
            is_read = not endings or file.name.lower().endswith(endings)
            (taken if is_read else others).append(file)
    return taken, others


def describe_other_types(others: Iterable[Path], count: int, endings: Collection[str]) -> str:
    """The number and the types of files in a folder that are not read; "" for none.

    Args:
        others: those files.
        count: of all files.
        endings: of those that are read.
    """
    types = Counter(file.suffix.lower() or "without an ending" for file in others)
    if not types:
        return ""
    shown = first_of([f"{number:,} {type_}" for type_, number in types.most_common()], _TYPES)
    read = f"; read are *{', *'.join(endings)}" if endings else ""
    return f"{types.total():,} of {count:,} files are of other types and not read ({shown}){read}"


def find_companion(
    input: Path, names: Sequence[str], endings: Sequence[str], before: Path | None
) -> list[str]:
    """The files that go with an input as others went with the files of the training.

    A file called as the input is, with another ending, comes before one called as in training.

    Args:
        input: a file or a folder.
        names: of the files of the training.
        endings: of such files; empty: any file may be one.
        before: folder of the training's files, for what does not lie beside the input; None:
            those may not be read.
    """
    if is_folder(input):
        return [str(_beside(input, name, before)) for name in names]
    stem = Path(input.name.removesuffix(".gz")).stem
    alike = (f"{stem}{ending}{packed}" for ending in endings for packed in ("", ".gz"))
    own = [str(input.parent / name) for name in alike if is_file(input.parent / name)][:1]
    return own or [str(_beside(input.parent, name, before)) for name in names]


def _beside(folder: Path, name: str, before: Path | None) -> Path:
    """The place of a file that the training names, or where it would lie if it were there.

    Beside the input it may lie in the same folders or in none.
    """
    places = [folder / Path(name).name]
    if not Path(name).is_absolute():
        places.insert(0, folder / name)
    if before is not None:
        places.append((before if is_folder(before) else before.parent) / name)
    return next((place for place in places if is_file(place)), folder / Path(name).name)
