import datetime
import json
import os
import sys

import numpy as np
import pytest
from PIL import Image

from seqpipe.data.hashing import digest
from seqpipe.data.sources import hub
from seqpipe.data.sources.hub import Hub
from seqpipe.data.sources.hub_documents import HubDocuments
from seqpipe.data.sources.stream import Documents
from seqpipe.errors import ConfigError, DataError

datasets = pytest.importorskip("datasets")
FEATURES = datasets.Features(
    {
        "sentence": datasets.Value("string"),
        "label": datasets.ClassLabel(names=["negative", "positive"]),
        "tags": datasets.Sequence(datasets.ClassLabel(names=["O", "B-place"])),
        "translation": {"de": datasets.Value("string"), "en": datasets.Value("string")},
        "image": datasets.Image(),
        "day": datasets.Value("date32"),
        "score": datasets.Value("float32"),
    }
)


@pytest.fixture(autouse=True)
def _home_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")


def rows(count, first=0):
    return datasets.Dataset.from_list(
        [
            {
                "sentence": f"sentence {number}",
                "label": number % 2,
                "tags": [0, number % 2],
                "translation": {"de": f"Satz {number}", "en": f"sentence {number}"},
                "image": Image.new("L", (3, 2), number),
                "day": datetime.date(2020, 1, 1 + number % 28),
                "score": number / 2,
            }
            for number in range(first, first + count)
        ],
        features=FEATURES,
    )


def save(folder, **parts):
    """Write what save_to_disk writes, without its progress bars."""
    datasets.disable_progress_bars()
    datasets.DatasetDict(parts).save_to_disk(folder)
    datasets.enable_progress_bars()


@pytest.fixture
def saved(tmp_path):
    """A folder of save_to_disk with train (20), validation (4) and test (5)."""
    save(tmp_path / "saved", train=rows(20), validation=rows(4, 20), test=rows(5, 24))
    return tmp_path


def found(source):
    return {split: list(records) for split, records in source.read().by_name().items()}


def test_a_saved_set_is_read_by_its_splits_and_its_class_names(saved):
    splits = found(Hub("saved", path=str(saved)))
    assert [len(records) for records in splits.values()] == [20, 4, 5]
    record = splits["test"][1]
    assert (record["sentence"], record["label"], record["score"]) == (
        "sentence 25",
        "positive",
        12.5,
    )
    assert record["tags"] == ["O", "B-place"]
    assert (record["translation.de"], record["translation.en"]) == ("Satz 25", "sentence 25")
    assert record["day"] == "2020-01-26"
    assert record["image"].tolist() == np.full((2, 3), 25).tolist()
    assert record.place == "saved/test:2"


def test_columns_are_chosen_and_renamed(saved):
    columns = {"sentence": "text", "translation.de": "german", "tags": "tags"}
    record = found(Hub("saved", path=str(saved), columns=columns))["train"][3]
    assert record == {"text": "sentence 3", "german": "Satz 3", "tags": ["O", "B-place"]}


def test_classes_may_stay_numbers(saved):
    columns = {"label": "label", "tags": "tags"}
    record = found(Hub("saved", path=str(saved), columns=columns, names=False))["train"][3]
    assert record == {"label": 1, "tags": [0, 1]}


def test_splits_may_be_named_or_be_shares_and_nothing_is_in_two(saved):
    columns = {"sentence": "text", "label": "label"}
    source = Hub("saved", "train", 0.2, "validation", path=str(saved), columns=columns)
    assert [len(records) for records in found(source).values()] == [16, 4, 4]
    both = Hub("saved", "train", 0.2, 0.3, path=str(saved), columns=columns, stratify="label")
    splits = found(both)
    assert [len(records) for records in splits.values()] == [10, 4, 6]
    texts = [{record["text"] for record in records} for records in splits.values()]
    assert len(set.union(*texts)) == 20
    assert [sum(r["label"] == "positive" for r in records) for records in splits.values()] == [
        5,
        2,
        3,
    ]


def test_reading_twice_is_the_same_and_the_files_are_known(saved):
    source = Hub("saved", path=str(saved))
    splits = source.read()
    assert (
        digest(splits.train)
        == digest(splits.train)
        == digest(Hub("saved", path=str(saved)).read().train)
    )
    names = [file.relative_to(saved / "saved").parts[0] for file in source.inputs()]
    assert names == ["train", "validation", "test"]


FILES = {
    "csv": 'text,label\n"a, b",1\n"c ""d""",2\ne,3\nf,4\n',
    "json": "".join(
        json.dumps({"text": text, "label": n}) + "\n"
        for n, text in enumerate(["a, b", 'c "d"', "e", "f"], 1)
    ),
    "text": 'a, b\nc "d"\ne\nf\n',
}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_files_of_a_format_are_read_without_any_code(tmp_path, name, streaming):
    (tmp_path / "some.txt").write_text(FILES[name])
    source = Hub(
        name, "some.txt", "some.txt", ["some.txt"], path=str(tmp_path), streaming=streaming
    )
    splits = found(source)
    assert [record["text"] for record in splits["train"]] == ["a, b", 'c "d"', "e", "f"]
    assert splits["train"][1].place == f"{name}/train:2"
    assert name == "text" or [record["label"] for record in splits["test"]] == [1, 2, 3, 4]
    assert len(source.inputs()) == (0 if streaming else 3)


@pytest.mark.parametrize("name", ["parquet", "arrow"])
def test_binary_files_keep_their_class_names(tmp_path, name):
    if name == "parquet":
        rows(3).to_parquet(tmp_path / "some.parquet")
    else:
        save(tmp_path / "d", train=rows(3))
        (tmp_path / "d" / "train" / "data-00000-of-00001.arrow").rename(tmp_path / "some.arrow")
    source = Hub(
        name, f"some.{name}", 0.3, 0.3, path=str(tmp_path), columns={"label": "y", "sentence": "x"}
    )
    labels = {r["x"]: r["y"] for records in found(source).values() for r in records}
    assert labels == {"sentence 0": "negative", "sentence 1": "positive", "sentence 2": "negative"}


def test_a_folder_of_files_is_a_set_too(tmp_path):
    (tmp_path / "set").mkdir()
    for split, text in (("train", "a\nb\n"), ("validation", "c\n"), ("test", "d\n")):
        (tmp_path / "set" / f"{split}.txt").write_text(text)
    splits = found(Hub("set", path=str(tmp_path)))
    assert [[r["text"] for r in records] for records in splits.values()] == [
        ["a", "b"],
        ["c"],
        ["d"],
    ]


def test_streams_may_be_parted_and_gone_through_again(tmp_path):
    (tmp_path / "some.csv").write_text("x\n" + "".join(f"{n}\n" for n in range(50)))
    source = Hub("csv", "some.csv", 0.2, 0.2, path=str(tmp_path), streaming=True)
    splits = source.read()
    assert [len(list(records)) for records in splits.by_name().values()] == [30, 10, 10]
    assert list(splits.train) == list(splits.train)


def test_values_that_no_record_can_hold_stand_in_its_place(tmp_path):
    made = datasets.Dataset.from_dict(
        {"text": ["a", None, "c"], "label": [0, 1, -1]},
        features=datasets.Features(
            {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
        ),
    )
    made.to_parquet(tmp_path / "some.parquet")
    columns = {"text": "text", "label": "label"}
    source = Hub("parquet", *["some.parquet"] * 3, path=str(tmp_path), columns=columns)
    good, null, secret = found(source)["train"]
    assert good == {"text": "a", "label": "no"}
    assert str(null) == ("parquet/train:2: text=null: holds nothing; allowed: a value in every row")
    assert str(secret) == (
        "parquet/train:3: label=-1: has no name; it has 0..1 (a label that is kept secret is -1)"
    )


def test_an_empty_entry_matters_only_where_its_column_is_read(tmp_path):
    (tmp_path / "some.csv").write_text("a,b\n1,\n")
    options = {"path": str(tmp_path)}
    assert found(Hub("csv", *["some.csv"] * 3, **options))["train"] == [{"a": 1}]
    (error,) = found(Hub("csv", *["some.csv"] * 3, **options, columns={"b": "b"}))["train"]
    assert str(error) == "csv/train:1: b=null: holds nothing; allowed: a value in every row"


def test_a_column_of_columns_must_be_named_to_its_end(saved):
    (first, *_) = found(Hub("saved", path=str(saved), columns={"translation": "x"}))["train"]
    assert str(first) == (
        "saved/train:1: translation={de, en}: holds columns of its own; allowed: one of them, "
        "as in translation.de"
    )


def refusal(*arguments, **options):
    with pytest.raises((ConfigError, DataError)) as error:
        Hub(*arguments, **options).read()
    return str(error.value)


def test_files_that_are_missing_or_of_another_format_are_told(tmp_path):
    (tmp_path / "some.csv").write_text("a column\n1\n")
    assert refusal("csv", "other.csv", path=str(tmp_path)) == (
        f"data.source.name=csv: cannot be read (Unable to find '{tmp_path / 'other.csv'}')"
    )
    message = refusal("parquet", *["some.csv"] * 3, path=str(tmp_path))
    assert message.startswith("data.source.name=parquet: cannot be read (Parquet magic bytes not ")


OFFLINE = (
    "data.source.name=stanfordnlp/sst2: cannot be loaded (Couldn't reach 'stanfordnlp/sst2' on the "
    "Hub (OfflineModeIsEnabled); the hub is not asked, or is out of reach); allowed: an id on the "
    "hub, where the machine can reach it, a folder of save_to_disk, or csv, json, parquet, arrow, "
    "text with files in data.source.train"
)


@pytest.fixture
def offline(monkeypatch):
    """As if the program had been started with HF_HUB_OFFLINE=1."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


@pytest.mark.usefixtures("offline")
def test_without_the_hub_the_message_says_what_can_be_done():
    assert refusal("stanfordnlp/sst2") == OFFLINE
    assert refusal("stanfordnlp/sst2", streaming=True) == OFFLINE


REFUSED = [
    (["saved"], {"valid": "validaton"},
     "data.source.valid=validaton: not a split of saved; it has train, validation, test, "
     "or a share of train, as 0.1; did you mean 'validation'?"),
    (["saved"], {"valid": ["train", "test"]},
     "data.source.valid=['train', 'test']: not a split of saved; it has train, validation, test, "
     "or a share of train, as 0.1"),
    (["saved"], {"columns": {"sentance": "text"}},
     "data.source.columns.sentance: not a column of saved/train; it has sentence, label, tags, "
     "translation, image, day, score; did you mean 'sentence'?"),
    (["saved"], {"streaming": True},
     "data.source.streaming=true: a saved set is read from where it lies; allowed: false"),
    (["./nowhere"], {"path": "/"},
     "data.source.name=./nowhere: no such folder in /; allowed: an id on the hub, a folder "
     "of save_to_disk, or csv, json, parquet, arrow, text with files in data.source.train"),
    (["csv"], {"revision": "main"},
     "data.source.revision=main: only a set on the hub has revisions; allowed: null"),
    (["csv"], {"config": "small"},
     "data.source.config=small: only a set on the hub or a folder of files has some; "
     "allowed: null"),
    (["csv", "a.csv", 1.5], {},
     "data.source.valid=1.5: out of range; "
     "allowed: a number in (0, 1) (a share of the data) or a file"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "options", "message"), REFUSED)
def test_what_is_not_there_or_means_nothing_is_refused(saved, arguments, options, message):
    assert refusal(*arguments, **{"path": str(saved), **options}) == message


def test_without_the_library_the_message_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert refusal("stanfordnlp/sst2") == (
        "data.source=Hub: needs datasets, which is not installed; "
        'allowed: pip install "datasets>=3.0"'
    )


WIKI = ["", " = One = ", "", " a b c ", " = = Part = = ", "d", "", " = Two = ", "", "e f"]


@pytest.mark.parametrize("piece", [10000, 16])
def test_lines_on_the_hub_are_read_as_those_of_files(tmp_path, piece):
    lines = datasets.Dataset.from_dict({"text": [f"{line}\n" for line in WIKI]})
    save(tmp_path / "wiki", train=lines, validation=lines, test=lines)
    (tmp_path / "wiki.tokens").write_text("".join(f"{line}\n" for line in WIKI))
    options = {"path": str(tmp_path), "start": " = [^=]", "line_end": "<eos>", "piece": piece}
    hub = HubDocuments(name="wiki", **options)
    ours, theirs = (
        [(r["text"], r["document"], r.goes_on, r.line) for r in source.read().train]
        for source in (
            hub,
            Documents(train="wiki.tokens", valid="wiki.tokens", test="wiki.tokens", **options),
        )
    )
    assert ours == theirs
    assert len(ours) == (2 if piece == 10000 else 5)
    assert [file.name for file in hub.inputs()] == ["data-00000-of-00001.arrow"] * 3


def test_documents_on_the_hub_may_be_parted(tmp_path):
    text = "".join(f" = {n} =\nwords\n" for n in range(10))
    (tmp_path / "some.txt").write_text(text)
    options = {"path": str(tmp_path), "start": " = "}
    source = HubDocuments(name="text", train="some.txt", valid=0.2, test=0.2, **options)
    splits = found(source)
    assert [len(records) for records in splits.values()] == [6, 2, 2]
    assert len({r["document"] for records in splits.values() for r in records}) == 10


@pytest.mark.parametrize(("found", "expected"), [(True, None), (False, "1")])
def test_a_hub_whose_name_cannot_be_looked_up_is_not_asked_again_and_again(
    monkeypatch, found, expected
):
    def look_up(*address):
        if not found:
            raise OSError

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")  # put back afterwards
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    monkeypatch.delenv("https_proxy", raising=False)
    monkeypatch.setattr("socket.getaddrinfo", look_up)
    hub._set_offline_without_network()
    assert os.environ.get("HF_HUB_OFFLINE") == expected


def test_splits_of_a_set_are_found_by_their_other_names_and_unused_ones_are_named(tmp_path):
    save(tmp_path / "saved", train=rows(20), dev=rows(4, 20), test=rows(5, 24))
    source = Hub("saved", path=str(tmp_path))
    assert [len(records) for records in found(source).values()] == [20, 4, 5]
    assert source.warnings() == []
    source = Hub("saved", valid=0.1, test=0.1, path=str(tmp_path), group="sentence")
    assert [len(records) for records in found(source).values()] == [16, 2, 2]
    assert source.warnings() == [
        "saved holds dev, test too, which is not read; valid and test are shares of train"
    ]
    assert len(list(source.whole("test"))) == 20


def test_a_folder_whose_splits_the_library_does_not_know_is_warned_about(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, n in (("train", 12), ("heldout", 5)):
        lines = [f"w{i} {name},c{i % 2}\n" for i in range(n)]
        (folder / f"{name}.csv").write_text("sentence,label\n" + "".join(lines))
    source = Hub("mine", valid=0.2, test=0.2, path=str(tmp_path), group="sentence")
    found(source)
    (said,) = source.warnings()
    assert "test: heldout.csv" in said
    source = Hub(*("csv", "mine/train.csv", 0.2, 0.2), path=str(tmp_path), group="sentence")
    found(source)
    (said,) = source.warnings()
    assert "heldout.csv beside it is not read; valid and test are shares of train" in said


def test_words_that_look_like_missing_values_stay_words_in_csv(tmp_path):
    words = ["None", "NA", "null", "nan", "N/A"] * 4
    rows = "".join(f"{word},{n}\n" for n, word in enumerate(words))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.csv").write_text(f"label,n\n{rows}")
    (tmp_path / "some.csv").write_text(f"label,n\n{rows},20\n")
    options = {"path": str(tmp_path), "columns": {"label": "label", "n": "n"}}
    for source in (
        Hub("csv", "some.csv", 0.2, 0.2, **options),
        Hub("set", "train", 0.2, 0.2, **options),
    ):
        records = [one for split in found(source).values() for one in split]
        labels = [one["label"] for one in records if not isinstance(one, DataError)]
        assert sorted(labels) == sorted(words)
        missing = [str(one) for one in records if isinstance(one, DataError)]
        wanted = "csv/train:21: label=null: holds nothing; allowed: a value in every row"
        assert missing == ([wanted] if source.name == "csv" else [])
