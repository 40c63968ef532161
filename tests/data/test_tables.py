import codecs
import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqpipe.data.dataset import SequenceData
from seqpipe.data.fields.labels import Category
from seqpipe.data.fields.text import Text
from seqpipe.data.sources import table_formats
from seqpipe.data.sources.table import Table
from seqpipe.errors import ConfigError, DataError

ROWS = [{"text": "so good", "label": "1"}, {"text": "no, bad", "label": "0"}]


@pytest.fixture
def parsed(tmp_path, monkeypatch):
    """Write bytes to a file in the current folder and read it: records, and messages."""
    monkeypatch.chdir(tmp_path)

    def parse(content, name="t.csv", **options):
        (tmp_path / name).write_bytes(content)
        source = Table(train=name, **options)
        return [
            found.problems if isinstance(found, DataError) else found
            for found in source.parse(source.files_of("train")[0])
        ]

    return parse


def refusal(parsed, *args, **options):
    with pytest.raises(DataError) as error:
        parsed(*args, **options)
    return str(error.value)


@pytest.mark.parametrize(
    ("content", "name", "options"),
    [
        (b'text,label\nso good,1\n"no, bad",0\n', "t.csv", {}),
        (b'text,label\r\nso good,1\r\n"no, bad",0', "t.csv", {}),
        (codecs.BOM_UTF8 + b'text,label\nso good,1\n"no, bad",0\n', "t.csv", {}),
        (gzip.compress(b'text,label\nso good,1\n"no, bad",0\n', mtime=0), "t.csv.gz", {}),
        (b"text\tlabel\nso good\t1\nno, bad\t0\n", "T.TSV", {}),
        (b"text;label\nso good;1\n\nno, bad;0\n", "t.csv", {"delimiter": ";"}),
        (b"so good\t1\nno, bad\t0\n", "t.tsv", {"header": ["text", "label"]}),
        (b"text,label\nso good,1\n'no, bad',0\n", "t.csv", {"quote": "'"}),
        (b'text , label\nso good ,1\n"no, bad", 0\n', "t.csv", {"strip": True}),
        (b"text|label\nso good|1\nno, bad|0\n", "notes", {"format": "csv", "delimiter": "|"}),
        ('text,label\nso good,1\n"no, bad",0\n'.encode("utf-16"), "t.csv", {"encoding": "utf-16"}),
        (b'{"text": "so good", "label": "1"}\n\n{"label": "0", "text": "no, bad"}', "t.jsonl", {}),
    ],
)
def test_the_same_rows_are_read_however_they_are_written(parsed, content, name, options):
    assert parsed(content, name, **options) == ROWS


def test_a_packed_table_of_a_folder_is_taken_whatever_the_case_of_its_name(tmp_path):
    packed = gzip.compress(b"text,label\nso good,1\n", mtime=0)
    (tmp_path / "T.CSV.GZ").write_bytes(packed)
    (tmp_path / "notes.md").write_text("not a table")
    source = Table(train=str(tmp_path), valid=str(tmp_path), test=str(tmp_path))
    assert list(source.read().train) == [{"text": "so good", "label": "1"}]


def test_a_record_stands_at_the_line_it_starts_at(parsed):
    content = b'text,label\n"one\r\ntwo ""three"" four",1\n\nlast,0\n'
    first, last = parsed(content)
    assert first == {"text": 'one\ntwo "three" four', "label": "1"}
    assert [first.place, last.place] == ["t.csv:2", "t.csv:5"]


@given(st.lists(st.tuples(st.text(), st.text()), min_size=1))
def test_what_python_writes_as_csv_is_read_as_it_was(tmp_path_factory, rows):
    import csv

    # Line ends are told apart no more, and white space alone is a blank line for no one.
    rows = [tuple(c.replace("\r\n", "\n").replace("\r", "") for c in row) for row in rows]
    file = tmp_path_factory.mktemp("csv") / "t.csv"
    with file.open("w", newline="", encoding="utf-8", errors="surrogatepass") as opened:
        csv.writer(opened).writerows([("a", "b"), *rows])
    assert [tuple(found.values()) for found in Table(train="t.csv").parse(file)] == rows


def test_columns_are_picked_and_put_together(parsed):
    content = b"class,title,description\n3,Oil up,Prices rise.\n"
    assert parsed(content, columns=["class", "title+description"]) == [
        {"class": "3", "title+description": "Oil up Prices rise."}
    ]
    assert parsed(content, columns=["title"], group="class", stratify="class") == [
        {"title": "Oil up", "class": "3"}
    ]
    assert parsed(b"a+b,a\n1,2\n", columns=["a+b"]) == [{"a+b": "1"}]


def test_numbers_and_lists_of_json_stay_what_they_are(parsed):
    found = parsed(b'{"a": 1, "b": [1.5, "x"], "c": null}\n', "t.json")
    assert found == [{"a": 1, "b": [1.5, "x"], "c": None}]
    joined = parsed(b'{"a": 1, "b": "x", "c": null}\n', "t.ndjson", columns=["a+b"])
    assert joined == [{"a+b": "1 x"}]
    assert parsed(b'{"a": 1, "c": null}\n', "t.ndjson", columns=["a+c"]) == [
        ["t.ndjson:1: c=None: cannot be put together with others; allowed: text or a number"]
    ]


@pytest.fixture
def parquet(tmp_path):
    import datetime

    import pyarrow as pa
    from pyarrow import parquet

    def write(name="t.parquet", rows=3000):
        table = pa.table(
            {
                "text": [f"row {n}" for n in range(rows)],
                "label": list(range(rows)),
                "day": [datetime.date(2020, 1, 2)] * rows,
            }
        )
        parquet.write_table(table, tmp_path / name, row_group_size=700)
        return tmp_path / name

    return write


def test_parquet_is_read_by_its_rows(parquet):
    file = parquet()
    found = list(Table(train="t.parquet").parse(file))
    assert [record["label"] for record in found] == list(range(3000))
    assert found[-1] == {"text": "row 2999", "label": 2999, "day": "2020-01-02"}
    assert found[-1].place == f"{file}:3000"
    few = list(Table(train="t.parquet", columns=["text"]).parse(file))
    assert few[1500] == {"text": "row 1500"}


def test_a_parquet_file_that_is_none_or_broken_is_refused(parquet, tmp_path):
    whole = parquet()
    (tmp_path / "none.parquet").write_bytes(b"text,label\n" * 20)
    with pytest.raises(DataError, match=r"none.parquet: not a Parquet file \(Parquet magic bytes"):
        list(Table(train="").parse(tmp_path / "none.parquet"))
    content = bytearray(whole.read_bytes())
    content[200:5000] = b"\x00" * 4800
    whole.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"t.parquet:1: cannot be read \("):
        list(Table(train="").parse(whole))
    with pytest.raises(DataError) as error:
        list(Table(train="", columns=["txt"]).parse(parquet()))
    assert str(error.value) == (
        f"{whole}: has no column 'txt'; it has text, label, day; did you mean 'text'?"
    )


@pytest.mark.parametrize(
    ("content", "name", "options", "problems"),
    [
        (b"a,b\n1\n1,2,3\n", "t.csv", {}, [
            "t.csv:2: 1 cell, the header has 2; allowed: 2 cells",
            "t.csv:3: 3 cells, the header has 2; allowed: 2 cells",
        ]),
        (b"1,2\n1\n", "t.csv", {"header": ["a", "b"]}, [
            "t.csv:2: 1 cell, data.source.header names 2; allowed: 2 cells",
        ]),
        (b'a,b\n"1"2,3\n4,5\n', "t.csv", {}, [
            't.csv:2: a cell in " has text after the closing one; allowed: " doubled inside such a '
            "cell, or data.source.quote=null where quotes are text",
        ]),
        (b'a,b\n4,5\n"1,3\n4,5\n', "t.csv", {}, [
            't.csv:3: a cell opened with " is never closed; allowed: " doubled inside such a '
            "cell, or data.source.quote=null where quotes are text",
        ]),
        (b'{"a": 1}\n{"a": }\n[1]\n"x"\nnull\n3\n', "t.jsonl", {}, [
            't.jsonl:2: not JSON (Expecting value at column 7); '
            'allowed: one object per line, as {"text": "..."}',
            't.jsonl:3: a list, not an object; allowed: one object per line, as {"text": "..."}',
            't.jsonl:4: a text, not an object; allowed: one object per line, as {"text": "..."}',
            't.jsonl:5: null, not an object; allowed: one object per line, as {"text": "..."}',
            't.jsonl:6: a number, not an object; allowed: one object per line, as {"text": "..."}',
        ]),
        (b'{"a": 1}\n' + b"[" * 200000, "t.jsonl", {}, [
            "t.jsonl:2: lists within lists without an end; allowed: one object per line, "
            'as {"text": "..."}',
        ]),
        (b'{"a": 1}\n{"b": 1}\n', "t.jsonl", {"columns": ["a"]}, [
            "t.jsonl:2: has no 'a'; allowed: a value",
        ]),
    ],
)  # fmt: skip
def test_a_bad_row_says_what_is_wrong_and_the_others_are_read(
    parsed, content, name, options, problems
):
    found = parsed(content, name, **options)
    bad = [one for one in found if isinstance(one, list)]
    assert [problem for one in bad for problem in one] == problems
    if name == "t.jsonl" or b"4,5" in content:
        assert any(isinstance(one, dict) for one in found)


def test_a_bad_byte_in_a_quoted_cell_does_not_shift_the_rows_behind_it(parsed):
    found = parsed(b'a,b\n1,"x\n\xff\ny"\n2,"\xff"\n3,z\n')
    assert found[2] == {"a": "3", "b": "z"}
    assert [one[0][:40] for one in found[:2]] == [
        "t.csv:3: byte 0xff at column 1 is not ut",
        "t.csv:5: byte 0xff at column 4 is not ut",
    ]


@pytest.mark.parametrize(
    ("content", "name", "options", "message"),
    [
        (b"a,b,a\n1,2,3\n", "t.csv", {}, (
            "t.csv:1: two columns are called 'a'; allowed: a name of its own for each"
        )),
        (b"txt,label\nx,1\nx,1\n", "t.csv", {"columns": ["text", "label"]}, (
            "t.csv:1: has no column 'text'; it has txt, label; did you mean 'txt'?"
        )),
        (b"x,1\n", "t.csv", {"columns": ["text"], "header": ["a", "b"]}, (
            "t.csv: has no column 'text'; it has a, b"
        )),
        (b'{"a": 1}\n{"b": 1}\n' * 200, "t.jsonl", {"columns": ["c"]}, (
            "t.jsonl: has no column 'c'; it has a, b"
        )),
        (b"x", "notes.dat", {}, (
            "notes.dat: its name does not determine the format; "
            "allowed: data.source.format=csv | tsv | jsonl | parquet"
        )),
        (gzip.compress(bytes(range(97, 123)) * 9, mtime=0)[:30], "t.csv.gz", {}, (
            "t.csv.gz: cannot be read to its end "
            "(Compressed file ended before the end-of-stream marker was reached)"
        )),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_at_all_is_refused(parsed, content, name, options, message):
    assert refusal(parsed, content, name, **options) == message


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"delimiter": "\\t"}, (
            "data.source.delimiter=\\t: wrong form; allowed: one character, or null, "
            "for tabs data.source.format=tsv"
        )),
        ({"quote": ""}, "data.source.quote=: wrong form; allowed: one character, or null"),
        ({"header": False}, (
            "data.source.header=false: the columns need names; allowed: true, or a list of them"
        )),
        ({"header": ["a", "a"]}, (
            "data.source.header=[a,a]: a name comes twice; "
            "allowed: a name of its own for each column"
        )),
        ({"format": "jsonl", "delimiter": ";"}, (
            "data.source.delimiter=;: is of csv and tsv, not of jsonl; allowed: null"
        )),
        ({"format": "parquet", "header": ["a"]}, (
            "data.source.header=[a]: is of csv and tsv, not of parquet; allowed: true"
        )),
    ],
)  # fmt: skip
def test_an_option_that_cannot_work_is_refused(options, problem):
    with pytest.raises(ConfigError) as error:
        Table(train="t.csv", **options)
    assert str(error.value) == problem


def test_a_cell_may_be_longer_than_the_csv_module_allows_by_itself(parsed):
    assert len(parsed(b"a\n" + b"x" * 200_000 + b"\n")[0]["a"]) == 200_000


def test_a_quote_that_swallows_a_large_file_is_found(parsed, monkeypatch):
    import csv

    limit = csv.field_size_limit()
    monkeypatch.setattr(table_formats, "LONGEST_CELL", 1000)
    csv.field_size_limit(1000)
    try:
        found = parsed(b'a\n"x\n' + b"y\n" * 2000 + b"z\n")
    finally:
        csv.field_size_limit(limit)
    assert found[0][0].startswith('t.csv:2: a cell opened with " is never closed')
    assert found[-1] == {"a": "z"}


def test_a_folder_is_read_file_by_file_and_no_text_is_in_two_splits(tmp_path):
    (tmp_path / "notes.md").write_text("not a table")
    for number in range(4):
        lines = [json.dumps({"text": f"text {n % 50}", "label": n % 2}) for n in range(100)]
        (tmp_path / f"{number}.jsonl").write_text("\n".join(lines))
    data = SequenceData(
        Table(train=".", path=str(tmp_path), columns=["text", "label"]),
        Category("label"),
        Text("text"),
    )
    assert data.sizes == {"train": 320, "valid": 40, "test": 40}
    records = {split: list(found) for split, found in data.source.read().by_name().items()}
    texts = {split: {r["text"] for r in part} for split, part in records.items()}
    assert not texts["train"] & texts["valid"] | texts["train"] & texts["test"]
    assert not texts["valid"] & texts["test"]
    assert {record.file.name for record in records["train"]} == {f"{n}.jsonl" for n in range(4)}
