import re
import sysconfig

import pytest

from seqpipe.data.sources import identifiers as module
from seqpipe.data.sources.identifiers import Identifiers, identifiers
from seqpipe.data.sources.python import library_files
from seqpipe.errors import ConfigError
from seqpipe.testing import check_source

SOURCE = '''
"""A module."""
LIMIT = LEVEL_2 = 3
_MOST: int = 4
X = 1
lower = 2
OTHER.ATTRIBUTE = 5

class Shape(Base):
    SIDES = 4

    def area(self):
        LOCAL = 1
        def inner(): pass

    class Inner: pass

async def gather(): ...
'''


def names(splits, split):
    return {(one["name"], one["kind"]) for one in getattr(splits, split)}


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A standard library of a few files."""
    folder = tmp_path / "lib"
    for number in range(6):
        text = f"class Shape{number}: pass\ndef shape_{number}(): pass\nSHAPE{number} = {number}\n"
        (folder / f"part{number}").mkdir(parents=True)
        (folder / f"part{number}" / "__init__.py").write_text(text)
        (folder / f"part{number}" / "__main__.py").write_text("def start(): pass\n")
    (folder / "test").mkdir()
    (folder / "test" / "test_it.py").write_text("class Hidden: pass\n")
    (folder / "broken.py").write_text("def broken(:\n")
    (folder / "not-a-name.py").write_text("")
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(folder))
    return folder


def test_what_a_file_defines_is_found_with_what_it_names():
    assert sorted(identifiers(SOURCE)) == [
        ("Inner", "class"),
        ("LEVEL_2", "constant"),
        ("LIMIT", "constant"),
        ("SIDES", "constant"),
        ("Shape", "class"),
        ("_MOST", "constant"),
        ("area", "function"),
        ("gather", "function"),
        ("inner", "function"),
    ]
    assert list(identifiers("def broken(:")) == []


def test_names_come_once_a_kind_and_files_name_modules(library):
    splits = Identifiers(valid=0.2, test=0.2).read()
    every = [one for split in ("train", "valid", "test") for one in getattr(splits, split)]
    found = sorted((one["name"], one["kind"]) for one in every)
    wanted = [("broken", "module"), ("start", "function")]
    for number in range(6):
        wanted += [(f"Shape{number}", "class"), (f"shape_{number}", "function")]
        wanted += [(f"SHAPE{number}", "constant"), (f"part{number}", "module")]
    assert found == sorted(wanted)


def test_names_that_are_alike_stay_in_one_split(library):
    splits = Identifiers(valid=0.2, test=0.2, seed=3).read()
    alike = [
        {one["name"].replace("_", "").lower() for one in getattr(splits, split)}
        for split in ("train", "valid", "test")
    ]
    assert all(alike)
    assert len(alike[0] | alike[1] | alike[2]) == sum(map(len, alike))


def test_the_seed_chooses_the_split(library):
    first, again = Identifiers(seed=1).read(), Identifiers(seed=1).read()
    assert (first.train, first.test) == (again.train, again.test)
    assert names(first, "test") != names(Identifiers(seed=2).read(), "test")
    check_source(Identifiers(), columns=["name"])


def test_shares_that_leave_a_split_empty_are_refused(library, monkeypatch):
    monkeypatch.setattr(module, "_library_names", lambda folder: (("one", "function"),))
    with pytest.raises(ConfigError, match=r"^data\.source\.valid=0\.1 data\.source\.test=0\.1: "):
        Identifiers().read()


def test_the_library_of_this_python_has_enough_of_each_kind(monkeypatch):
    """Of every eighth file, which takes an eighth of the time."""
    monkeypatch.setattr(module, "library_files", lambda folder: library_files(folder)[::8])
    module._library_names.cache_clear()
    splits = Identifiers().read()
    module._library_names.cache_clear()
    for split, least in (("train", 40), ("valid", 3), ("test", 3)):
        kinds = [one["kind"] for one in getattr(splits, split)]
        counts = {kind: kinds.count(kind) for kind in set(kinds)}
        assert counts.keys() == {"class", "constant", "function", "module"}
        assert min(counts.values()) >= least
    constants = [one["name"] for one in splits.train if one["kind"] == "constant"]
    assert all(re.fullmatch(r"[A-Z0-9_]+", name) for name in constants)
