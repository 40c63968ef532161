"""docs/architecture.md names what exists."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
TEXT = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+(?:\.py|/|\.yaml))`", TEXT)))
PLACES = (REPOSITORY, REPOSITORY / "src" / "seqpipe")


def test_files_and_packages_are_named():
    assert len(NAMED) > 40


@pytest.mark.parametrize("name", [name for name in NAMED if "NAME" not in name])
def test_a_named_file_exists(name):
    assert any((place / name).exists() for place in PLACES)


def test_every_package_is_in_the_table():
    packages = {path.parent.name for path in PLACES[1].glob("*/__init__.py")}
    assert packages <= {name.strip("/") for name in NAMED}
