"""Paths of the package and of its configuration."""

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
