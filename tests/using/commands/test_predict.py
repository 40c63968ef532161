"""predict: rows in, rows out, in their order, in every format, whatever is wrong with some."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from forking import SEQPIPE, Started
from seqpipe.commands import predict
from seqpipe.errors import DataError
from seqpipe.inference import writers


def write(path: Path, text: str | bytes) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


TEXTS = ["the cat sat", "dog", "it was very good, very", "on a mat"]


def table(tmp_path) -> str:
    return write(
        tmp_path / "in.csv", "id,text\n" + "".join(f'{n},"{t}"\n' for n, t in enumerate(TEXTS))
    )


def test_answers_come_in_the_order_of_the_input_with_its_columns(ask, made, tmp_path, near):
    rows = ask("category of text", input=table(tmp_path))
    answers = made("category of text").model.predict(TEXTS)
    assert [(row["line"], row["id"], row["text"]) for row in rows] == [
        (n + 2, str(n), text) for n, text in enumerate(TEXTS)
    ]
    assert near([{key: row[key] for key in answers[0]} for row in rows], answers)
    assert [row["error"] for row in rows] == [None] * 4
    bare = ask("category of text", input=table(tmp_path), columns=False)
    assert list(bare[0]) == ["line", *answers[0], "error"]


@pytest.mark.parametrize(("times", "speed"), [((0.0, 25.0), "0.04"), ((0.0, 0.01), "100")])
def test_one_answer_and_its_rate(ask, tmp_path, monkeypatch, capsys, times, speed):
    monkeypatch.setattr(predict.time, "perf_counter", iter(times).__next__)
    ask("category of text", input=write(tmp_path / "in.csv", "text\ndog\n"))
    summary = f"1 answer in {tmp_path / 'out.jsonl'}, {speed} rows a second"
    assert capsys.readouterr().err.splitlines()[-1] == summary


@pytest.mark.parametrize(
    "name", ["tags of spans", "values", "number", "roll", "translation by beam"]
)
@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_every_kind_of_answer_is_written_in_every_format(ask, made, tmp_path, name, suffix, near):
    model = made(name).model
    lines = []
    for record in made(name).records[:3]:
        value = record[model.x.column]
        if model.y.column == "roll":  # as the MIDI numbers of each step
            value = [[21 + key for key in row.nonzero()[0].tolist()] for row in value]
        lines.append({model.x.column: value.tolist() if hasattr(value, "tolist") else value})
    path = write(tmp_path / "in.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    more = {"n_best": 2} if name.startswith("translation") else {}
    rows = ask(name, input=path, output=f"out.{suffix}", **more)
    answers = model.predict(lines, **more)
    for row, answer in zip(rows, answers, strict=True):
        for key, value in answer.items():
            if suffix == "parquet":
                assert near(row[key], value)
            elif isinstance(value, list) and all(isinstance(one, str) for one in value):
                assert row[key] == " ".join(value)
            else:
                told = row[key] if isinstance(value, str) else json.loads(row[key])
                assert near(told, value)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_no_column_is_lost_where_the_first_rows_are_errors(ask, tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(predict, "WRITTEN", 2)
    bad = "only\n" * 5 + "1,\n" * 3
    path = write(tmp_path / "in.csv", f"id,text\n{bad}7,the cat\n")
    rows = ask("category of text", input=path, output=f"out.{suffix}")
    names = ["line", "id", "text", "prediction", "probability"]
    if suffix == "jsonl":
        assert list(rows[0]) == ["line", "error"]
    else:
        assert list(rows[0]) == [
            *(*names, "probabilities.bad", "probabilities.good", "unknown", "error")
        ]
    assert [int(row["line"]) for row in rows] == list(range(2, 11))
    assert rows[0]["error"] == "1 cell, the header has 2; allowed: 2 cells"
    assert rows[6]["error"] == "text: is empty, x has no steps; allowed: one or more"
    assert rows[-1]["prediction"] in ("good", "bad")
    assert not rows[-1]["error"]


def test_input_of_which_nothing_can_be_read_still_has_the_columns(ask, tmp_path):
    path = write(tmp_path / "in.csv", "id,text\nonly\nonly\n")
    rows = ask("category of text", input=path, output="out.csv")
    assert [row["line"] for row in rows] == ["2", "3"]
    assert "probabilities.good" in rows[0]


def test_input_that_seems_to_be_none_of_its_format_ends(ask, tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "WRITTEN", 2)
    monkeypatch.setattr(predict, "MOST_UNREAD", 5)
    path = write(tmp_path / "in.csv", "id,text\n" + "only\n" * 50)
    with pytest.raises(DataError) as caught:
        ask("category of text", input=path, output="out.csv")
    assert caught.value.problems[0].startswith(
        f"input={path}: none of the first 6 rows can be read, as: {path}:2: 1 cell, the header has"
    )
    assert not (tmp_path / "out.csv").exists()


def test_columns_that_are_called_as_answers_keep_their_values(ask, tmp_path):
    header = "text,prediction,error,line,probabilities.good,probability,probabilities"
    path = write(tmp_path / "in.csv", f"{header}\nthe cat,a,b,c,d,e,f\n,a,b,c,d,e,f\n")
    for output in ("out.csv", "out.jsonl", "out.parquet"):
        first, second = ask("category of text", input=path, output=output)
        for row in (first, second):
            names = ["prediction", "error", "line", "probabilities.good"]
            names += ["probability", "probabilities"]
            assert [row[f"input.{name}"] for name in names] == list("abcdef")
        assert first["prediction"] in ("good", "bad")
        assert not second.get("prediction")
        assert second["error"] == "text: is empty, x has no steps; allowed: one or more"


@pytest.mark.parametrize("output", ["out.csv", "out.jsonl", "out.parquet"])
def test_a_job_that_fails_leaves_the_old_file(ask, tmp_path, monkeypatch, output):
    def broken(self, rows):
        raise KeyboardInterrupt

    old = write(tmp_path / output, "as it was")
    for kind in (writers.JsonLines, writers.Delimited):
        monkeypatch.setattr(kind, "write", broken)
    monkeypatch.setattr(writers.ParquetRows, "_array", broken)
    with pytest.raises((KeyboardInterrupt, TypeError)):
        ask("category of text", input=table(tmp_path), output=output)
    assert Path(old).read_text() == "as it was"
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        ["in.csv", output, "outputs", "runs"]
    )


def test_numbers_that_are_none_are_null_in_json(ask, tmp_path):
    path = write(tmp_path / "in.jsonl", '{"text": "cat", "n": NaN, "m": -Infinity, "k": null}\n')
    ask("category of text", input=path)
    row = json.loads((tmp_path / "out.jsonl").read_text(), parse_constant=pytest.fail)
    assert (row["n"], row["m"], row["k"]) == (None, None, None)


def test_columns_of_parquet_that_change_their_type_are_text_or_refused(ask, tmp_path, monkeypatch):
    path = tmp_path / "in.jsonl"
    write(path, "".join(f'{{"text": "cat", "n": {n}}}\n' for n in ("1", '"x"', "[]", "2.5")))
    rows = ask("category of text", input=str(path), output="out.parquet")
    assert [row["n"] for row in rows] == ["1", "x", "[]", "2.5"]
    monkeypatch.setattr(writers, "ROWS", 1)
    monkeypatch.setattr(predict, "WRITTEN", 1)
    write(path, '{"text": "cat", "n": 1}\n{"text": "cat", "n": "x"}\n')
    with pytest.raises(DataError, match=r"its column 'n' holds int64 first, and another type"):
        ask("category of text", input=str(path), output="other.parquet")
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["in.jsonl", "out.parquet", "outputs", "runs"]


def test_words_are_written_beside_their_tags(ask, tmp_path):
    path = write(tmp_path / "in.conll", "the O\ncat B-ANI\n\ndog B-ANI\n")
    rows = ask("tags of spans", input=path, output="out.csv")
    assert [row["tokens"] for row in rows] == ["the cat", "dog"]
    assert [len(row["prediction"].split()) for row in rows] == [2, 1]


@pytest.fixture
def start(warm, tmp_path) -> Iterator[Callable[..., Started]]:
    """start("run=..."): `seqpipe predict` in a process of its own."""
    running = []

    def run(*arguments: str) -> Started:
        running.append(warm.start(SEQPIPE, "predict", *arguments, cwd=tmp_path))
        return running[-1]

    yield run
    for each in running:
        each.close()


def test_lines_from_a_pipe_are_answered_to_a_pipe(run_of, start):
    running = start(f"run={run_of('category of text')}", "input=-")
    running.stdin.write(b"the cat\nna\xefve\n\ndog")
    running.stdin.close()
    out, err = running.stdout.read(), running.stderr.read()
    assert (running.wait(), err.decode().count("\n")) == (0, 2)
    assert err.decode().startswith("input=-: read as one text per line; format=... changes this")
    rows = [json.loads(line) for line in out.decode().splitlines()]
    assert [row["line"] for row in rows] == [1, 2, 3, 4]
    assert [row.get("text") for row in rows] == ["the cat", None, "", "dog"]
    assert rows[1]["error"] == (
        "byte 0xef at column 3 is not utf-8; allowed: encoding=latin-1, cp1252, ... as the file"
        " was written"
    )
    assert "2 of 4 rows could not be read" in err.decode()


def test_who_closes_the_pipe_ends_the_job_though_more_could_be_read(run_of, start):
    running = start(f"run={run_of('category of text')}", "input=-", "batch_size=8")
    running.stdin.write(b"the cat sat on a mat\n" * 5_000)  # more than are sorted together
    running.stdout.readline()
    running.stdout.close()
    assert running.wait() == 0  # stdin is still open
    assert running.stderr.read().count(b"\n") == 1  # how the input is read


def test_an_interrupted_job_leaves_the_old_file(run_of, start, tmp_path):
    write(tmp_path / "out.csv", "as it was")
    arguments = (f"run={run_of('category of text')}", "input=-", "output=out.csv")
    running = start(*arguments)
    running.stdin.write(b"the cat sat on a mat\n" * 20_000)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".out.csv.*.part")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    assert running.wait() == 130
    assert (tmp_path / "out.csv").read_text() == "as it was"
    assert not list(tmp_path.glob(".out*"))
    assert running.stderr.read().decode().splitlines()[-1] == "seqpipe: interrupted"
