"""A user's file with the name of a packaged one: Hydra would silently read only one of the two."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from seqpipe.config.paths import conf_dir


def shadowed(folders: Iterable[Path]) -> Iterator[str]:
    """One problem for each file that has the place and name of a packaged file."""
    packaged = conf_dir()
    for folder in folders:
        if folder.resolve() == packaged.resolve():
            continue
        for file in sorted((*folder.rglob("*.yaml"), *folder.rglob("*.yml"))):
            place = file.relative_to(folder)
            twin = packaged / place.with_suffix(".yaml")
            if twin.is_file():
                name = place.with_stem(f"my_{place.stem}")
                yield f"{file}: has the name of the packaged {twin}; allowed: another name, {name}"
