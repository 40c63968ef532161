"""A set by its name: from a folder, from the hub, or told how to get it."""

from pathlib import Path

import pytest

from seqpipe.data.base import Source, Splits
from seqpipe.data.sources.hub import Hub
from seqpipe.data.sources.named import Named
from seqpipe.errors import ConfigError, DataError

GET = "{train,test}.txt, from somewhere"


class Some(Source):
    def __init__(self, path=None):
        self.path, self.told = path, []

    def read(self):
        return Splits([{"x": self.path}], [], [])

    def inputs(self):
        return [Path(str(self.path))]

    def keep_together(self, columns):
        self.told.append(tuple(columns))


class Broken(Some):
    def read(self):
        raise DataError("train.txt:3: what is wrong")


def test_a_folder_is_read_where_it_is_given(tmp_path):
    source = Named(str(tmp_path), GET, local=Some, hub=Broken)
    source.keep_together(["x"])
    assert list(source.read().train) == [{"x": str(tmp_path)}]
    assert source.inputs() == [tmp_path]
    assert source.source.told == [("x",)]


def test_without_a_folder_the_hub_is_asked():
    assert list(Named(None, GET, local=Broken, hub=Some).read().train) == [{"x": None}]


def test_with_neither_the_message_says_how_to_get_the_files():
    with pytest.raises(ConfigError) as error:
        Named(None, GET, local=Some)
    assert str(error.value) == (
        "data.path=null: there are no files to read; allowed: data.path=FOLDER, which holds "
        "{train,test}.txt, from somewhere"
    )


def test_a_folder_that_is_not_there_is_told_with_how_to_get_the_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as error:
        Named("nowhere", GET, local=Some, hub=Some)
    assert str(error.value) == (
        f"data.path=nowhere: no such folder in {tmp_path}; allowed: data.path=FOLDER, which holds "
        "{train,test}.txt, from somewhere"
    )


INSTEAD = (
    "data.path=null: would be read from the hub; allowed: data.path=FOLDER, which holds "
    "{train,test}.txt, from somewhere"
)


def test_what_is_wrong_in_a_folder_is_told_as_it_is(tmp_path):
    with pytest.raises(DataError) as error:
        Named(str(tmp_path), GET, local=Broken, hub=Some).read()
    assert error.value.problems == ["train.txt:3: what is wrong"]


def test_a_hub_out_of_reach_is_told_with_how_to_get_the_files(monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    source = Named(None, GET, local=Some, hub=lambda: Hub("stanfordnlp/imdb"))
    for ask in (source.read, source.inputs):
        with pytest.raises(DataError) as error:
            ask()
        first, instead = error.value.problems
        assert first.startswith("data.source.name=stanfordnlp/imdb: cannot be loaded (Couldn't ")
        assert instead == INSTEAD


def test_a_hub_without_its_library_is_told_with_how_to_get_the_files(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(ConfigError) as error:
        Named(None, GET, local=Some, hub=lambda: Hub("stanfordnlp/imdb"))
    assert error.value.problems == [
        "data.source=Hub: needs datasets, which is not installed; "
        'allowed: pip install "datasets>=3.0"',
        INSTEAD,
    ]
