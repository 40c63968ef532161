"""A source that needs no file, and a writer of files, shared by the tests of this area."""

import pytest

from seqpipe.data.base import Source, Splits


class Given(Source):
    def __init__(self, train, valid, test):
        self.splits = Splits(list(train), list(valid), list(test))

    def read(self):
        return self.splits


@pytest.fixture
def source_of():
    """Make a source of lists of records; valid and test repeat train where they are not given."""

    def make(train, valid=None, test=None):
        return Given(train, train if valid is None else valid, train if test is None else test)

    return make


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write files in what becomes the current folder: write(train__a_txt=b"...")."""
    monkeypatch.chdir(tmp_path)

    def made(**files):
        for name, content in files.items():
            file = tmp_path / name.replace("__", "/").replace("_", ".")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)

    return made
