"""Which classes numbers, truth values and words are, in every field of classes and every file."""

import json
import math
import time
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from seqpipe.data.dataset import SequenceData
from seqpipe.data.fields.labels import Category, Ordinal, Tags
from seqpipe.data.fields.multilabel import MultiLabel
from seqpipe.data.fields.text import Text
from seqpipe.data.sources.table import Table
from seqpipe.errors import DataError

SAME = [1, 1.0, np.int64(1), np.float32(1), Decimal("1.00")]
FIELDS = {
    "category": (Category, lambda value: value),
    "ordinal": (Ordinal, lambda value: value),
    "tags": (Tags, lambda value: [value]),
    "multi_label": (MultiLabel, lambda value: [value]),
}


def fitted(make, values):
    field = make("y")
    field.fit([{"y": value} for value in values])
    return field


@pytest.mark.parametrize("name", FIELDS)
def test_a_number_is_one_class_however_it_is_stored(name):
    make, entry = FIELDS[name]
    field = fitted(make, [entry(value) for value in [*SAME, 0, -0.0, 0.5]])
    assert field.names == ("0", "0.5", "1")
    encoded = [field.encode({"y": entry(value)}).tolist() for value in SAME]
    assert encoded == [encoded[0]] * len(SAME)
    assert field.notes("data.y") == []


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("value", [math.inf, -math.inf, np.float32("inf"), Decimal("Infinity")])
def test_infinity_is_no_class(name, value):
    make, entry = FIELDS[name]
    with pytest.raises(DataError, match=r"is not finite; allowed: a (class|label|tag)"):
        fitted(make, [entry(1), entry(2), entry(value)])
    field = fitted(make, [entry(1), entry(2)])
    with pytest.raises(DataError, match=r"is not finite; allowed: a (class|label|tag)"):
        field.encode({"y": entry(value)})


def test_infinity_in_a_text_file_is_no_number_and_a_word_among_words():
    field = fitted(Category, ["1", "2", "-inf"])
    assert field.names == ("1", "2")
    with pytest.raises(DataError, match="y='-inf': is not finite, among classes that are numbers"):
        field.encode({"y": "-inf"})
    assert fitted(Category, ["inf", "ofis"]).names == ("inf", "ofis")


@pytest.mark.parametrize(
    ("values", "alike"),
    [
        (["1", "1.0", "2"], "'1' and '1.0'"),
        (["007", "7", "8"], "'007' and '7'"),
        ([True, 1, 0], "'1' and 'True'"),
        (["yes", "yes ", "no"], "'yes' and 'yes '"),
    ],
)
def test_classes_that_stand_for_one_thing_are_warned_about(values, alike):
    """Words stay words: a postal code 007 is not 7."""
    field = fitted(Category, values)
    assert len(field.names) == 3
    (note,) = field.notes("data.y")
    assert note == (
        f"data.y: the classes {alike} seem to mean the same, but each is a class of its own;"
        " allowed: one way to write it"
    )


def test_a_model_of_an_earlier_version_knows_its_classes_of_floats():
    field = Category("y")
    field.restore({"names": ("1.0", "2.0")})
    assert [int(field.encode({"y": value})) for value in (1.0, 2.0)] == [0, 1]


@pytest.mark.parametrize("test", ["t.parquet", "t.jsonl", "t.csv", "floats.csv"])
def test_files_that_store_the_same_numbers_in_other_ways_have_the_same_classes(tmp_path, test):
    """As pandas writes whole numbers as floats where one is missing."""
    texts = [f"word{n}" for n in range(12)]
    floats = pa.table({"text": texts, "label": [float(n % 3) for n in range(12)]})
    parquet.write_table(floats, tmp_path / "train.parquet")
    labels = [n % 3 for n in range(12)]
    if test.endswith("parquet"):
        parquet.write_table(pa.table({"text": texts, "label": labels}), tmp_path / test)
    elif test.endswith("jsonl"):
        rows = zip(texts, labels, strict=True)
        lines = (json.dumps({"text": t, "label": y}) + "\n" for t, y in rows)
        (tmp_path / test).write_text("".join(lines))
    else:
        labels = labels if test == "t.csv" else map(float, labels)
        rows = "".join(f"{t},{y}\n" for t, y in zip(texts, labels, strict=True))
        (tmp_path / test).write_text("text,label\n" + rows)
    source = Table(train="train.parquet", valid=test, test=test, path=str(tmp_path))
    data = SequenceData(source, Ordinal("label"), Text("text", min_count=1))
    assert data.spec.y.names == ("0", "1", "2")
    assert data.counts("y")["test"].tolist() == [4, 4, 4]


@pytest.mark.parametrize("name", FIELDS)
def test_a_decimal_of_more_digits_than_decimal_computes_with_is_a_class(name, tmp_path):
    """Parquet holds up to 76 of them."""
    make, entry = FIELDS[name]
    large, larger = (Decimal(f"12345678901234567890123456789{end}") for end in "01")
    values = [large, larger, Decimal("1E+30"), Decimal("0.5")]
    field = fitted(make, [entry(value) for value in values])
    assert set(field.names) == {"0.5", str(large), str(larger), "1" + "0" * 30}
    table = pa.table(
        {"text": [f"a{n}" for n in range(20)], "y": pa.array([large, Decimal(7)] * 10)}
    )
    parquet.write_table(table, tmp_path / "t.parquet")
    found = list(Table(train="t.parquet", path=str(tmp_path)).read().train)
    assert set(fitted(Category, [one["y"] for one in found]).names) == {"7", str(large)}


@pytest.mark.parametrize("make", [Category, MultiLabel])
def test_many_classes_with_signs_are_looked_at_quickly(make):
    field = fitted(make, [f"a{n},b{n}" for n in range(10_000)])
    start = time.process_time()
    assert field.notes("data.y") == []
    assert time.process_time() - start < 1.0
