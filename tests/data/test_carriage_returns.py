"""A carriage return inside a row is refused by its line, in every source that reads tables."""

import pytest

from seqpipe.data.base import place
from seqpipe.data.sources.fasta import Fasta
from seqpipe.data.sources.forecast import Forecast
from seqpipe.data.sources.long_csv import LongCsv
from seqpipe.data.sources.table import Table
from seqpipe.data.sources.video import listed
from seqpipe.data.sources.wide_csv import WideCsv
from seqpipe.errors import DataError

PROBLEM = "a carriage return within a row; allowed: \\n or \\r\\n at the end of each line"
READERS = {
    "table": (lambda f: Table(train=f.name, path=str(f.parent)).parse(f), "text,label", "so,1"),
    "wide": (
        lambda f: WideCsv(train=f.name, label="y", path=str(f.parent)).parse(f),
        "a,b,y",
        "1,2,u",
    ),
    "long": (
        lambda f: LongCsv(train=f.name, id="i", features=["a"], path=str(f.parent)).parse(f),
        "i,a",
        "1,2",
    ),
    "forecast": (
        lambda f: Forecast(train=f.name, values=["a"], past=1, path=str(f.parent)).rows(f, None),
        "t,a",
        "1,2",
    ),
    "clips": (lambda f: listed(f, "utf-8"), "file,label", "a.mkv,u"),
}


def problems(read, file):
    found = []
    for one in read(file):
        one = one[1] if isinstance(one, tuple) else one
        found += one.problems if isinstance(one, DataError) else []
    return found


@pytest.mark.parametrize("name", READERS)
def test_a_carriage_return_within_a_row_is_told_by_its_line(tmp_path, name):
    read, header, row = READERS[name]
    file = tmp_path / "t.csv"
    for broken in (row.replace(",", ",\r", 1), row.replace(",", "\rx,", 1)):
        file.write_bytes(f"{header}\n{broken}\n{row}\n".encode())
        assert problems(read, file) == [f"{place(file, 2)}: {PROBLEM}"]
    file.write_bytes(header.replace(",", "\r,", 1).encode() + f"\n{row}\n".encode())
    with pytest.raises(DataError) as error:
        problems(read, file)
    assert str(error.value) == f"{place(file, 1)}: {PROBLEM}"


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("end", ["\r\n", "\r\r\n"])
def test_other_line_ends_are_read(tmp_path, name, end):
    read, header, row = READERS[name]
    (tmp_path / "t.csv").write_bytes(f"{header}{end}{row}{end}".encode())
    assert problems(read, tmp_path / "t.csv") == []


def test_a_table_of_labels_is_refused_in_the_same_way(tmp_path):
    (tmp_path / "a.fa").write_text(">s1\nACGT\n>s2\nACGA\n")
    (tmp_path / "y.csv").write_bytes(b"id,label\ns1,\ru\ns2,v\n")
    source = Fasta(train="a.fa", valid="a.fa", test="a.fa", path=str(tmp_path), labels="y.csv")
    found = [p for one in source.read().train if isinstance(one, DataError) for p in one.problems]
    assert f"{tmp_path / 'y.csv'}:2: {PROBLEM}" in found
