"""Files to train on: by `data.path`, by `data.source.train`, one or several."""

import functools

import pytest
from omegaconf import OmegaConf

from seqpipe.build import build_data
from seqpipe.config.adjustments import settle
from seqpipe.config.compose import compose
from seqpipe.config.loader import Loader, parse
from seqpipe.config.paths import conf_dir
from seqpipe.config.signatures import signature_of
from seqpipe.errors import ConfigError, DataError

OPTIONS = {
    "audio_table": "data.source.source",
    **dict.fromkeys(
        (
            *("table", "pairs", "lines", "labelled_lines", "class_folders", "dictionary"),
            *("series_csv", "long_csv", "npz", "forecast", "stream", "documents", "conll"),
            *("piano_rolls", "midi", "midi_rolls", "abc", "fasta", "genbank", "gff", "parallel"),
            *("audio_folders", "video", "frame_folders"),
        ),
        "data.source",
    ),
}
"""The packaged options whose source reads files, and where that names those of train."""

loader = functools.cache(Loader)


def settled(name, *typed):
    """The source of an option where keys of the data have other values."""
    more = ["data.source.annotation=a.gff"] if name == "gff" else []
    composed = loader().compose(parse([f"data={name}", *typed, *more])[0])
    assert composed.problems == []
    cfg = composed.cfg
    before = OmegaConf.to_container(cfg)
    settle(cfg)
    assert OmegaConf.to_container(cfg) == before
    source = OmegaConf.to_container(OmegaConf.select(cfg, OPTIONS[name]), resolve=True)
    rules = signature_of(source["_target_"]).rules
    assert [rules[k].fault(source[k]) for k in ("train", "valid", "test", "path")] == [None] * 4
    return source


def test_the_list_holds_every_option_that_reads_files_of_the_users():
    files = (conf_dir() / "data").glob("*.yaml")
    assert {file.stem for file in files if "_base/own_" in file.read_text()} <= set(OPTIONS)


@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "class_folders"])
def test_files_named_one_by_one_need_no_path(name):
    key, end = ("data", ".*") if name == "parallel" else (OPTIONS[name], ".x")
    names = {"train": [f"a{end}", f"b{end}"], "valid": f"v{end}", "test": f"t{end}"}
    source = settled(
        name,
        f"{key}.train=[{','.join(names['train'])}]",
        *(f"{key}.{split}={names[split]}" for split in ("valid", "test")),
    )
    assert {split: source[split] for split in names} == names
    assert source["path"] is None


@pytest.mark.parametrize(
    "name", [n for n in OPTIONS if n not in ("class_folders", "audio_table", "parallel")]
)
def test_a_list_as_path_is_what_is_trained_on(name):
    source = settled(name, "data.path=[a.x,b.x]")
    assert (source["train"], source["path"]) == (["a.x", "b.x"], None)


@pytest.mark.parametrize("name", ["audio_table", "sst2"])
def test_a_list_where_only_a_folder_can_be_is_refused(name):
    with pytest.raises(ConfigError, match=r"^data.path=\[a.x,b.x\]: wrong type; allowed: "):
        compose([f"data={name}", "data.path=[a.x,b.x]"])


@pytest.mark.parametrize("name", ["table", "npz"])
def test_two_names_for_the_training_files_are_refused(name):
    with pytest.raises(ConfigError) as error:
        compose([f"data={name}", "data.source.train=a.x", "data.path=b.x"])
    assert str(error.value) == (
        "data.path=b.x: data.source.train=a.x names the files to train on; allowed: one of them; "
        "data.source.path=FOLDER, where the names are relative to a folder"
    )


def test_generated_data_read_no_path():
    """`data.source.train` is a number of examples, not a file."""
    with pytest.raises(ConfigError, match=r"^data.path=b.x: unknown key; allowed: source, "):
        compose(["data=adding", "data.path=b.x"])


def test_no_files_at_all_are_asked_for():
    with pytest.raises(ConfigError, match=r"^data.path=\?\?\?: must be given"):
        compose(["data=table", "data.source.valid=a.csv", "data.source.test=b.csv"])


def test_several_values_of_a_path_are_shown_as_a_list():
    with pytest.raises(ConfigError) as error:
        compose(["data=table", "data.path=a.csv,b.csv"])
    assert error.value.problems == [
        "data.path=a.csv,b.csv: several values; allowed: one value, or all of them in one: "
        "'data.path=[a.csv,b.csv]', or a job for each with -m"
    ]


def tables(folder):
    for name in ("tr", "va", "te", "more"):
        rows = "".join(f"w{row % 5} {name}{row},{row % 2}\n" for row in range(20))
        (folder / f"{name}.csv").write_text(f"text,label\n{rows}")


@pytest.mark.parametrize(
    ("typed", "sizes"),
    [
        (["data.source.train=[tr.csv,more.csv]"], (32, 4, 4)),
        (["data.source.train=[tr.csv,more.csv]", "data.source.test=te.csv"], (36, 4, 20)),
        (["data.path=[tr.csv,more.csv]", "data.source.test=te.csv"], (36, 4, 20)),
        (["data.path=tr.csv", "data.source.valid=va.csv", "data.source.test=te.csv"], (20,) * 3),
        (["data.path='*r*.csv'", "data.source.valid=va.csv"], (32, 20, 4)),
    ],
)
def test_a_table_is_read_from_the_files_that_were_named(tmp_path, monkeypatch, typed, sizes):
    monkeypatch.chdir(tmp_path)
    tables(tmp_path)
    if "*" in typed[0]:
        sizes = (36, 20, 4)
    cfg, _ = compose(["data=table", "data.cache=null", *typed])
    assert tuple(build_data(cfg).sizes.values()) == sizes


@pytest.mark.parametrize(
    ("typed", "note", "sizes"),
    [
        (
            ["data.path=[tr.csv,more.csv,./tr.csv]", "data.source.test=te.csv"],
            "tr.csv: named more than once for train, and read once",
            (40, 20, 20),
        ),
        (
            ["data.path=['m*.csv',tr.csv,more.csv]", "data.source.test=te.csv"],
            "more.csv: named more than once for train, and read once",
            (40, 20, 20),
        ),
        (
            ["data.path=tr.csv", "data.source.test=[te.csv,more.csv,te.csv]"],
            "te.csv: named more than once for test, and read once",
            (20, 20, 40),
        ),
    ],
)
def test_a_file_that_is_named_twice_is_read_once(tmp_path, monkeypatch, typed, note, sizes):
    monkeypatch.chdir(tmp_path)
    tables(tmp_path)
    cfg, _ = compose(["data=table", "data.cache=null", "data.source.valid=va.csv", *typed])
    data = build_data(cfg)
    assert tuple(data.sizes.values()) == sizes
    assert note in data.notes


@pytest.mark.parametrize("key", ["data.path", "data.source.train", "data.source.valid"])
def test_an_empty_list_of_files_is_refused_as_such(tmp_path, monkeypatch, key):
    monkeypatch.chdir(tmp_path)
    tables(tmp_path)
    more = ["data.path=tr.csv"] if key.endswith("valid") else []
    cfg, _ = compose(["data=table", "data.cache=null", *more, f"{key}=[]"])
    with pytest.raises(DataError) as error:
        build_data(cfg)
    assert str(error.value) == f"{key}=[]: names no file; allowed: one or more"


def test_a_file_in_place_of_a_folder_stands_beside_files_of_the_other_splits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("tr", "va", "te"):
        (tmp_path / f"{name}.conll").write_text(f"{name} B-X\nb O\n\n" * 3)
    rest = ["data.source.valid=va.conll", "data.source.test=te.conll", "data.cache=null"]
    cfg, _ = compose(["data=conll", "data.path=tr.conll", *rest])
    assert build_data(cfg).sizes == {"train": 3, "valid": 3, "test": 3}
    cfg, _ = compose(["data=conll", "data.path=tr.conll", "data.source.train=va.conll", *rest])
    with pytest.raises(DataError) as error:
        build_data(cfg)
    assert str(error.value) == (
        "data.source.train=va.conll: data.path=tr.conll is a file, and names are relative to a "
        "folder; allowed: data.path=FOLDER, or leave it out"
    )


def test_a_path_that_was_not_given_need_not_be_deleted():
    with pytest.raises(ConfigError) as error:
        compose(["data=table", "~data.path", "data.source.train=[a.csv,b.csv]"])
    assert error.value.problems == [
        "~data.path: has no value, so there is nothing to delete; allowed: leave it out"
    ]
