"""predict: what becomes of the columns of its input, and of several files."""

import json

import pytest

from seqpipe.commands import predict


@pytest.fixture
def write(tmp_path):
    """write(rows): a file of JSON lines."""

    def of(rows):
        path = tmp_path / "in.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return of


def test_lists_of_the_input_stay_with_its_rows_and_objects_do_not(ask, write):
    deep = json.loads("[" * 300 + "]" * 300)
    rows = [
        {"text": "the cat", "scores": [1, 2.5, None], "meta": {"a": [1]}, "deep": deep},
        {"text": "dog", "scores": [], "meta": {"\ud800": "x"}, "deep": [{}]},
    ]
    for suffix in (".jsonl", ".csv", ".parquet"):
        written = ask("category of text", input=write(rows), output=f"out{suffix}")
        assert not written[0].keys() & {"meta", "deep", "meta.a"}
        wanted = [row["scores"] for row in rows]
        if suffix == ".csv":
            wanted = ["[1, 2.5, null]", ""]
        assert [row["scores"] for row in written] == wanted


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_column_that_only_later_rows_have_is_left_out_and_told(
    ask, write, monkeypatch, suffix, caplog
):
    monkeypatch.setattr(predict, "WRITTEN", 2)
    rows = [{"text": "dog"}] * 2 + [{"text": "cat", "note": "x"}] * 3
    input = write(rows)
    written = ask("category of text", input=input, output=f"out{suffix}")
    assert [row["text"] for row in written] == [row["text"] for row in rows]
    assert "note" not in written[-1]
    told = "column 'note' is left out: the first rows had none; as .jsonl it would be kept"
    assert [one.getMessage() for one in caplog.records if one.levelname == "WARNING"] == [told]
    assert ask("category of text", input=input)[-1]["note"] == "x"


def test_of_columns_that_come_late_only_some_are_told(ask, write, monkeypatch, caplog):
    monkeypatch.setattr(predict, "WRITTEN", 2)
    rows = [{"text": "dog"}] * 2 + [{"text": "cat", f"note{n}": n} for n in range(50)]
    written = ask("category of text", input=write(rows), output="out.csv")
    assert len(written) == 52
    told = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert len(told) == 10
    assert "'note9'" in told[-1]
    assert told[-1].endswith("; further such columns are not reported")


def test_the_tables_of_a_folder_or_a_pattern_need_no_label(ask, tmp_path):
    for name in "ab":
        (tmp_path / "new").mkdir(exist_ok=True)
        file = tmp_path / "new" / f"{name}.csv"
        file.write_text(f"id,text\n{name}1,the cat\n{name}2,dog\n")
    expected = ["a1", "a2", "b1", "b2"]
    folder = ask("category of text", input=str(tmp_path / "new"))
    assert [row["id"] for row in folder] == expected
    pattern = ask("category of text", input=str(tmp_path / "new" / "*.csv"))
    assert pattern == folder
    assert ask("category of text", input=str(tmp_path / "new"), format="source") == folder
