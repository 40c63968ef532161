"""Raw input as records: every format, from files and from a pipe, and what is wrong with some."""

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from seqpipe.errors import ConfigError, DataError
from seqpipe.inference import readers
from seqpipe.runs.open_model import make_reader


@pytest.fixture
def read(made, monkeypatch):
    """read("category of text", path): what is found there, an error in place of what is broken."""

    def of(name, path, *, format=None, encoding=None, stdin: Path | None = None):
        if stdin is not None:
            monkeypatch.setattr(readers, "STANDARD_INPUT", stdin)
        reader = make_reader(made(name).model, (), format, encoding)
        return list(reader.read(str(path)))

    return of


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


CSV = 'id,text\r\n1,"a ""b"", c"\r\n2,"two\nlines"\r\n'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("in.csv", b"\xef\xbb\xbf" + CSV.encode()),
        ("in.csv.gz", gzip.compress(CSV.encode(), mtime=0)),
        ("in.tsv", CSV.replace(",", "\t").replace("\t c", ", c")),
        (
            "in.jsonl",
            '{"id": "1", "text": "a \\"b\\", c"}\n\n{"id": "2", "text": "two\\nlines"}\n',
        ),
    ],
)
def test_tables_are_read_with_their_lines(read, tmp_path, name, content):
    found = read("category of text", write(tmp_path / name, content))
    assert [dict(one) for one in found] == [
        {"id": "1", "text": 'a "b", c'},
        {"id": "2", "text": "two\nlines"},
    ]
    assert [one.line for one in found] == ([1, 3] if name.endswith("jsonl") else [2, 3])
    assert found[0].place.startswith(str(tmp_path / name))


def test_parquet_is_read(read, tmp_path):
    table = pa.table({"text": ["a", "b"], "n": [1, 2]})
    parquet.write_table(table, tmp_path / "in.parquet")
    found = read("category of text", tmp_path / "in.parquet")
    assert [dict(one) for one in found] == table.to_pylist()


@pytest.mark.parametrize("format", [None, "lines"])
def test_text_is_read_a_line_at_a_time(read, tmp_path, format):
    path = write(tmp_path / "in.txt", b"the cat\r\n\na, b\nno end")
    found = read("category of text", path, format=format)
    assert [(one["text"], one.line) for one in found] == [
        ("the cat", 1),
        ("", 2),
        ("a, b", 3),
        ("no end", 4),
    ]


@pytest.mark.parametrize(
    ("format", "content"),
    [
        (None, "a\nb\n"),
        ("lines", "a\nb\n"),
        ("csv", "text\na\nb\n"),
        ("tsv", "text\na\nb\n"),
        ("jsonl", '{"text": "a"}\n{"text": "b"}\n'),
    ],
)
def test_standard_input_is_called_input(read, tmp_path, format, content):
    found = read("category of text", "-", format=format, stdin=write(tmp_path / "pipe", content))
    assert [one["text"] for one in found] == ["a", "b"]
    first = 2 if format in ("csv", "tsv") else 1
    assert [one.place for one in found] == [f"input:{first}", f"input:{first + 1}"]


def test_errors_of_standard_input_are_of_input(read, tmp_path):
    def problems(content, format):
        stdin = write(tmp_path / "pipe", content)
        try:
            found = read("category of text", "-", format=format, stdin=stdin)
        except DataError as error:
            return error.problems
        return [text for one in found if isinstance(one, DataError) for text in one.problems]

    assert problems("", "csv") == ["input: is empty; allowed: a header, and rows below it"]
    assert problems("", "jsonl") == ["input: is empty; allowed: one JSON object per line"]
    assert problems("a,text\n1\n", "csv") == ["input:2: 1 cell, the header has 2; allowed: 2 cells"]
    assert problems("{\n", "jsonl")[0].startswith("input:1: not JSON (")
    wrong = "input: has no column 'text', which the model reads; it has txt, n; did you mean 'txt'?"
    assert problems("txt,n\na,1\n", "csv") == [wrong]


def test_what_cannot_be_read_from_a_pipe_is_refused(read):
    with pytest.raises(ConfigError) as caught:
        read("category of text", "-", format="parquet")
    text = "cannot be read from standard input; allowed: a file"
    assert caught.value.problems == [f"input=- format=parquet: {text}"]
    with pytest.raises(ConfigError) as caught:
        read("category of text", "-", format="jsnol")
    assert caught.value.problems == [
        "format=jsnol: no such format; allowed: csv, tsv, jsonl, parquet, lines, source;"
        " did you mean 'jsonl'?"
    ]


def test_bad_rows_are_in_their_places(read, tmp_path):
    path = write(tmp_path / "in.csv", b'id,text\n1,a\n2\n3,\xff\n4,d\n5,"open\n')
    found = read("category of text", path)
    assert [isinstance(one, DataError) for one in found] == [False, True, True, False, True]
    assert [one.problems[0] for one in found if isinstance(one, DataError)][:2] == [
        f"{path}:3: 1 cell, the header has 2; allowed: 2 cells",
        f"{path}:4: byte 0xff at column 3 is not utf-8; allowed: encoding=latin-1, cp1252, ... as"
        " the file was written",
    ]
    latin = write(tmp_path / "latin.csv", "text\ncaf\u00e9\n".encode("latin-1"))
    assert read("category of text", latin, encoding="latin-1")[0]["text"] == "caf\u00e9"


def test_an_encoding_is_read_or_refused(read, tmp_path):
    text = write(tmp_path / "in.txt", "caf\u00e9\n".encode("utf-16"))
    assert read("category of text", text, encoding="utf-16")[0]["text"] == "caf\u00e9"
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "in.parquet", tmp_path / "folder" / "a.parquet"):
        parquet.write_table(pa.table({"text": ["a"]}), path)
    unread = "encoding=latin-1: Parquet says itself how its text is written; allowed: leave it out"

    def problem(name, path):
        with pytest.raises(ConfigError) as caught:
            read(name, path, encoding="latin-1" if path.exists() else "latin-0")
        return caught.value.problems[0]

    assert problem("category of text", tmp_path / "in.parquet") == unread
    assert problem("category of text", tmp_path / "folder") == unread
    np.savez(tmp_path / "in.npz", X=np.ones((1, 2, 2)), lengths=np.array([1]))
    assert problem("category of series", tmp_path / "in.npz") == (
        "encoding=latin-1: Npz reads no text; allowed: leave it out"
    )
    assert problem("category of text", tmp_path / "none").startswith(
        "encoding=latin-0: no such encoding; allowed: utf-8, latin-1, "
    )


def test_what_is_not_there_is_told(read, tmp_path):
    write(tmp_path / "new.csv", "text\na\n")
    with pytest.raises(DataError) as caught:
        read("category of text", tmp_path / "nwe.csv", format="csv")
    assert caught.value.problems == [
        f"input={tmp_path / 'nwe.csv'}: no such file; did you mean 'new.csv'?; allowed: a file,"
        " or - for standard input"
    ]
    with pytest.raises(DataError, match=r"^input=.*nwe.csv: no such file in "):
        read("category of text", tmp_path / "nwe.csv")


def test_tagged_words_are_read_as_they_were_in_training(read, tmp_path):
    text = "the O\ncat B-ANI\n\ndog B-ANI\n"
    found = read("tags of spans", write(tmp_path / "in.conll", text))
    assert [one["tokens"] for one in found] == [["the", "cat"], ["dog"]]
    found = read("tags of spans", write(tmp_path / "in.txt", "the cat\ndog\n"))
    assert [one["tokens"] for one in found] == ["the cat", "dog"]
    (one,) = read("tags of spans", write(tmp_path / "plain.txt", "dog O\n"), format="source")
    assert one["tokens"] == ["dog"]


@pytest.mark.parametrize("name", ["numbers", "numbers, differences"])
def test_a_forecast_is_of_what_comes_after_the_last_row(read, made, tmp_path, name):
    values = [20.0, 21.0, 19.5, 20.5, 22.0, 23.0, 22.5]
    path = write(tmp_path / "new.csv", "value\n" + "".join(f"{v}\n" for v in values))
    (one,) = read(name, path)
    assert one["last"].tolist() == [22.5]
    past = np.array(values[-6:])[:, None]
    expected = past - past[-1] if name.endswith("differences") else past
    np.testing.assert_allclose(one["past"], expected, rtol=1e-6)
    (answer,) = made(name).model.predict([one])
    (bare,) = made(name).model.predict([{**one, "last": [0.0]}])
    start = 22.5 if name.endswith("differences") else 0.0
    assert answer["prediction"] == pytest.approx([start + v for v in bare["prediction"]])
    (short,) = read(name, write(tmp_path / "short.csv", "value\n1\n2\n"))
    assert short.problems[0].endswith("has 2 rows; allowed: 6 or more, past=6")


def test_a_series_is_read_from_the_files_of_its_source(read, made, tmp_path):
    there = made("category of series")
    np.savez(tmp_path / "new.npz", X=np.ones((2, 3, 2)), y=np.zeros(2), lengths=np.array([3, 1]))
    found = read("category of series", tmp_path / "new.npz")
    assert [len(one["series"]) for one in found] == [3, 1]
    assert len(there.model.predict(found)) == 2
    write(tmp_path / "new.jsonl", json.dumps({"series": [[1.0, 2.0]]}) + "\n")
    (one,) = read("category of series", tmp_path / "new.jsonl")
    assert there.model.predict([one])


def test_generated_data_have_no_files(read, tmp_path):
    with pytest.raises(ConfigError) as caught:
        read("number", write(tmp_path / "in.npz", b"x"))
    text = "Adding, which the model was trained on, reads no files"
    assert caught.value.problems[0].endswith(f"{text}; allowed: a table or JSON lines")


def test_records_are_read_only_when_they_are_asked_for(made, tmp_path):
    """However many there are, a few thousand are held."""
    model = made("category of text").model
    asked = 0

    def endless():
        nonlocal asked
        while True:
            asked += 1
            yield {"text": "the cat"}

    for ahead in (False, True):
        asked = 0
        answers = model.answers(endless(), chunk=10, ahead=ahead)
        for _ in range(25):
            next(answers)
        assert asked <= 30 + 40 * ahead
        del answers


@pytest.mark.parametrize(
    "last",
    [None, "1200", "abc", 1200.0, True, [], [None], [[1.0]], [1.0, 2.0, 3.0], [float("nan")]],
)
def test_a_last_step_that_is_none_is_an_error_of_its_row(made, last):
    model = made("numbers, differences").model
    record = {"past": np.zeros((6, 1)), "last": [20.0]}
    good, bad, again = model.answers(model.records([record, {**record, "last": last}, record]))
    assert good.answer == again.answer
    assert bad.answer is None
    assert bad.error.startswith(f"last={last!r}: ")


@pytest.mark.parametrize("end", ["\n", " " * 9000 + "\n"])
def test_bad_bytes_of_lines_from_standard_input_are_problems_of_theirs(read, tmp_path, end):
    """A pipe cannot be opened again to look at its encoding."""

    def problem(content, encoding=None):
        stdin = write(tmp_path / "pipe", content)
        try:
            found = read("category of text", "-", format="lines", encoding=encoding, stdin=stdin)
        except DataError as error:
            return error.problems[0]
        (bad,) = [one for one in found if isinstance(one, DataError)]
        assert len(found) == 2
        return bad.problems[0]

    latin = f"caf\u00e9{end}ok\n".encode("latin-1")
    told = "input:1: byte 0xe9 at column 4 is not utf-8; allowed: encoding=latin-1, cp1252, ..."
    assert problem(latin) == f"{told} as the file was written"
    mixed = f"caf\u00e9{end}".encode() + b"\xe9\n"
    assert problem(mixed).startswith("input:2: byte 0xe9 at column 1 is not utf-8")
    assert problem(f"a{end}b\n".encode(), "utf-16") == (
        "input:1: is written in utf-8, not in utf-16; allowed: encoding=utf-8"
    )
    assert problem(f"a{end}b\n".encode("utf-16")) == (
        "input:1: is written in utf-16, not in utf-8; allowed: encoding=utf-16"
    )


def test_a_pipe_in_another_encoding_is_called_input_while_its_format_is_looked_for(read, tmp_path):
    stdin = write(tmp_path / "pipe", "text,n\na,1\n")
    with pytest.raises(DataError) as caught:
        read("category of text", "-", encoding="utf-16", stdin=stdin)
    assert caught.value.problems == [
        "input:1: is written in utf-8, not in utf-16; allowed: encoding=utf-8"
    ]
