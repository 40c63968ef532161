"""Inputs that are encoded together, their batches, and the lines of their answers."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqpipe.data.base import SequenceSpec
from seqpipe.data.fields.labels import Category, Tags
from seqpipe.data.fields.text import Text
from seqpipe.errors import DataError
from seqpipe.inference import writers
from seqpipe.inference.preprocess import Encoder, batched
from seqpipe.inference.writers import JsonLines

RECORDS = [
    {"text": "a b c d e"},
    {"text": ""},
    DataError("in.csv:3: cannot be read"),
    {"text": "b"},
    {"label": "x"},
    {"text": "c a b"},
]
LABELS = [{"label": "p"}, {"label": "q"}]
LAST = {"longer": "truncate", "keep": "last"}


def encoder(y, **data):
    x = Text("text", by="words", min_count=1)
    x.fit([{"text": "a b c d e"}])
    y.fit([{"label": ["p"] * 5}, {"label": ["q"] * 5}] if y.kind == "tags" else LABELS)
    return Encoder(SequenceSpec(x.spec, y.spec), x, y, data)


@pytest.mark.parametrize(
    ("y", "data"),
    [
        (Category("label"), {}),
        (Category("label"), {"max_length": 2, **LAST}),
        (Category("label"), {"max_length": 2, "longer": "drop", "keep": "first"}),
        (Tags("label"), {"window": 2}),
        (Tags("label"), {"window": 2, "max_length": 4, **LAST}),
    ],
)
def test_records_that_are_encoded_together_have_the_pieces_of_each_alone(y, data):
    encode = encoder(y, **data)
    inputs = encode.encode_many(RECORDS)
    pieces, errors = [], {}
    for row, record in enumerate(RECORDS):
        try:
            if isinstance(record, DataError):
                raise record
            pieces += encode.pieces(row, record, labelled=False)
        except DataError as error:
            errors[row] = str(error)
    assert {row: str(error) for row, error in inputs.errors.items()} == errors
    assert inputs.examples.tolist() == [piece.row for piece in pieces]
    assert inputs.steps.tolist() == [piece.steps for piece in pieces]
    places = np.arange(len(pieces))[::-1]
    found, expected = encode.batch_of(inputs, places), encode.batch(pieces[::-1])
    assert found.x.tolist() == expected.x.tolist()
    assert found.x_lengths.tolist() == expected.x_lengths.tolist()
    assert found.y.tolist() == expected.y.tolist()
    assert found.index.tolist() == expected.index.tolist()


def test_inputs_without_a_readable_record_have_no_pieces():
    inputs = encoder(Category("label")).encode_many([RECORDS[1], RECORDS[2]])
    assert inputs.x is None
    assert sorted(inputs.errors) == [0, 1]
    assert list(batched(inputs.steps, 4, 10)) == []


@given(st.lists(st.integers(1, 30), max_size=40), st.integers(1, 9), st.integers(1, 60))
def test_batches_hold_pieces_of_similar_length_within_the_bounds(lengths, rows, steps):
    batches = [places.tolist() for places in batched(lengths, rows, steps)]
    in_order = [place for places in batches for place in places]
    assert in_order == sorted(range(len(lengths)), key=lengths.__getitem__)
    for places, after in zip(batches, [*batches[1:], None], strict=False):
        longest = lengths[places[-1]]
        assert len(places) <= rows
        assert len(places) == 1 or longest * len(places) <= steps
        if after is not None:  # one more would not fit
            full = (len(places) + 1) * lengths[after[0]] > steps
            assert full or len(places) == rows


ROW = {
    "line": 1,
    "text": 'a "b"\n\u2028ä\x00\\',
    "chances": {"a": 0.1, "b": 1e-30, "c": 1.0},
    "list": [[1, True, None], []],
    "error": None,
}


@pytest.mark.parametrize("is_in_c", [True, False])
def test_a_line_is_the_json_of_its_row(tmp_path, monkeypatch, is_in_c):
    """The encoder in C belongs to Python's own module: without it another one does the same."""
    if not is_in_c:
        monkeypatch.setattr(json.encoder, "c_make_encoder", None)
    assert callable(json.encoder.c_make_encoder) == is_in_c
    monkeypatch.setattr(writers, "_strict_json", writers._strict_encoder())
    with (tmp_path / "out.jsonl").open("w+", encoding="utf-8") as sink:
        JsonLines(sink).write([ROW, {"x": math.nan, "y": [math.inf]}, {"x": "\ud800"}, ROW])
        sink.seek(0)
        lines = sink.read().split("\n")
    assert lines[0] == lines[3] == json.dumps(ROW, ensure_ascii=False)
    assert lines[1] == '{"x": null, "y": [null]}'
    assert json.loads(lines[2]) == {"x": "\\ud800"}
    assert lines[4:] == [""]
