"""Splits that data comes with are used, or it is said that they are not."""

import functools
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from omegaconf import OmegaConf

from seqpipe.config.compose import compose
from seqpipe.data.base import SPLITS
from seqpipe.data.sources.arrays import Npz
from seqpipe.data.sources.music import PianoRolls
from seqpipe.data.sources.parallel import Parallel
from seqpipe.data.sources.split_names import split_of, without_split
from seqpipe.data.sources.table import Table
from seqpipe.errors import DataError
from seqpipe.inference.instantiate import Maker

SIZES = {"train": 8, "valid": 3, "test": 4}


@functools.cache
def data_of(name):
    """The composed data of an option, interpolations as written."""
    return OmegaConf.to_container(compose([f"data={name}", "data.path=unread"])[0].data)


def source_of(name, path, *overrides):
    cfg = OmegaConf.create(
        {"seed": 0, "folds": None, "fold": None, "data": {**data_of(name), "path": str(path)}}
    )
    for one in overrides:
        key, _, value = one.partition("=")
        OmegaConf.update(cfg, key, yaml.safe_load(value))
    source = OmegaConf.to_container(cfg.data.source, resolve=True)
    column = (cfg.data.get("x") or cfg.data.y).column
    made = Maker().make(source, "data.source")
    made.keep_together([column])
    return made


def sizes(source):
    found = source.read().by_name()
    bad = [one for records in found.values() for one in records if isinstance(one, DataError)]
    assert bad == []
    return {split: len(list(records)) for split, records in found.items()}


def write_texts(file, number, tag):
    file.write_text(f"{tag} text {number}")


def write_sound(file, number, tag):
    import soundfile

    soundfile.write(file, np.random.rand(800) * 0.1, 8000)


def write_picture(file, number, tag):
    from PIL import Image

    file.mkdir()
    Image.new("L", (2, 2), number).save(file / "1.png")


def write_midi(file, number, tag):
    symusic = pytest.importorskip("symusic")
    score = symusic.Score(480)
    track = symusic.Track()
    for step in range(3 + number):
        track.notes.append(symusic.Note(step * 480, 480, 60 + number, 80))
    score.tracks.append(track)
    score.dump_midi(str(file))


FOLDERS = {
    "class_folders": (write_texts, "txt", True),
    "audio_folders": (write_sound, "wav", True),
    "frame_folders": (write_picture, "", True),
    "documents": (write_texts, "txt", False),
    "midi": (write_midi, "mid", False),
    "abc": (
        lambda file, number, tag: file.write_text(f"X:1\nT:{tag}{number}\nK:C\nCDE|\n"),
        "abc",
        False,
    ),
}


@pytest.mark.parametrize("words", [("train", "valid", "test"), ("Training", "dev", "Test")])
@pytest.mark.parametrize("name", FOLDERS)
def test_folders_of_splits_are_used(tmp_path, name, words):
    write, end, has_classes = FOLDERS[name]
    for split, word in zip(SPLITS, words, strict=True):
        for number in range(SIZES[split]):
            folder = tmp_path / word / (f"c{number % 2}" if has_classes else "")
            folder.mkdir(parents=True, exist_ok=True)
            write(folder / (f"{number}.{end}" if end else f"{number}"), number, split)
    source = source_of(name, tmp_path)
    assert sizes(source) == SIZES
    (warning,) = source.warnings()
    assert warning.startswith(f"{tmp_path} holds given splits, which are used (train: ")
    if has_classes:
        labels = {record.get("label", record.get("folder")) for record in source.read().train}
        assert labels == {"c0", "c1"}
    whole = source_of(name, tmp_path)
    assert len(list(whole.whole("test"))) == 15 or name == "class_folders"


def rows(n, row, head=""):
    return head + "".join(row.format(number) for number in range(n))


def write_table(file, n, tag=""):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(rows(n, f"w{{0}} {tag or file.stem},c\n", "text,label\n"))


FILES = {
    "table": ("w{0},c{0}\n", "text,label\n", "{}.csv"),
    "lines": ("line {0}\n", "", "names.{}.txt"),
    "conll": ("w{0} B-X\n\n", "", "eng-{}.conll"),
    "series_csv": ("{0},1,c\n", "a,b,label\n", "GunPoint_{}.csv"),
    "pairs": ("a{0}\tb{0}\n", "", "{}.tsv"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_splits_in_one_folder_are_used(tmp_path, name):
    row, head, called = FILES[name]
    for split, word in zip(SPLITS, ("TRAIN", "val", "Test"), strict=True):
        own = row if name == "series_csv" else row.replace("{0}", split + "{0}")
        (tmp_path / called.format(word)).write_text(rows(SIZES[split], own, head))
    source = source_of(name, tmp_path)
    assert sizes(source) == SIZES
    assert f"test: {called.format('Test')}" in source.warnings()[0].replace(f"{tmp_path}/", "")


def test_without_a_given_validation_split_it_is_a_share_of_train(tmp_path):
    for split, n in (("train", 20), ("test", 5)):
        write_table(tmp_path / f"{split}.csv", n)
    source = source_of("table", tmp_path)
    assert sizes(source) == {"train": 18, "valid": 2, "test": 5}
    assert source.warnings()[0].endswith("; valid is a share of train")


def test_what_is_typed_comes_before_what_is_found(tmp_path):
    for split, n in (("train", 20), ("test", 5), ("more", 7)):
        write_table(tmp_path / f"{split}.csv", n)
    more = f"data.source.test={tmp_path}/more.csv"
    assert sizes(source_of("table", f"{tmp_path}/train.csv", more))["test"] == 7
    source = source_of("table", f"{tmp_path}/*t*.csv")
    assert sum(sizes(source).values()) == 25
    assert "all files are merged" in source.warnings()[0]
    source = source_of("table", tmp_path)
    assert sum(sizes(source).values()) == 32
    assert (
        "all files are merged, and valid and test are shares of the whole" in source.warnings()[0]
    )
    source = source_of("table", f"{tmp_path}/train.csv")
    assert sizes(source) == {"train": 16, "valid": 2, "test": 2}
    assert "test.csv beside it is not read" in source.warnings()[0]
    assert source_of("table", f"{tmp_path}/more.csv").warnings() == []


@pytest.mark.parametrize(
    "names",
    [
        ["corpus/train.csv", "corpus/dev.csv", "corpus/test.csv"],
        ["corpus/v1/train/a.csv", "corpus/v1/valid/a.csv", "corpus/v1/test/a.csv"],
        ["a.train.csv", "a.val.csv", "a.eval.csv"],
        ["train.csv", "eval.csv", "test.csv"],
        ["train1.csv", "testa.csv", "testb.csv"],
        ["MyTrain.csv", "MyValidation.csv", "MyTest.csv"],
        ["data (train).csv", "data (dev).csv", "data (test).csv"],
        ["train/more/train.csv", "val/more/train.csv", "heldout/more/train.csv"],
        [f"{split}-00000-of-00001.csv" for split in ("train", "validation", "test")],
    ],
)
def test_splits_at_any_depth_and_by_other_names_are_used(tmp_path, names):
    for name, split in zip(names, SPLITS, strict=True):
        write_table(tmp_path / "all" / name, SIZES[split], split)
    source = source_of("table", tmp_path / "all")
    assert sizes(source) == SIZES
    assert "holds given splits, which are used" in source.warnings()[0]
    pattern = source_of("table", f"{tmp_path}/all/**/*.csv")
    assert sum(sizes(pattern).values()) == 15
    assert "all files are merged" in pattern.warnings()[0]
    listed = source_of("table", "unread")
    listed.train = [str(tmp_path / "all" / name) for name in names]
    assert sum(sizes(listed).values()) == 15
    assert "all files are merged" in listed.warnings()[0]


def test_several_corpora_with_splits_are_used_split_by_split(tmp_path):
    for corpus in ("a", "b"):
        for split in SPLITS:
            write_table(tmp_path / corpus / split / "x.csv", SIZES[split], corpus + split)
    write_table(tmp_path / "c" / "more.csv", 9)
    source = source_of("table", tmp_path)
    assert sizes(source) == {split: 2 * size for split, size in SIZES.items()}
    assert source.warnings()[0].endswith("; not read: " + f"{tmp_path}/c/more.csv and 0 more")


@pytest.mark.parametrize("name", ["class_folders", "audio_folders", "frame_folders"])
def test_class_folders_below_splits_are_used_at_any_depth_and_beside_others(tmp_path, name):
    write, end, _ = FOLDERS[name]
    for split in SPLITS:
        for number in range(12 if split == "train" else SIZES[split]):
            folder = tmp_path / "corpus" / split / f"c{number % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            write(folder / (f"{number}.{end}" if end else f"{number}"), number, split)
    source = source_of(name, tmp_path)
    assert sizes(source) == {**SIZES, "train": 12}
    assert {r.get("label", r.get("folder")) for r in source.read().train} == {"c0", "c1"}
    extra = tmp_path / "corpus" / "unsup"
    extra.mkdir()
    write(extra / (f"7.{end}" if end else "7"), 7, "unsup")
    source = source_of(name, tmp_path / "corpus")
    assert sizes(source) == {**SIZES, "train": 12}
    assert "; not read: " in source.warnings()[0]
    source = source_of(name, tmp_path / "corpus" / "train")
    assert sum(sizes(source).values()) == 12
    (said,) = source.warnings()
    assert "test, valid beside it is not read; valid and test are shares of train" in said


def test_classes_that_each_hold_splits_are_said_to_be_merged(tmp_path):
    for label in ("neg", "pos"):
        for split in SPLITS:
            folder = tmp_path / label / split
            folder.mkdir(parents=True)
            for n in range(6):
                (folder / f"{n}.txt").write_text(f"{label} {split} {n}")
    source = source_of("class_folders", tmp_path)
    assert sum(sizes(source).values()) == 36
    assert "train: neg/train, pos/train" in source.warnings()[0]


def test_a_given_test_split_beside_a_typed_validation_file_is_used_or_named(tmp_path):
    for split in SPLITS:
        write_table(tmp_path / f"{split}.csv", SIZES[split], split)
    write_table(tmp_path / "more" / "mine.csv", 5)
    typed = f"data.source.valid={tmp_path}/more/mine.csv"
    assert sizes(source_of("table", tmp_path, typed)) == {**SIZES, "valid": 5}
    source = source_of("table", f"{tmp_path}/train.csv", typed)
    sizes(source)
    assert source.warnings() == [
        f"{tmp_path}/train.csv: test.csv beside it is not read; test is a share of train; "
        "data.source.test=FILE uses the given split"
    ]


@pytest.mark.parametrize(
    ("name", "beside"), [("corpus.csv", "corpus_test.csv"), ("train/a.csv", "test/a.csv")]
)
def test_a_split_beside_what_is_read_is_named(tmp_path, name, beside):
    write_table(tmp_path / name, 20)
    write_table(tmp_path / beside, 5)
    source = source_of("table", tmp_path / name)
    sizes(source)
    assert f"{beside.partition('/')[0]} beside it is not read" in source.warnings()[0]
    source = source_of("table", f"{tmp_path / name}".replace("a.csv", "*.csv"))
    sizes(source)
    assert "/" not in name or "test beside it is not read" in source.warnings()[0]


@pytest.mark.parametrize("chosen", [["text", "label"], None])
def test_a_column_that_names_splits_is_said_not_to_be_used(tmp_path, chosen):
    values = ["train"] * 8 + ["dev"] * 3 + ["test"] * 4
    table = "".join(f"w{n},c,{split}\n" for n, split in enumerate(values))
    (tmp_path / "all.csv").write_text("text,label,Split\n" + table)
    (tmp_path / "no.csv").write_text("text,label,set\n" + table.replace("dev", "red"))
    for name, said in (("all.csv", 1), ("no.csv", 0)):
        source = Table(train=name, columns=chosen, path=str(tmp_path), group="text")
        sizes(source)
        assert len(source.warnings()) == said
    source = Table(train="all.csv", columns=chosen, path=str(tmp_path), group="text")
    sizes(source)
    assert source.warnings()[0].startswith(
        "column Split: names given splits (dev, test, train), which are not used; "
        "valid and test are shares of all"
    )


def test_lines_in_other_languages_beside_those_that_are_read_are_named(tmp_path):
    for split in SPLITS:
        for language in ("de", "en"):
            text = rows(SIZES[split], f"{split} {{0}} {language}\n")
            (tmp_path / f"{split}.{language}").write_text(text)
    source = Parallel(train="train.*", languages=["de", "en"], path=str(tmp_path), group="de")
    assert sum(sizes(source).values()) == SIZES["train"]
    assert "test.de, valid.de beside it is not read" in source.warnings()[0]


def test_a_chosen_variable_names_those_beside_it(tmp_path):
    held = {split: [[[60 + n]] for n in range(size)] for split, size in SIZES.items()}
    (tmp_path / "a.json").write_text(json.dumps(held))
    source = PianoRolls(train="a.json/train", path=str(tmp_path))
    sizes(source)
    assert "valid, test is not read; valid and test are shares of" in source.warnings()[0]
    np.savez(tmp_path / "b.npz", X=np.zeros((9, 2)), y=np.arange(9), train_idx=np.arange(3))
    source = Npz(train="b.npz", path=str(tmp_path))
    sizes(source)
    assert "train_idx is not read" in source.warnings()[0]


ARRAYS = [  # x and y of train, of valid, of test
    ("X_train y_train", "X_val y_val", "X_test y_test"),
    ("train_x train_y", "dev_x dev_y", "test_x test_y"),
    ("trainX trainY", "validX validY", "testX testY"),
    ("Xtrain ytrain", "Xvalid yvalid", "Xtest ytest"),
    ("TrainX TrainY", "ValidX ValidY", "TestX TestY"),
    ("x.train y.train", "x.valid y.valid", "x.test y.test"),
]


@pytest.mark.parametrize("names", ARRAYS)
def test_arrays_of_splits_in_a_file_are_used(tmp_path, names):
    def save(*names):
        held = {}
        for pair, size in zip(names, SIZES.values(), strict=False):
            x, y = pair.split()
            held |= {x: np.arange(6.0 * size).reshape(size, 3, 2) + 100 * size}
            held |= {y: np.arange(size) % 2}
        np.savez(tmp_path / "all.npz", **held)
        return Npz(train="all.npz", path=str(tmp_path))

    source = save(*names)
    assert sizes(source) == SIZES
    assert source.inputs() == [tmp_path / "all.npz"]
    assert len(list(source.whole("test"))) == 15
    x, y = names[0].split()
    one = Npz(train="all.npz", path=str(tmp_path), x=x, y=y)
    assert sum(sizes(one).values()) == SIZES["train"]
    (warning,) = one.warnings()
    assert "is not read; valid and test are shares of" in warning
    typed = dict(word.removeprefix("data.source.").split("=") for word in warning.split()[-6:-4])
    assert sizes(Npz(train="all.npz", path=str(tmp_path), **typed)) == SIZES
    source = save(names[0], names[2])
    assert sizes(source) == {"train": 7, "valid": 1, "test": 3}
    assert "holds given splits, which are used" in source.warnings()[0]


def test_an_array_missing_in_one_split_is_named(tmp_path):
    x = {f"X_{split}": np.arange(60.0).reshape(10, 3, 2) for split in ("train", "test")}
    np.savez(tmp_path / "all.npz", **x, y_train=np.arange(10) % 2)
    with pytest.raises(DataError, match="has no array y_test; allowed: X_train, X_test, y_train"):
        sizes(Npz(train="all.npz", path=str(tmp_path)))


def test_variables_of_splits_in_a_file_of_rolls_are_used(tmp_path):
    held = {split: [[[60 + n]] for n in range(size)] for split, size in SIZES.items()}
    (tmp_path / "a.json").write_text(json.dumps(held))
    source = PianoRolls(train="a.json", path=str(tmp_path))
    assert sizes(source) == SIZES
    assert source.inputs() == [tmp_path / "a.json"]
    scipy_io = pytest.importorskip("scipy.io")
    cells = {}
    for split, size in SIZES.items():
        cell = np.empty((1, size), dtype=object)
        for n in range(size):
            cell[0, n] = np.eye(88, dtype=np.uint8)[n : n + 2]
        cells[f"{split}data"] = cell
    scipy_io.savemat(tmp_path / "b.mat", cells)
    source = PianoRolls(train="b.mat", path=str(tmp_path))
    assert sizes(source) == SIZES
    assert source.warnings() == [
        f"{tmp_path}/b.mat holds given splits, which are used (train: b.mat/traindata, "
        "valid: b.mat/validdata, test: b.mat/testdata)"
    ]
    assert len(list(source.whole("test"))) == 15


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("GunPoint_TEST.tsv", "test"),
        ("en_ewt-ud-dev.conllu", "valid"),
        ("wiki.valid.tokens", "valid"),
        ("traindata", "train"),
        ("testimony.txt", None),
        ("trains", None),
        ("train_test.csv", None),
        ("latest.csv", None),
    ],
)
def test_a_name_says_which_split_it_is(name, split):
    assert split_of(name) == split


def test_the_rest_of_a_name_is_what_is_held():
    assert {without_split(name) for name in ("X_train", "train_X", "test-X")} == {"X"}


def test_a_class_called_as_a_split_is_no_split(tmp_path):
    for label in ("train", "test", "bus"):
        (tmp_path / label).mkdir()
        for n in range(12):
            (tmp_path / label / f"{n}.txt").write_text(f"{label} {n}")
    source = source_of("class_folders", tmp_path)
    assert sum(sizes(source).values()) == 36
    assert {record["label"] for record in source.read().train} == {"train", "test", "bus"}


def test_a_file_in_a_folder_that_cannot_be_listed_is_read(tmp_path, monkeypatch):
    """What lies beside it is not known then, and not needed."""
    (tmp_path / "t.csv").write_text("text\n" + "".join(f"a{n}\n" for n in range(10)))

    def closed(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", closed)
    source = Table(train="t.csv", path=str(tmp_path), valid=0.2, test=0.2)
    assert sizes(source) == {"train": 6, "valid": 2, "test": 2}
    assert source.warnings() == []
