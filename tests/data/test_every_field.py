"""What holds for every field there is: the promises of `Field`, checked by seqpipe.testing."""

import copy
import importlib
import inspect
import json
import math
import pkgutil
from dataclasses import is_dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from torch import nn

import seqpipe.data.fields
from seqpipe.bounds import bounds_of
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
from seqpipe.errors import ConfigError, DataError
from seqpipe.rules import Problem
from seqpipe.runs.saved_model import needed_columns
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
    "Tags that mark spans": (Tags("x", scheme="auto"), [["O", "B-X"], ["B-Y", "I-Y", "O"]]),
    "Tags of a scheme": (Tags("x", scheme="bio"), [["O", "B-X"], ["B-Y", "I-Y", "O"]]),
    "Number": (Number("x"), [0.1, 3, -7.25]),
    "Number, several": (Number("x"), [[0.1, 2], [3, 4]]),
    "Number, standardized": (Number("x", standardize=True), [[0.1, 2], [3, 4]]),
    "MultiLabel": (MultiLabel("x"), [["a", "b"], ["c"], []]),
    "MultiLabel in text": (MultiLabel("x", separator=","), ["a,b", "c"]),
    "PianoRoll": (PianoRoll("x"), [roll(3), roll(1)]),
    "PianoRollSeries": (PianoRollSeries("x"), [roll(3), roll(1)]),
    "Series": (Series("x"), [[[1.0, 2.0], [3.0, 5.0]], [[0.0, 1.0]]]),
    "Series, standardized": (Series("x", standardize=True), [[[1.0, 2.0], [3.0, 5.0]], [[0, 1]]]),
    "Series, each": (
        Series("x", standardize="example", difference=True, noise=0.1, time_warp=0.2),
        [draw.normal(size=(5, 2)), draw.normal(size=(1, 2))],
    ),
    "Series around a point": (Series("x", reference=[0, 1]), [draw.normal(size=(5, 4))]),
    "Vector": (Vector("x"), [[[1.0, 2.0], [3.0, 5.0]], [[0.0, 1.0], [1.0, 1.0]]]),
    "Vector, standardized": (Vector("x", standardize=True), [[1.0, 2.0], [3.0, 5.0]]),
    "Symbols": (Symbols("x", size=5), [[4, 0, 1], [2]]),
    "Text by characters": (Text("x"), TEXTS),
    "Text by characters, small": (Text("x", lowercase=True, max_vocabulary=40), TEXTS),
    "Text by words": (Text("x", by="words", min_count=1), TEXTS),
    "Text by tokens": (Text("x", by="tokens", min_count=1), TEXTS),
    "Text by tokens in a list": (Text("x", by="tokens", min_count=1), [["a", "b"], ["c"]]),
    "Text with dropout": (Text("x", by="words", min_count=1, word_dropout=0.5), TEXTS),
    "Text by graphemes": (Text("x", by="graphemes"), [*TEXTS, "e\u0301a"]),
    "Text by bytes": (Text("x", by="bytes"), [*TEXTS, "\u00fc\u4e2d"]),
    "Text by subwords": (Text("x", by="subwords", max_vocabulary=280), TEXTS * 3),
    "Spelled": (Spelled("x", min_count=1), [["to", "be"], ["be"], ["see", "to", "it"]]),
    "Spelled by words": (Spelled("x", by="words"), TEXTS * 2),
    "Spelled with dropout": (Spelled("x", min_count=1, word_dropout=0.5), [["to", "be"], ["be"]]),
    "Nucleotides": (Nucleotides("x"), DNA),
    "Nucleotides, changed": (Nucleotides("x", substitutions=0.3, masked=True), DNA),
    "Nucleotides, masked": (Nucleotides("x", masked=True), DNA),
    "Nucleotides, merged": (Nucleotides("x", ambiguity="merged"), DNA),
    "Nucleotides as shares": (Nucleotides("x", codes="shares"), DNA),
    "Nucleotides with places": (Nucleotides("x", codes="shares", position=True), DNA),
    "Frames": (Frames("x"), frames(3, 1)),
    "Frames, changed": (Frames("x", differences=True, standardize=True), frames(3, 1)),
    "Frames by a backbone": (Frames("x", backbone=Tiny()), frames(3, 1)),
    "LogMel": (LogMel("x"), sounds()),
    "LogMel, each": (LogMel("x", normalize="example", deltas=1, stack=2), sounds()),
    "LogMel, masked": (LogMel("x", time_masks=[2, 9], frequency_masks=[1, 8]), sounds()),
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
    for record in records(entries):
        values = field.encode(record)
        assert torch.equal(fresh.encode(record), values)
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
        sent = json.loads(json.dumps(needed_columns(field, record, {})))
        assert torch.equal(field.encode(sent), field.encode(record))


MADE = sorted({type(field) for field, _ in FIELDS.values()}, key=lambda made: made.__name__)
NEEDED = {Symbols: {"size": 5}}
WRONG = (-5, 0, 1.5, 129, "no such choice")


def bounds(made):
    return bounds_of(made if is_dataclass(made) else made.__init__)


@pytest.mark.parametrize(("made", "name"), [(made, name) for made in MADE for name in bounds(made)])
def test_an_argument_outside_its_bounds_is_refused_by_its_rule(made, name):
    rule = bounds(made)[name]
    value = next(value for value in WRONG if not rule.accepts(value))
    with pytest.raises(ConfigError) as refused:
        made("x", **{**NEEDED.get(made, {}), name: value})
    (problem,) = refused.value.problems
    assert problem.removeprefix("data.x.") == str(Problem(name, value, rule.fault(value)))


BYTES = (
    "by {} there are 256 bytes and 4 special symbols at least; allowed: an integer >= 260, or null"
)
KNOWN = "by {} nothing is unknown; allowed: null"
SYMBOL = "wrong form; allowed: a symbol without blanks, as <unk>, or null"
ORDER = "is no order; allowed: two classes or more, each once"
NO_BACKBONE = "there is no backbone to use it; allowed: null, or also data.x.backbone"
KEYS = "not two keys of a piano, the lower first; allowed: from 21 to 108"
BANDS = "allowed: an integer from 1 to 26 (which is data.x.n_mels)"
COLORS = "allowed: a list of 3, each a number (red, green, blue)"
HIDDEN = (
    "what is hidden becomes 0, which is the mean of normalised numbers only; allowed: null, or"
    " data.x.normalize="
)
OPTIONS = [  # the last of the options is refused
    (Text, {"by": "bytes", "max_vocabulary": 259}, BYTES.format("bytes")),
    (Text, {"by": "subwords", "max_vocabulary": 9}, BYTES.format("subwords")),
    (Text, {"by": "bytes", "min_count": 2}, "by bytes none is left out; allowed: null"),
    (Text, {"by": "bytes", "unknown": "<unk>"}, KNOWN.format("bytes")),
    (Text, {"by": "subwords", "unknown": "<unk>"}, KNOWN.format("subwords")),
    (Text, {"by": "tokens", "unknown": "a b"}, SYMBOL),
    (Spelled, {"unknown": ""}, SYMBOL),
    (Ordinal, {"order": ["one"]}, ORDER),
    (Ordinal, {"order": ["a", "b", "a"]}, ORDER),
    (
        MultiLabel,
        {"separator": ""},
        "is empty, so it separates no labels; allowed: one sign or more, |",
    ),
    (PianoRoll, {"lowest": 20, "highest": 60}, KEYS),
    (PianoRoll, {"lowest": 60, "highest": 109}, KEYS),
    (PianoRoll, {"lowest": 61, "highest": 60}, KEYS),
    (
        Nucleotides,
        {"position": True},
        "ids have no room for it; allowed: false, or also codes=shares",
    ),
    (Series, {"reference": [-1]}, "out of range; allowed: a list, each an integer >= 0 or null"),
    (LogMel, {"normalize": "none", "time_masks": [2, 9]}, f"{HIDDEN}train or example"),
    (
        Mfcc,
        {"frequency_masks": [1, 4]},
        "cepstra hold no bands; allowed: null, or the field LogMel",
    ),
    (Mfcc, {"n_mfcc": 30}, f"out of range; {BANDS}"),
    (Frames, {"layer": "pool"}, NO_BACKBONE),
    (Frames, {"weights": "w.pt"}, NO_BACKBONE),
    (Frames, {"channel_mean": [0.0] * 3}, NO_BACKBONE),
    (
        Frames,
        {"backbone": Tiny(), "layer": "2"},
        "no such part of the backbone; allowed: 0, 1 and parts of these",
    ),
    (Frames, {"backbone": Tiny(), "channel_mean": [0.5]}, f"out of range; {COLORS}"),
    (
        Frames,
        {"backbone": Tiny(), "channel_deviation": [1.0, 0.0, 1.0]},
        "out of range; allowed: a list, each a number > 0",
    ),
]


@pytest.mark.parametrize(("made", "options", "message"), OPTIONS)
def test_options_that_cannot_work_are_refused(made, options, message):
    with pytest.raises(ConfigError) as refused:
        made("x", **options)
    (problem,) = refused.value.problems
    key, _, text = problem.partition(": ")
    assert f"{[*options][-1]}=" in key
    assert text == message


CLASSES = "not a class of the training split; it has"
CODES = "no code of DNA; allowed: A C G T R Y S W K M B D H V N"
FRAMES = "allowed: (frames, height, width) or (frames, height, width, 3) uint8"
NAN = math.nan
ENTRIES = {
    "Category": [("bb", f"='bb': {CLASSES} a, b; did you mean 'b'?")],
    "Ordinal": [(2, f"=2: {CLASSES} 1, 3, 5")],
    "Tags": [(["b", "d"], f"='d': {CLASSES} a, b, c")],
    "Number": [
        ("x", "='x': not a number, nor a list of numbers; allowed: as 12, -0.5 or 1e-3"),
        (NAN, "=nan: is missing; allowed: a value"),
        ([1, NAN], "=[1, nan]: not finite"),
        ("NA", "='NA': is missing; allowed: a number"),
    ],
    "Number, several": [([1], "=[1]: holds 1 number; the training split starts with 2")],
    "MultiLabel": [
        ("cc", f"='cc': {CLASSES} a, b, c; did you mean 'c'?"),
        (3, "=3: neither a list of labels nor text, as a|b"),
        (None, "=None: is missing; allowed: a value"),
    ],
    "Series": [
        ([[1, 2, 3]], "=[[1, 2, 3]]: is 3 wide; the training split starts with 2"),
        ([[1, math.inf]], "=[[1, inf]]: holds NaN or infinity"),
        ([["a"]], "=[['a']]: not an array of numbers; allowed: numbers as 12, -0.5 or 1e-3"),
        ([[[1, 2]]], "=[[[1, 2]]]: has shape (1, 1, 2); expected (steps, numbers) or (steps,)"),
    ],
    "Symbols": [
        ([1, 5], "=5: outside 0..4; size=5"),
        ([-1], "=-1: outside 0..4; size=5"),
        ([0.5], "=[0.5]: not a flat list of integers"),
        ([[1]], "=[[1]]: not a flat list of integers"),
    ],
    "Text by characters": [(3, "=3: not text")],
    "Text by words": [(3, "=3: not text"), (["a"], "=['a']: not text")],
    "Text by tokens": [
        (3, "=3: not text, nor a list of it"),
        (["a", 3], "=['a', 3]: not text, nor a list of it"),
    ],
    "Text by bytes": [
        (3, "=3: not text"),
        ("a\ud800", "='a\\ud800': character 2 is half of a surrogate pair"),
    ],
    "Text by subwords": [(3, "=3: not text")],
    "Spelled": [
        (3, "=3: neither text nor a list of words"),
        ([1, 2], "=[1, 2]: neither text nor a list of words"),
        (["a", ""], "=['a', '']: word 2 has no characters"),
    ],
    "Nucleotides": [
        ("ACXGT", f"='ACXGT': letter 3 is 'X', {CODES}"),
        ("AC-", f"='AC-': letter 3 is '-', {CODES}"),
        ("AC\u0142", f"='AC\u0142': letter 3 is '\u0142', {CODES}"),
        ("ACGU", f"='ACGU': letter 4 is 'U', {CODES}; U of RNA with rna=true"),
        (7, "=7: not text"),
    ],
    "PianoRoll": [
        ([[109]], ": step 1: note 109 is no key of a piano; allowed: 21 to 108"),
        ([[60], 61], ": step 2 is 61; allowed: a list of MIDI numbers"),
        ([[True]], ": step 1 is [True]; allowed: a list of MIDI numbers"),
        ([], ": has no steps"),
        (5, ": is int; allowed: a list of notes for each step"),
    ],
    "Frames": [
        (np.zeros((2, 4, 5)), f": not frames, but float64 of shape (2, 4, 5); {FRAMES}"),
        (np.uint8([[1, 2]]), f": not frames, but uint8 of shape (1, 2); {FRAMES}"),
        (np.uint8([[[[1, 2]]]]), f": not frames, but uint8 of shape (1, 1, 1, 2); {FRAMES}"),
        (np.uint8([[[1, 2]]]), ": frames of shape (1, 2); the training split starts with (4, 5)"),
    ],
    "LogMel": [
        ([], "=[]: has shape (0,); allowed: (samples,), one or more"),
        ([[0.1]], "=[[0.1]]: has shape (1, 1); allowed: (samples,), one or more"),
        ("a", "='a': not samples; allowed: a flat array of numbers in [-1, 1]"),
        ([0.1, NAN], "=[0.1, nan]: holds NaN or infinity"),
        ({"x": [0.1], "rate": 16000}, "=[0.1]: has 16000 samples a second, the training split "
         "starts with 8000; allowed: data.source.rate=8000 to resample"),
        ({"x": [0.1], "rate": None}, "=[0.1]: rate=None beside it is no number of samples a "
         "second; allowed: also data.x.rate=16000"),
    ],
}  # fmt: skip
OF_TEXT = ("Text by characters", "Text by words", "Text by tokens", "Text by subwords", "Spelled")


@pytest.mark.parametrize(
    ("name", "entry", "message"), [(name, *one) for name in ENTRIES for one in ENTRIES[name]]
)
def test_an_entry_that_is_none_of_its_kind_is_refused(name, entry, message):
    field, entries = copy.deepcopy(FIELDS[name])
    if name in OF_TEXT:  # of which every entry is learned
        with pytest.raises(DataError) as refused:
            field.fit(records([*entries, entry]))
        assert refused.value.problems == [f"x{message}"]
    field.fit(records(entries))
    with pytest.raises(DataError) as refused:
        field.encode(entry if isinstance(entry, dict) else {"x": entry, "rate": 8000})
    assert refused.value.problems == [f"x{message}"]
