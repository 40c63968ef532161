"""Folds of cross-validation: which records of a source are tested, validated and trained on."""

from collections import Counter

import numpy as np
import pytest

from seqpipe.data.base import SPLITS
from seqpipe.data.dataset import SequenceData, count_folds
from seqpipe.data.fields.labels import Category
from seqpipe.data.fields.text import Text
from seqpipe.data.folds import Fold
from seqpipe.data.sources.digits import Digits
from seqpipe.data.sources.forecast import Forecast
from seqpipe.data.sources.python import PythonDocs
from seqpipe.data.sources.splitting import part
from seqpipe.data.sources.stream import Stream
from seqpipe.data.sources.table import Table
from seqpipe.errors import ConfigError, DataError

RECORDS = [
    {"text": f"word{i} again", "label": "aabbbcabab"[i % 10], "who": f"p{i % 7}"}
    for i in range(103)
]


def _table(folder, records=RECORDS):
    path = folder / "all.csv"
    rows = [",".join(record.values()) for record in records]
    path.write_text("\n".join([",".join(RECORDS[0]), *rows]) + "\n")
    return path


def _source(folder, records=RECORDS, **more):
    return Table(train=str(_table(folder, records)), valid=0.2, test=0.1, **more)


def _parts(source, fold):
    source.choose_fold(fold)
    return {split: [dict(r) for r in found] for split, found in source.read().by_name().items()}


def _folds(folder, of, count, **more):
    return [_parts(_source(folder, **more), Fold(k, of, "label")) for k in range(count)]


@pytest.mark.parametrize("order", ["random", "file"])
def test_each_record_is_tested_once_and_is_otherwise_trained_or_validated_on(tmp_path, order):
    found = _folds(tmp_path, 10, 10, order=order)
    tested = [record["text"] for splits in found for record in splits["test"]]
    assert sorted(tested) == sorted(record["text"] for record in RECORDS)
    for splits in found:
        texts = [record["text"] for split in SPLITS for record in splits[split]]
        assert sorted(texts) == sorted(record["text"] for record in RECORDS)
        assert len(splits["test"]) in (10, 11)
        assert len(splits["valid"]) == round(0.2 * (103 - len(splits["test"])))


def test_classes_are_spread_evenly_over_the_folds_and_over_what_is_validated(tmp_path):
    whole = Counter(record["label"] for record in RECORDS)
    for splits in _folds(tmp_path, 10, 10):
        for split, share in (("test", 0.1), ("valid", 0.18)):
            counted = Counter(record["label"] for record in splits[split])
            assert all(abs(counted[name] - share * n) <= 2 for name, n in whole.items()), counted


def test_a_source_that_names_its_own_strata_keeps_them(tmp_path):
    whole = Counter(record["who"] for record in RECORDS)
    for splits in _folds(tmp_path, 7, 7, stratify="who"):
        counted = Counter(record["who"] for record in splits["test"])
        assert all(abs(counted[name] - n / 7) <= 2 for name, n in whole.items())


def test_leave_one_out_tests_each_item_alone(tmp_path):
    found = _folds(tmp_path, "leave_one_out", 103)
    assert [len(splits["test"]) for splits in found] == [1] * 103
    assert len({splits["test"][0]["text"] for splits in found}) == 103


def test_leave_one_out_of_groups_tests_all_records_of_one_group(tmp_path):
    found = _folds(tmp_path, "leave_one_out", 7, group=["who"])
    tested = [{record["who"] for record in splits["test"]} for splits in found]
    assert sorted(name for names in tested for name in names) == [f"p{i}" for i in range(7)]
    for splits, (name,) in zip(found, tested, strict=True):
        assert len(splits["test"]) == sum(record["who"] == name for record in RECORDS)
        others = {r["who"] for r in splits["train"]} & {r["who"] for r in splits["valid"]}
        assert not others, "a group is in one split"


def test_equal_items_are_in_one_fold(tmp_path):
    doubled = [*RECORDS[:20], *[{**record, "label": "c"} for record in RECORDS[:20]]]
    for k in range(5):
        source = _source(tmp_path, doubled, group=["text"])
        splits = _parts(source, Fold(k, 5))
        texts = [{record["text"] for record in splits[split]} for split in SPLITS]
        assert sum(map(len, texts)) == len(set.union(*texts)) == 20
        assert len(splits["test"]) == 8


def test_folds_depend_on_the_seed_of_the_source_and_not_on_the_order_of_the_file(tmp_path):
    def tested(seed, records):
        splits = _parts(_source(tmp_path, records, seed=seed), Fold(2, 5))
        return sorted(record["text"] for record in splits["test"])

    assert tested(0, RECORDS) == tested(0, RECORDS[::-1])
    assert tested(0, RECORDS) != tested(1, RECORDS)


def test_in_the_order_of_the_file_a_fold_is_a_stretch_and_those_before_it_are_validated(tmp_path):
    splits = _parts(_source(tmp_path, order="file"), Fold(3, 10))
    start, end = 3 * 103 // 10, 4 * 103 // 10
    assert splits["test"] == RECORDS[start:end]
    assert splits["valid"] == RECORDS[start - round(0.2 * (103 - end + start)) : start]
    first = _parts(_source(tmp_path, order="file"), Fold(0, 10))
    assert first["valid"] == RECORDS[-len(first["valid"]) :]


def test_without_folds_shares_are_drawn_as_before():
    found = part(RECORDS, {"valid": 0.2, "test": 0.1}, group=["text"], stratify="label", seed=3)
    assert Counter(found.tolist()) == {0: 73, 1: 20, 2: 10}
    assert np.flatnonzero(found[:20]).tolist() == [5, 7, 14]
    assert found[[5, 7, 14]].tolist() == [1, 1, 2]


def test_the_validation_may_be_files_of_its_own(tmp_path):
    path = _table(tmp_path)
    other = tmp_path / "other.csv"
    other.write_text("text,label,who\none,a,p1\ntwo,b,p1\n")
    splits = _parts(Table(train=str(path), valid=str(other), test=0.1), Fold(0, 4))
    assert [record["text"] for record in splits["valid"]] == ["one", "two"]
    assert (len(splits["train"]), len(splits["test"])) == (78, 25)


def test_digits_are_split_into_folds(tmp_path):
    for k in (0, 9):
        source = Digits()
        source.choose_fold(Fold(k, 10))
        found = source.read().by_name()
        counted = Counter(record["digit"] for record in found["test"])
        assert sum(counted.values()) in (179, 180)
        assert set(counted) == set(range(10))
        assert min(counted.values()) >= 15
    digits = Digits()
    digits.choose_fold(Fold(0, "leave_one_out"))
    assert digits.count_folds() == 1797


TEN = Fold(0, 10)


def _refused(source, fold=TEN):
    with pytest.raises((ConfigError, DataError)) as refused:
        _parts(source, fold)
    return str(refused.value)


def test_sources_that_cannot_be_split_into_folds_say_why(tmp_path):
    path = str(_table(tmp_path))
    given = Table(train=path, valid=0.1, test=path)
    assert _refused(given) == (
        f"data.folds=10: the test is given, data.source.test={path}; allowed: null, or "
        "data.source.test=0.1 for folds of data.source.train"
    )
    assert _refused(Stream(train=path)) == (
        "data.folds=10: the records are split by their places in the text; allowed: null"
    )
    assert _refused(Forecast(train=path, values=["x"], past=3)) == (
        "data.folds=10: the records are split by time; allowed: null"
    )
    assert _refused(PythonDocs()) == (
        "data.folds=10: PythonDocs splits its records itself; allowed: null, or other data"
    )


def test_too_few_items_and_folds_that_do_not_exist_are_refused(tmp_path):
    few = RECORDS[:7]
    assert _refused(_source(tmp_path, few)) == (
        "data.folds=10: there are 7 distinct items; allowed: 2 to 7, or leave_one_out: one to "
        "test, one to validate and one to train on"
    )
    fold = Fold(7, "leave_one_out")
    assert _refused(_source(tmp_path, few), fold) == (
        "data.fold=7: there are 7 folds; allowed: 0 to 6"
    )
    assert "there is 1 distinct item; allowed: data with 3 or more" in _refused(
        _source(tmp_path, RECORDS[:1]), Fold(0, "leave_one_out")
    )


@pytest.mark.parametrize(("of", "count"), [("leave_one_out", 4), ("leave_one_out", 3), (2, 4)])
@pytest.mark.parametrize("valid", [0.01, 0.99])
@pytest.mark.parametrize("group", [None, ["who"]])
def test_of_few_items_one_at_least_is_validated_and_one_trained_on(
    tmp_path, of, count, valid, group
):
    rows = [RECORDS[i] for i in range(count if group is None else 7 * 5) if i % 7 < count]
    path = str(_table(tmp_path, rows))
    for number in range(count if of == "leave_one_out" else of):
        source = Table(train=path, valid=valid, test=0.001, group=group)
        splits = _parts(source, Fold(number, of, "label"))
        items = {s: {r["text" if group is None else "who"] for r in splits[s]} for s in SPLITS}
        assert len(items["test"]) == (1 if of == "leave_one_out" else 2)
        assert len(items["train"]) + len(items["valid"]) + len(items["test"]) == count
        assert len(items["valid" if valid < 0.5 else "train"]) == 1


@pytest.mark.parametrize(
    ("of", "count", "allowed"),
    [
        (2, 3, "3, or leave_one_out"),
        (4, 3, "3, or leave_one_out"),
        (5, 4, "2 to 4, or leave_one_out"),
        (3, 2, "data with 3 or more"),
        (2, 2, "data with 3 or more"),
        ("leave_one_out", 2, "data with 3 or more"),
    ],
)
def test_folds_that_leave_nothing_to_validate_on_are_refused(tmp_path, of, count, allowed):
    for more, name in (({}, "items"), ({"group": ["who"]}, "groups")):
        source = _source(tmp_path, RECORDS[:count], **more)
        message = f"data.folds={of}: there are {count} distinct {name}; allowed: {allowed}"
        assert _refused(source, Fold(0, of)).startswith(message)
        fields = {"y": Category("label"), "x": Text("text", by="words")}
        with pytest.raises(DataError) as refused:
            count_folds(source, **fields, folds=of)
        assert str(refused.value).startswith(message), "before any run"


@pytest.mark.parametrize(("of", "count"), [(2, 3), (2, 2), ("leave_one_out", 2)])
def test_with_a_file_to_validate_on_two_items_are_enough(tmp_path, of, count):
    path = str(_table(tmp_path, RECORDS[:count]))
    given = _parts(Table(train=path, valid=path, test=0.1), Fold(0, of))
    assert len(given["train"]) == count - len(given["test"])


def test_shares_of_too_few_groups_speak_of_groups(tmp_path):
    with pytest.raises(DataError) as refused:
        _source(tmp_path, RECORDS[:3], group=["who"]).read()
    assert str(refused.value) == (
        "data.source.valid=0.2 data.source.test=0.1: test would be empty, there are 3 distinct "
        "groups; allowed: shares that come to one group or more"
    )


def test_folds_are_counted_by_items_and_groups(tmp_path):
    fields = {"y": Category("label"), "x": Text("text", by="words")}
    assert count_folds(_source(tmp_path), **fields, folds="leave_one_out") == 103
    grouped = _source(tmp_path, group=["who"])
    assert count_folds(grouped, **fields, folds="leave_one_out") == 7
    assert count_folds(_source(tmp_path), **fields, folds=10) == 10
    with pytest.raises(DataError, match="there are 7 distinct groups; allowed: 2 to 7"):
        count_folds(_source(tmp_path, group=["who"]), **fields, folds=10)


def test_data_are_prepared_for_each_fold_apart_and_their_classes_are_spread(tmp_path):
    def make(fold):
        source, x = _source(tmp_path), Text("text", by="words")
        how = {"cache": str(tmp_path / "cache"), "recipe": {}}
        return SequenceData(source, Category("label"), x, folds=5, fold=fold, **how)

    made = [make(fold) for fold in (0, 1, 0)]
    assert made[0].digests == made[2].digests
    assert all(made[0].digests[split] != made[1].digests[split] for split in SPLITS)
    whole = Counter(record["label"] for record in RECORDS)
    for data in made:
        counts = zip(data.spec.y.names, data.counts("y")["test"], strict=True)
        assert all(abs(count - whole[name] / 5) <= 2 for name, count in counts)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fold": 0}, "data.fold=0: nothing is split in folds; allowed: null, or also folds=10"),
        ({"folds": 5}, "data.folds=5: a run is tested on one fold; allowed: null, or also fold=0"),
        ({"folds": 5, "fold": 5}, "data.fold=5: there are folds=5; allowed: 0 to 4"),
        ({"folds": 1, "fold": 0}, "data.folds=1: out of range; allowed: an integer >= 2"),
        ({"folds": "loo", "fold": 0}, "data.folds=loo: unknown choice; allowed: "),
    ],
)
def test_folds_and_a_fold_go_together(tmp_path, arguments, message):
    with pytest.raises(ConfigError) as refused:
        SequenceData(_source(tmp_path), Category("label"), Text("text"), **arguments)
    assert str(refused.value).startswith(message)
