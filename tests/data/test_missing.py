import json
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from seqpipe.data.dataset import SequenceData
from seqpipe.data.fields.labels import Category, Number, Ordinal, Tags
from seqpipe.data.fields.multilabel import MultiLabel
from seqpipe.data.fields.series import Series, Vector
from seqpipe.data.fields.spelling import Spelled
from seqpipe.data.fields.text import Text
from seqpipe.data.missing import is_missing
from seqpipe.data.sources.table import Table
from seqpipe.errors import DataError

TEXTS = [f"word{n} ash" for n in range(30)]
FIELDS = {
    "category": (Category, [1.0, 0.0]),
    "words": (Category, ["good", "bad"]),
    "ordinal": (Ordinal, [1.0, 2.0, 3.0]),
    "order": (lambda column: Ordinal(column, order=[1.0, 2.0, 3.0]), [1.0, 2.0, 3.0]),
    "number": (Number, [1.0, 2.0]),
    "text": (lambda column: Text(column, by="words"), ["a cat", "a dog"]),
    "multi_label": (MultiLabel, ["a|b", "b"]),
    "characters": (Text, ["a cat", "a dog"]),
}


def written(folder, name, labels):
    """A table of texts and labels, one of them in the third row missing."""
    file = folder / name
    if name.endswith(".parquet"):
        parquet.write_table(
            pa.table({"text": TEXTS, "label": pa.array(labels, from_pandas=False)}), file
        )
    elif name.endswith(("json", "jsonl")):
        rows = ({"text": t, "label": y} for t, y in zip(TEXTS, labels, strict=True))
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        cut = "\t" if name.endswith("tsv") else ","
        rows = (f"{t}{cut}{y}\n" for t, y in zip(TEXTS, labels, strict=True))
        file.write_text(f"text{cut}label\n" + "".join(rows))
    return Table(train=name, path=str(folder), order="file")


def data_of(source, y, **options):
    return SequenceData(source, y, Text("text", by="words"), **options)


FORMS = [
    *(("t.jsonl", missing) for missing in (None, math.nan, " ")),
    *(("t.parquet", missing) for missing in (None, math.nan)),
    *(("t.json", None), ("t.csv", ""), ("t.csv", "  "), ("t.tsv", "")),
]
PAIRS = [  # every form with one kind of class, every field in JSON and in csv
    *(("category", *form) for form in FORMS),
    *((field, "t.jsonl", math.nan) for field in FIELDS),
    *((field, "t.csv", "") for field in FIELDS if field != "multi_label"),  # no text is no label
]


@pytest.mark.parametrize(("field", "name", "missing"), PAIRS)
def test_a_missing_answer_is_refused_by_its_line_or_skipped(tmp_path, name, missing, field):
    make, values = FIELDS[field]
    labels = [values[n % len(values)] for n in range(30)]
    labels[2] = missing
    source = written(tmp_path, name, labels)
    line = 3 + (name in ("t.csv", "t.tsv"))
    with pytest.raises(DataError) as error:
        data_of(source, make("label"))
    assert error.value.problems[0].startswith(f"{tmp_path / name}:{line}: label")
    assert len(error.value.problems) == 1
    assert "data.on_error=skip" in str(error.value)
    data = data_of(source, make("label"), on_error="skip")
    assert sum(facts.skipped for facts in data.facts.values()) == 1
    assert sum(data.sizes.values()) == 29
    assert not {"nan", "None", ""} & set(data.spec.y.names or ())


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.parquet"])
def test_words_that_look_like_missing_values_stay_words(tmp_path, name):
    words = ["None", "NA", "null", "nan", "N/A", "NaN"]
    source = written(tmp_path, name, [words[n % 6] for n in range(30)])
    data = data_of(source, Category("label"))
    assert data.spec.y.names == tuple(sorted(words))
    data = SequenceData(source, Text("text", by="words"), Text("label", by="words"))
    assert data.spec.x is not None
    assert {"None", "NA", "null", "nan", "NaN"} <= set(data.spec.x.names or ())


@pytest.mark.parametrize("word", ["nan", "NaN", "NA", "null", "None", "?"])
@pytest.mark.parametrize("make", [Category, Ordinal, Number])
def test_such_a_word_among_numbers_is_a_missing_number(tmp_path, word, make):
    labels = [1 + n % 3 for n in range(30)]
    labels[4] = word
    source = written(tmp_path, "t.csv", labels)
    with pytest.raises(DataError) as error:
        data_of(source, make("label"))
    (problem,) = error.value.problems
    assert problem.startswith(f"{tmp_path}/t.csv:6: label={word!r}: is missing")
    data = data_of(source, make("label"), on_error="skip")
    assert sum(data.sizes.values()) == 29
    assert make is Number or data.spec.y.names == ("1", "2", "3")


@pytest.mark.parametrize(
    "missing", [None, math.nan, np.float32("nan"), pd.NaT, pd.NA, np.datetime64("NaT"), "", "  "]
)
def test_a_tag_of_a_list_may_not_be_missing(missing):
    field = Tags("tags")
    with pytest.raises(DataError) as error:
        field.fit([{"tags": ["a", missing, "b"]}])
    assert "tags[1]=" in str(error.value)
    field.fit([{"tags": ["a", "None", "nan"]}])
    assert field.names == ("None", "a", "nan")
    with pytest.raises(DataError):
        field.encode({"tags": ["a", missing]})


@pytest.mark.parametrize("missing", [None, math.nan, pd.NA])
def test_a_label_of_a_list_may_not_be_missing(missing):
    with pytest.raises(DataError) as error:
        MultiLabel("labels").fit([{"labels": ["a", missing]}])
    assert "labels[1]=" in str(error.value)


@pytest.mark.parametrize(
    ("field", "entry", "problem"),
    [
        (MultiLabel("y"), [["a"]], "y[0]=['a']: not one label; allowed: text or a number"),
        (MultiLabel("y"), ["a", {"b": 1}], "y[1]={'b': 1}: not one label; allowed: text"),
        (Number("y"), [], "y=[]: is empty; allowed: a number, or a list of them"),
        (Text("y", by="tokens"), ["a", ""], "y[1]='': is missing; allowed: a token for each step"),
    ],
)
def test_what_a_list_holds_in_place_of_an_entry_is_no_entry(field, entry, problem):
    for read in (field.encode, field.check):
        with pytest.raises(DataError) as error:
            read({"y": entry})
        assert problem in str(error.value)


@pytest.mark.parametrize("missing", [None, math.nan, pd.NaT, pd.NA, np.float64("nan")])
@pytest.mark.parametrize("make", [Text, Category, Vector, Series, Spelled, Number, Tags])
def test_a_missing_entry_is_refused_by_every_field(make, missing):
    with pytest.raises(DataError) as error:
        make("x").value({"x": missing})
    assert str(error.value) == f"x={missing!r}: is missing; allowed: a value"


def test_columns_put_together_may_not_be_missing(tmp_path):
    rows = [{"title": t, "text": "ash", "label": n % 2} for n, t in enumerate(TEXTS)]
    rows[1]["title"] = math.nan
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = Table(train="t.jsonl", path=str(tmp_path), columns=["title+text", "label"])
    found = list(source.parse(tmp_path / "t.jsonl"))
    assert isinstance(found[1], DataError)
    assert "t.jsonl:2: title=nan" in str(found[1])


def test_what_is_missing_is_told_from_words_and_numbers():
    assert all(map(is_missing, [None, math.nan, np.nan, pd.NA, pd.NaT, np.float16("nan")]))
    there = ["nan", "", 0, False, math.inf, [], np.zeros(2), np.array([np.nan, 1]), np.int64(0)]
    assert not any(map(is_missing, there))


def test_a_hint_to_skip_is_no_advice_where_nothing_would_be_left(tmp_path):
    source = written(tmp_path, "t.csv", [""] * 30)
    with pytest.raises(DataError) as error:
        data_of(source, Category("label"))
    assert "on_error" not in str(error.value)


def test_the_way_out_stands_beside_the_first_words_of_an_error(tmp_path):
    labels = [1.0, 2.0] * 15
    labels[3] = None
    with pytest.raises(DataError) as error:
        data_of(written(tmp_path, "t.jsonl", labels), Category("label"))
    way = "or data.on_error=skip, which leaves such records out and counts them"
    told = "t.jsonl:4: label=None: is missing; allowed: a value"
    assert str(error.value) == f"{tmp_path / told}; {way}"
    labels[4] = math.nan
    with pytest.raises(DataError) as error:
        data_of(written(tmp_path, "t.jsonl", labels), Category("label"))
    assert str(error.value).startswith(f"2 problems in the data ({way}):\n  1. {tmp_path}")
