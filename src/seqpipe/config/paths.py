"""Paths of the package and of its configuration."""

from collections.abc import Iterable, Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent


def conf_dir() -> Path:
    """Folder of the packaged configuration: in an installed wheel, else in the checkout.

    Raises:
        FileNotFoundError: neither is there, so the installation is broken.
    """
    places = (PACKAGE / "conf", PACKAGE.parents[1] / "conf")
    for place in places:
        if (place / "config.yaml").is_file():
            return place
    raise FileNotFoundError(f"no packaged configuration: {' or '.join(map(str, places))}")


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
