import hashlib

import numpy as np
import pytest
import torch

from seqpipe.data.base import FieldSpec, SequenceSpec
from seqpipe.data.dataset import SequenceData
from seqpipe.data.fields.labels import Category, Number, Tags
from seqpipe.data.fields.series import Series, Vector
from seqpipe.data.fields.symbols import Symbols
from seqpipe.data.fields.text import Text
from seqpipe.data.hashing import digest
from seqpipe.data.vocabulary import EOS, UNK
from seqpipe.errors import ConfigError, DataError

TAGGED = [{"text": "abc" * n, "tags": ["x", "y", "z"] * n} for n in range(1, 6)]
NUMBERED = [{"series": [[n, n]] * n, "sum": float(n)} for n in range(1, 6)]


def tagging(source, **options):
    return SequenceData(source, Tags("tags"), Text("text"), **options)


def test_the_spec_tells_a_model_what_it_must_know(source_of):
    data = SequenceData(source_of(NUMBERED), Number("sum"), Series("series"))
    assert data.spec == SequenceSpec(FieldSpec("values", 2), FieldSpec("number", 1))
    assert data.sizes == {"train": 5, "valid": 5, "test": 5}


def test_fields_learn_from_the_training_split_only(source_of):
    data = SequenceData(
        source_of([{"text": "ab"}], [{"text": "ax"}], [{"text": "y"}]), Text("text")
    )
    assert data.spec.y.names[4:] == ("a", "b")
    assert data.examples("valid")[0].y.tolist() == [4, UNK, EOS]


def test_a_batch_holds_the_examples_it_names(source_of):
    data = tagging(source_of(TAGGED), batch_size=2)
    seen = []
    for batch in data.loader("train"):
        for row, index in enumerate(batch.index.tolist()):
            seen.append(index)
            n = int(batch.x_lengths[row])
            assert data.x.decode(batch.x[row, :n]) == TAGGED[index]["text"]
            assert data.y.decode(batch.y[row, :n]).split() == TAGGED[index]["tags"]
            assert not batch.x[row, n:].any()
    assert sorted(seen) == [0, 1, 2, 3, 4]


def test_only_training_is_shuffled_unless_asked(source_of):
    data = SequenceData(source_of([{"y": n} for n in range(50)]), Number("y"), Vector("y"))

    def order(split, shuffle=None):
        return [i for batch in data.loader(split, shuffle) for i in batch.index.tolist()]

    in_two_batches = [*range(32, 50), *range(32)]  # see `spread`
    assert order("train", shuffle=False) == order("valid") == order("test") == in_two_batches
    assert order("train") != in_two_batches
    assert sorted(order("train")) == list(range(50))
    assert order("valid", shuffle=True) != list(range(50))


def test_the_seed_orders_the_batches(source_of):
    def order(seed):
        data = SequenceData(source_of(NUMBERED * 20), Number("sum"), Series("series"), seed=seed)
        return [batch.index.tolist() for batch in data.loader("train")]

    assert order(0) == order(0)
    assert order(0) != order(1)


def test_a_window_cuts_aligned_sequences_together_and_loses_no_step(source_of):
    data = tagging(source_of(TAGGED), window=4)
    assert data.sizes["train"] == 1 + 2 + 3 + 3 + 4
    pieces = data.examples("train")
    assert all(len(p.x) == len(p.y) <= 4 for p in pieces)
    assert "".join(data.x.decode(p.x) for p in pieces) == "".join(r["text"] for r in TAGGED)
    for piece in pieces:
        record, start = data.origin("train", piece.index)
        assert data.x.decode(piece.x) == TAGGED[record]["text"][start : start + 4]


def test_a_window_cuts_a_text_without_x_and_its_end_comes_last(source_of):
    data = SequenceData(source_of([{"text": "abcdef"}, {"text": "ab"}]), Text("text"), window=4)
    assert [len(p.y) for p in data.examples("train")] == [4, 3, 3]
    assert [int(p.y[-1]) == EOS for p in data.examples("train")] == [False, True, True]
    assert data.origin("train", 1) == (0, 4)
    assert data.origin("train", 2) == (1, 0)


def test_what_is_scored_may_be_cut_later_than_what_is_trained_on(source_of):
    text = [{"text": "abcdefghij"}]
    source = source_of(text, valid=text, test=text)
    data = SequenceData(source, Text("text"), window=4, eval_window=8)
    lengths = {s: [len(e.y) for e in data.examples(s)] for s in ("train", "valid", "test")}
    assert lengths == {"train": [4, 4, 3], "valid": [8, 3], "test": [8, 3]}
    assert data.origin("test", 1) == (0, 8)


X, Y, T = Series("series"), Number("sum"), Text("text")
NOT_ALIGNED = (
    "data.window=256: x and y cannot be cut together; allowed: "
    "null, or a y for each step (Tags), or text without an x"
)
REFUSED = [
    (X, Y, {"window": 256}, NOT_ALIGNED),
    (X, Category("sum"), {"window": 256}, NOT_ALIGNED),
    (X, T, {"window": 256}, NOT_ALIGNED),
    (None, T, {"eval_window": 8}, "data.eval_window=8: the training sequences are"),
    (X, Y, {"window": 0}, "data.window=0: out of range; allowed: an integer >= 2 or null"),
    (X, Y, {"batch_size": 0}, "data.batch_size=0: out of range; allowed: an integer >= 1"),
    (X, Y, {"num_workers": -1}, "data.num_workers=-1: out of range; allowed: an integer >= 0"),
    (Tags("series"), Y, {}, "data.x=Tags: a field of kind tags cannot be x; allowed: an x of kind"),
    (None, Vector("series"), {}, "data.y=Vector: a field of kind vector cannot be y; allowed: a y"),
    (
        None,
        Tags("series"),
        {},
        "data.y=Tags: needs an x with steps to tag; allowed: Series, ",
    ),
    (X, Symbols("sum", size=3), {}, "data.y=Symbols: has no end of sequence; allowed: "),
    (
        *(X, Y, {"longer": "drop"}),
        "data.longer=drop: nothing is too long; allowed: truncate, or also data.max_length",
    ),
    (
        *(X, Y, {"keep": "last"}),
        "data.keep=last: nothing is truncated; "
        "allowed: first, or also data.max_length with data.longer=truncate",
    ),
    (Vector("v"), Y, {"batch_tokens": 9}, "data.batch_tokens=9: neither x nor y has steps"),
]


@pytest.mark.parametrize(("x", "y", "options", "message"), REFUSED)
def test_fields_and_options_that_do_not_fit_are_refused(source_of, x, y, options, message):
    with pytest.raises(ConfigError) as error:
        SequenceData(source_of(NUMBERED), y, x, **options)
    assert str(error.value).startswith(message)


def test_an_unknown_split_is_refused(source_of):
    with pytest.raises(ConfigError) as error:
        tagging(source_of(TAGGED)).loader("val")
    assert str(error.value) == (
        "split=val: no such split; allowed: train, valid, test; did you mean 'valid'?"
    )


EMPTY = "holds no records; allowed: a file or a share that holds some"
BAD = [
    (
        {"valid": [*TAGGED[:2], {"text": "abc", "tags": ["x"]}]},
        {},
        ["valid[2]: tags has 1 step, text has 3; each step of x needs one of y"],
    ),
    (
        {
            "test": [
                *({"text": "", "tags": []}, TAGGED[0]),
                *({"text": "a", "tags": ["w"]}, {"tags": ["x"]}, {"text": "", "tags": ["x"]}),
            ]
        },
        {},
        [
            "test[0]: tags: is empty, y has no steps; allowed: one or more",
            "test[2]: tags='w': not a class of the training split; it has x, y, z",
            "test[3]: column=text: not in the record; it has tags",
            "test[4]: text: is empty, x has no steps; allowed: one or more",
        ],
    ),
    ({"valid": [], "test": []}, {}, [f"valid: {EMPTY}", f"test: {EMPTY}"]),
    (
        {"train": [{"txet": "a", "tags": ["x"]}] * 5},
        {},
        [
            "train[0]: column=text: not in the record; it has txet, tags; "
            "did you mean 'txet'? (and in 4 more)"
        ],
    ),
    (
        {},
        {"max_length": 12, "longer": "refuse"},
        [
            "train[4]: x has 15 steps; allowed: data.max_length=12, or data.longer=drop or "
            "truncate (and in 2 more)"
        ],
    ),
    (
        {"valid": TAGGED[2:]},
        {"max_length": 6, "longer": "drop"},
        [
            "valid: holds no records (3 are longer than data.max_length and were dropped); "
            "allowed: a file or a share that holds some"
        ],
    ),
    (
        {"train": [{"text": "ab", "tags": ["only"] * 2}] * 3},
        {},
        ["tags: the training split has one class only, only; allowed: two or more"],
    ),
]


@pytest.mark.parametrize(("splits", "options", "problems"), BAD)
def test_records_that_cannot_be_used_are_reported_at_once(source_of, splits, options, problems):
    with pytest.raises(DataError) as error:
        tagging(source_of(**{"train": TAGGED, **splits}), **options)
    assert error.value.problems == problems


@pytest.mark.parametrize(
    "changed",
    [
        {"text": "abd", "n": 1, "a": np.array([1.0, 2.0])},
        {"text": "abc", "n": 2, "a": np.array([1.0, 2.0])},
        {"text": "abc", "n": 1, "a": np.array([1.0, 2.0000001])},
        {"text": "abc", "n": 1, "a": np.array([[1.0, 2.0]])},
        {"text": "abc", "n": 1, "a": np.array([1.0, 2.0], dtype=np.float32)},
        {"text": "abc", "m": 1, "a": np.array([1.0, 2.0])},
    ],
)
def test_a_digest_changes_with_any_byte(changed):
    record = {"text": "abc", "n": 1, "a": np.array([1.0, 2.0])}
    assert digest([record]) != digest([changed])
    assert digest([record, changed]) != digest([changed, record])


def test_a_digest_is_of_the_values_not_of_how_they_are_held():
    one = {"text": "abc", "n": 1, "a": np.array([1.0, 2.0])}
    other = {"a": torch.tensor([1.0, 2.0]).double(), "n": np.int64(1), "text": "abc"}
    assert digest([one]) == digest([other])
    assert digest([{"text": "é"}]) == hashlib.sha256('{"text": "é"}\n'.encode()).hexdigest()


def test_data_tells_its_digests_of_the_raw_records(source_of):
    one, other = tagging(source_of(TAGGED)), tagging(source_of(TAGGED, test=TAGGED[:4]))
    assert one.digests["train"] == other.digests["train"] == digest(TAGGED)
    assert one.digests["test"] != other.digests["test"]
    assert tagging(source_of(TAGGED), window=2).digests == one.digests


def test_the_description_is_one_line(source_of):
    described = tagging(source_of(TAGGED, valid=[{"text": "ax", "tags": ["x", "x"]}])).description
    assert described == (
        "Given: train 5, valid 1, test 5; 3 to 15 steps; "
        "7 characters (share of <UNK>: valid 0.5) -> one of 3 tags a step (x, y, z)"
    )


def test_what_is_too_long_is_cut_with_its_tags_and_counted(source_of):
    data = tagging(source_of(TAGGED), max_length=6)
    assert [len(e.x) for e in data.examples("train")] == [3, 6, 6, 6, 6]
    assert all(len(e.x) == len(e.y) for e in data.examples("train"))
    assert data.facts["train"].truncated == 3
    assert data.description.endswith("; 9 truncated")


def test_what_is_too_long_is_dropped_and_counted(source_of):
    data = tagging(source_of(TAGGED), max_length=6, longer="drop")
    assert data.sizes["train"] == 2
    assert data.facts["train"].dropped == 3
    assert data.facts["train"].truncated == 0
    assert data.description.endswith("; 9 longer ones dropped")


@pytest.mark.parametrize(
    ("labels", "found"), [(["only", None, " "], "one class only, only"), ([None] * 2, "no class")]
)
def test_where_skipped_labels_leave_less_than_two_classes_the_first_of_them_is_shown(
    source_of, labels, found
):
    records = [{"text": "ab", "y": y} for y in labels]
    with pytest.raises(DataError) as error:
        SequenceData(source_of(records), Category("y"), Text("text"), on_error="skip")
    first = labels.index(None)
    assert str(error.value) == (
        f"y: the training split has {found} (2 records could not be used and were skipped, "
        f"train[{first}]: y=None: is missing; allowed: a value); allowed: two or more"
    )


@pytest.mark.parametrize(
    ("label", "problem"),
    [
        (None, "y=None: is missing; allowed: a value"),
        (" ", "y=' ': is missing; allowed: a class"),
        (["a"], "y=['a']: not one label; allowed: text or a number"),
    ],
)
def test_a_label_that_is_missing_or_none_is_told_by_its_place(source_of, label, problem):
    records = [{"text": "ab", "y": y} for y in ("a", "b", label)]
    with pytest.raises(DataError) as error:
        SequenceData(source_of(records), Category("y"), Text("text"))
    assert error.value.problems == [f"train[2]: {problem}"]
    data = SequenceData(source_of(records), Category("y"), Text("text"), on_error="skip")
    assert data.y.names == ("a", "b")
    assert data.facts["train"].skipped == 1
