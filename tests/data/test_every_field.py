"""What holds for every field there is: the promises of `Field`, checked by seqpipe.testing."""

import copy
import importlib
import inspect
import json
import math
import pkgutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from torch import nn

import seqpipe.data.fields
from seqpipe.data.base import Field
from seqpipe.data.fields.audio import LogMel, Mfcc
from seqpipe.data.fields.dna import Nucleotides
from seqpipe.data.fields.frames import Frames
from seqpipe.data.fields.labels import Category, Number, Ordinal, Tags
from seqpipe.data.fields.multilabel import MultiLabel
from seqpipe.data.fields.rolls import PianoRoll, PianoRollSeries
from seqpipe.data.fields.series import Series, Vector
from seqpipe.data.fields.spelling import Spelled
from seqpipe.data.fields.symbols import Symbols
from seqpipe.data.fields.text import Text
from seqpipe.errors import DataError
from seqpipe.runs.saved_model import needed
from seqpipe.testing import check_field

TEXTS = ["to be, or not to be", "Be (quick) to see", "to see it, see it be"]
DNA = ["ACGTNRY", "acgtt", "GATTACA"]
draw = np.random.default_rng(0)


def frames(*steps, **options):
    return [draw.integers(0, 256, (T, 4, 5), dtype=np.uint8) for T in steps]


def sounds():
    return [
        {"x": draw.uniform(-1, 1, size).astype(np.float32), "rate": 8000} for size in (900, 2000)
    ]


def roll(steps):
    return draw.integers(0, 2, (steps, 88)).astype(np.uint8)


class Tiny(nn.Sequential):
    def __init__(self):
        torch.manual_seed(0)
        super().__init__(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1))


# Every field in each of its ways, with entries of a training split.
FIELDS = {
    "Category": (Category("x"), ["b", "a", "b"]),
    "Category of numbers": (Category("x"), [10, 9, 10]),
    "Ordinal": (Ordinal("x"), [1, 5, 3, 1]),
    "Ordinal in a given order": (Ordinal("x", order=["bad", "ok", "good"]), ["ok", "bad"]),
    "Tags": (Tags("x"), [["b", "a"], ["c"], ["a"] * 4]),
    "Number": (Number("x"), [0.1, 3, -7.25]),
    "Number, several": (Number("x"), [[0.1, 2], [3, 4]]),
    "Number, standardized": (Number("x", standardize=True), [[0.1, 2], [3, 4]]),
    "MultiLabel": (MultiLabel("x"), [["a", "b"], ["c"], []]),
    "MultiLabel in text": (MultiLabel("x", separator=","), ["a,b", "c"]),
    "PianoRoll": (PianoRoll("x"), [roll(3), roll(1)]),
    "PianoRollSeries": (PianoRollSeries("x"), [roll(3), roll(1)]),
    "Series": (Series("x"), [[[1.0, 2.0], [3.0, 5.0]], [[0.0, 1.0]]]),
    "Series, standardized": (Series("x", standardize=True), [[[1.0, 2.0], [3.0, 5.0]], [[0, 1]]]),
    "Vector": (Vector("x"), [[[1.0, 2.0], [3.0, 5.0]], [[0.0, 1.0], [1.0, 1.0]]]),
    "Vector, standardized": (Vector("x", standardize=True), [[1.0, 2.0], [3.0, 5.0]]),
    "Symbols": (Symbols("x", size=5), [[4, 0, 1], [2]]),
    "Text by characters": (Text("x"), TEXTS),
    "Text by characters, small": (Text("x", lowercase=True, max_vocabulary=40), TEXTS),
    "Text by words": (Text("x", by="words", min_count=1), TEXTS),
    "Text by tokens": (Text("x", by="tokens", min_count=1), TEXTS),
    "Text by tokens in a list": (Text("x", by="tokens", min_count=1), [["a", "b"], ["c"]]),
    "Text by graphemes": (Text("x", by="graphemes"), [*TEXTS, "e\u0301a"]),
    "Text by bytes": (Text("x", by="bytes"), [*TEXTS, "\u00fc\u4e2d"]),
    "Text by subwords": (Text("x", by="subwords", max_vocabulary=280), TEXTS * 3),
    "Spelled": (Spelled("x", min_count=1), [["to", "be"], ["be"], ["see", "to", "it"]]),
    "Nucleotides": (Nucleotides("x"), DNA),
    "Nucleotides, masked": (Nucleotides("x", masked=True), DNA),
    "Nucleotides, merged": (Nucleotides("x", ambiguity="merged"), DNA),
    "Nucleotides as shares": (Nucleotides("x", codes="shares"), DNA),
    "Nucleotides with places": (Nucleotides("x", codes="shares", position=True), DNA),
    "Frames": (Frames("x"), frames(3, 1)),
    "Frames, changed": (Frames("x", differences=True, standardize=True), frames(3, 1)),
    "Frames by a backbone": (Frames("x", backbone=Tiny()), frames(3, 1)),
    "LogMel": (LogMel("x"), sounds()),
    "LogMel, each": (LogMel("x", normalize="example", deltas=1, stack=2), sounds()),
    "Mfcc": (Mfcc("x"), sounds()),
}
LOSSY = {"Nucleotides, merged", "Nucleotides as shares", "Nucleotides"} | {
    "Nucleotides with places"
}


def records(entries):
    return [entry if isinstance(entry, dict) else {"x": entry} for entry in entries]


def test_every_field_there_is_is_checked_here():
    modules = [
        importlib.import_module(f"seqpipe.data.fields.{module.name}")
        for module in pkgutil.iter_modules(seqpipe.data.fields.__path__)
    ]
    found = {
        name
        for module in modules
        for name, one in vars(module).items()
        if inspect.isclass(one) and issubclass(one, Field) and not inspect.isabstract(one)
    }
    checked = {type(field).__name__ for field, _ in FIELDS.values()}
    assert found == checked
    assert len(checked) >= 15


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_keeps_its_promises(name):
    field, entries = FIELDS[name]
    check_field(copy.deepcopy(field), records(entries), round_trip=name not in LOSSY)


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_that_was_restored_says_the_same_of_itself(name):
    field, entries = copy.deepcopy(FIELDS[name])
    fresh = copy.deepcopy(field)
    field.fit(records(entries))
    fresh.restore(field.state())
    assert fresh.spec == field.spec
    assert fresh.spec.names == field.spec.names
    counts = {"train": np.ones(field.spec.size, dtype=np.int64)} if field.spec.names else {}
    assert fresh.describe(counts) == field.describe(counts) != ""
    values = field.encode(records(entries)[0])
    assert fresh.decode(values) == field.decode(values)


@pytest.mark.parametrize("name", FIELDS)
def test_what_a_field_learns_does_not_depend_on_the_order_of_classes_or_of_fitting_twice(name):
    field, entries = copy.deepcopy(FIELDS[name])
    again = copy.deepcopy(field)
    field.fit(records(entries))
    again.fit(records(entries))
    again.fit(records(entries))
    first = records(entries)[0]
    assert torch.equal(again.encode(first), field.encode(first))
    assert again.spec == field.spec


@given(texts=some.lists(some.text(max_size=12), min_size=1, max_size=4))
@pytest.mark.parametrize("by", ["characters", "bytes"])
def test_any_text_at_all_keeps_the_promises_of_text(by, texts):
    check_field(Text("x", by=by), [{"x": text} for text in texts if text] or [{"x": "a"}])


DEEP: list[object] = []
for _ in range(900):
    DEEP = [DEEP]
STRANGE = [
    *(None, True, 3, -1, 2.5, 10**400, math.nan, math.inf, "", " ", "x", "\0", "\ud800", b"x"),
    *(
        [],
        [[]],
        [[], []],
        {},
        {"a": 1},
        [{}],
        [None],
        [None, 1],
        ["a"],
        [1, "a"],
        [["a"]],
        [[["a"]]],
    ),
    *([[1], [1, 2]], [10**400], [[10**400]], [1e308], [[math.inf]], [True], [[2] * 88], DEEP),
    *([[[0] * 5] * 3], [[[300] * 5] * 4], [[[-1] * 5] * 4], [[[0.5] * 5] * 4]),
]


@pytest.mark.parametrize("name", FIELDS)
def test_an_entry_of_any_kind_is_encoded_or_refused(name):
    field, entries = copy.deepcopy(FIELDS[name])
    field.fit(records(entries))
    refused = 0
    for entry in STRANGE:
        for beside in ({}, {"rate": 8000}):
            try:
                field.encode({"x": entry, **beside})
            except DataError:
                refused += 1
    assert refused > len(STRANGE) // 2


@pytest.mark.parametrize("name", FIELDS)
def test_an_entry_is_the_same_after_it_was_json(name):
    field, entries = copy.deepcopy(FIELDS[name])
    field.fit(records(entries))
    for record in records(entries):
        sent = json.loads(json.dumps(needed(field, record, {})))
        assert torch.equal(field.encode(sent), field.encode(record))
