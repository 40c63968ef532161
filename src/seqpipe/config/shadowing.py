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
        for twin in sorted(packaged.rglob("*.yaml")):
            place = twin.relative_to(packaged)
            if (folder / place).is_file():
                name = place.with_stem(f"my_{place.stem}")
                text = f"has the name of the packaged {twin}; allowed: another name, {name}"
                yield f"{folder / place}: {text}"
