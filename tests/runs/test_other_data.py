"""Evaluating on other data: which files and records that means, for every kind of source."""

import json

import numpy as np
import pytest
import yaml
from omegaconf import OmegaConf

from packaged import data_node
from seqpipe.config.adjustments import settle
from seqpipe.errors import ConfigError, DataError
from seqpipe.inference.instantiate import Maker
from seqpipe.runs.measured_data import CountedSource, describe_counts
from seqpipe.runs.other_data import change_data

TREE = "1\t{0}\t_\tNOUN\t_\t_\t0\t_\t_\t_\n\n"
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def rows(n, row, head=""):
    return head + "".join(row.format(number, LETTERS[number % 26]) for number in range(n))


def table(folder, name, n):
    (folder / name).write_text(rows(n, "w{0} x,c{0}\n", "text,label\n"))


def class_folders(folder, name, n):
    for number in range(n):
        file = folder / name / f"c{number % 2}" / f"{number}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"text {number}")


def npz(folder, name, n):
    np.savez(folder / name, X=np.random.rand(n, 3, 1), y=np.arange(n) % 2)


def rolls(folder, name, n):
    (folder / name).write_text(json.dumps([[[60 + k % 20], [62]] for k in range(n)]))


def pictures(folder, name, n):
    from PIL import Image

    for number in range(n):
        clip = folder / name / f"clip{number}"
        clip.mkdir(parents=True)
        Image.new("L", (2, 2), number).save(clip / "1.png")


def fasta(folder, name, n):
    sequences = (f">s{number}\nACG{'T' * (number + 1)}\n" for number in range(n))
    (folder / name).write_text("".join(sequences))


def parallel(folder, name, n):
    for language in ("de", "en"):
        (folder / name.replace("*", language)).write_text(rows(n, "w{0}\n"))


def text(row, head=""):
    def write(folder, name, n):
        (folder / name).write_text(rows(n, row, head))

    return write


# option -> how a file of n records is written, what it is called, overrides of the training
KINDS = {
    "table": (table, "{}.csv", ()),
    "lines": (text("line {0}\n"), "{}.txt", ()),
    "labelled_lines": (text("c line {0}\n"), "{}.txt", ()),
    "documents": (text("start {0}\n"), "{}.txt", ("data.source.start=start",)),
    "pairs": (text("a{0}\tb{0}\n"), "{}.tsv", ()),
    "dictionary": (text("W{0}  A B\n"), "{}.dict", ()),
    "conll": (text("w{0} B-X\n\n"), "{}.conll", ()),
    "series_csv": (text("{0},1,c\n", "a,b,label\n"), "{}.csv", ()),
    "long_csv": (
        text("{0},{0},c\n", "id,v,label\n"),
        "{}.csv",
        ("data.source.id=id", "data.source.features=[v]", "data.source.label=label"),
    ),
    "npz": (npz, "{}.npz", ()),
    "piano_rolls": (rolls, "{}.json", ()),
    "abc": (text("X:{0}\nT:t{0}\nK:C\nCDE|\n\n"), "{}.abc", ()),
    "fasta": (fasta, "{}.fa", ()),
    "class_folders": (class_folders, "{}", ()),
    "frame_folders": (pictures, "{}", ()),
    "parallel": (parallel, "{}.*", ()),
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trained(name, *overrides):
    """The configuration of a run, resolved, as its record holds it."""
    node = data_node(name)
    cfg = OmegaConf.create({"seed": 0, "folds": None, "fold": None, "data": node})
    for one in overrides:
        key, _, value = one.partition("=")
        OmegaConf.update(cfg, key, yaml.safe_load(value))
    settle(cfg)
    config = OmegaConf.to_container(cfg, resolve=True)
    return config


def measured(config, *typed, split=None):
    """How many records, and how many of which file."""
    other = change_data(config, typed, split)
    counts = {}
    source = Maker().make(other.data["source"], "data.source")
    source = CountedSource(source, other.split, whole=other.whole, counts=counts)
    fields = config["data"]
    source.keep_together([(fields.get("x") or fields["y"])["column"]])
    found = getattr(source.read(), other.split)
    good = [one for one in found if not isinstance(one, DataError)]
    assert [one for one in found if isinstance(one, DataError)] == []
    return len(good), counts, other.name


@pytest.mark.parametrize("name", KINDS)
def test_all_of_another_file_is_measured_whether_or_not_test_was_a_share(place, name):
    write, called, overrides = KINDS[name]
    old, new, test = (called.format(one) for one in ("old", "new", "test"))
    for file, n in ((old, 20), (new, 7), (test, 3)):
        write(place, file, n)
    key = "data.train" if name == "parallel" else "data.path"
    of_test = "data.test" if name == "parallel" else "data.source.test"
    config = trained(name, *overrides, f"{key}={old}")
    count, counts, shown = measured(config, f"data.path={new}")
    assert (count, shown) == (7, "all")
    assert all("new" in file for file in counts)
    config = trained(
        name,
        *overrides,
        f"{key}={old}",
        f"{of_test}={'../' if name == 'frame_folders' else ''}{test}",
    )
    assert measured(config, f"data.path={new}")[0] == 7
    beside = f"../{new}" if name == "frame_folders" else new  # names are relative to data.path
    assert measured(config, f"data.source.test={beside}")[::2] == (7, "test")
    assert measured(config)[::2] == (3, "test")
    if name not in ("class_folders", "parallel"):
        assert measured(config, f"data.path=[{new},{test}]")[0] == 10


def test_a_share_is_still_the_share_of_the_runs_own_data(place):
    table(place, "old.csv", 20)
    config = trained("table", "data.path=old.csv")
    assert measured(config) == (2, {"old.csv": 2}, "test")
    assert measured(config, split="train")[0] == 16


def test_a_share_of_other_data_is_refused(place):
    table(place, "new.csv", 7)
    config = trained("table", "data.path=old.csv", "data.source.valid=va.csv")
    with pytest.raises(ConfigError) as error:
        measured(config, "data.path=new.csv", split="test")
    assert str(error.value) == (
        "split=test: data.path=new.csv is measured whole, and data.source.test is a share of it; "
        "allowed: leave it out, or data.source.test=FILE"
    )


def test_a_folder_holds_the_files_that_the_run_names(place):
    for folder, n in (("a", 4), ("b", 6)):
        (place / folder).mkdir()
        for split in ("train", "dev", "test"):
            (place / folder / f"stsa.binary.{split}").write_text(rows(n, "1 text {0}\n"))
            n += 1
    config = trained("sst2", "data.path=a")
    count, counts, shown = measured(config, "data.path=b")
    assert (count, counts, shown) == (8, {"b/stsa.binary.test": 8}, "test")
    assert measured(config, "data.path=b", split="valid")[0] == 7
    assert measured(config, "data.path=b/stsa.binary.dev") == (
        7,
        {"b/stsa.binary.dev": 7},
        "all",
    )


def test_a_name_within_others_is_replaced(place):
    for name, n in (("A1B", 3), ("C2D", 5)):
        for split in ("TRAIN", "TEST"):
            head = f"@problemName {name}\n@univariate true\n@classLabel true a b\n@data\n"
            (place / f"{name}_{split}.ts").write_text(rows(n, "1,2,{0}:a\n", head))
    config = trained("ucr", "data.path=.", "data.name=A1B")
    assert measured(config, "data.name=C2D") == (5, {"C2D_TEST.ts": 5}, "test")


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("data.source.lable=x", "data.source.lable=x: unknown key; allowed: "),
        ("data.pth=x", "data.pth=x: unknown key; the run's data has "),
        ("data.source.encoding=1", "data.source.encoding=1: wrong type; allowed: "),
        ("data.path=1", "data.path=1: wrong type; allowed: a folder or file, or a list"),
        ("data.path=a,b", "data.path=a,b: several values; allowed: one value, or a list, [a,b]"),
        ("~data.path", "~data.path: cannot be changed here; allowed: data.path, data.source.*"),
        ("data.path='${oc.env:HOME}'", "data.path='${oc.env:HOME}': is no plain value"),
    ],
)
def test_what_cannot_be_changed_is_refused(typed, message):
    with pytest.raises(ConfigError) as error:
        change_data(trained("table", "data.path=old.csv"), [typed], None)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("name", ["seed=3", "group=[text]", "stratify=label", "order=file"])
def test_how_shares_are_drawn_is_refused_where_all_of_the_data_is_measured(name):
    run = trained("table", "data.path=old.csv")
    for other in ("data.path=new.csv", "data.source.test=new.csv", "data=table data.path=new.csv"):
        with pytest.raises(ConfigError) as error:
            change_data(run, [*other.split(), f"data.source.{name}"], None)
        assert str(error.value) == (
            f"data.source.{name}: all of the data is measured, so nothing is drawn; "
            "allowed: leave it out"
        )
    assert not change_data(run, [f"data.source.{name}"], None).whole  # of its own data


def test_the_order_of_a_training_is_refused_where_its_model_is_measured():
    run = trained("table", "data.path=old.csv")
    run["data"]["seed"] = 0
    with pytest.raises(ConfigError) as error:
        change_data(run, ["data.seed=3"], None)
    assert str(error.value).startswith("data.seed=3: is of the order in training")


def test_many_files_are_told_in_one_line():
    counts = {f"{name}.txt": 1000 for name in "abcdefg"}
    assert describe_counts(counts) == (
        "records read: 1,000 of a.txt, 1,000 of b.txt, 1,000 of c.txt, 1,000 of d.txt, "
        "1,000 of e.txt, 2,000 of 2 more files"
    )


def genome(folder, name, bases, annotation):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f">s1\n{'ACGT' * (bases // 4)}\n")
    (folder / annotation).write_text(f"s1\tx\tCDS\t1\t{bases // 2}\t.\t+\t0\tID=a\n")


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        (["data.path=new"], "new/traingenes.gff"),
        (["data.path=new/more.fa"], "new/more.gff3"),
        (["data.path=[new/more.fa]"], "new/more.gff3"),
        (["data.source.test=../new/more.fa"], "new/more.gff3"),
        (["data.path=new/more.fa", "data.source.annotation=a.gff"], "a.gff"),
        (["data.source.annotation=a.gff", "data.path=new/more.fa"], "a.gff"),
    ],
)
def test_other_sequences_have_their_own_annotation(place, typed, found):
    genome(place / "old", "genome.fa", 400, "traingenes.gff")
    genome(place / "new", "genome.fa", 80, "traingenes.gff")
    genome(place / "new", "more.fa", 40, "more.gff3")
    genome(place, "other.fa", 40, "a.gff")
    config = trained(
        "celegans_gff", "data.path=old", "data.length=20", "data.source.local.region=20"
    )
    other = change_data(config, typed, None)
    source = Maker().make(other.data["source"], "data.source")
    inner = getattr(source, "source", source)
    assert str((inner.folder / inner.annotation).resolve().relative_to(place)) == found
    measured(config, *typed)
