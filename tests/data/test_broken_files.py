"""One of many files that cannot be read is named, and left out where that is asked for."""

import numpy as np
import pytest

from seqpipe.build import build_data
from seqpipe.config.compose import compose
from seqpipe.errors import DataError


def class_folders(folder):
    for n in range(20):
        (folder / "ab"[n % 2]).mkdir(exist_ok=True)
        (folder / "ab"[n % 2] / f"{n}.txt").write_text(f"text {n}")
    return folder / "a" / "broken.txt"


def tables(folder):
    for n in range(20):
        (folder / f"{n}.csv").write_text(f"text,label\nw{n},{'ab'[n % 2]}\n")
    return folder / "broken.csv"


def packed_lines(folder):
    for n in range(20):
        (folder / f"{n}.txt").write_text(f"line {n}\n")
    return folder / "broken.txt.gz"


def arrays(folder):
    for n in range(20):
        np.savez(folder / f"{n}.npz", X=np.random.rand(2, 3, 1), y=np.arange(2))
    return folder / "broken.npz"


def tunes(folder):
    for n in range(20):
        (folder / f"{n}.abc").write_text(f"X:1\nT:{n}\nK:C\n{'CDEFGAB'[n % 7] * (n + 1)}|\n")
    return folder / "broken.abc"


BROKEN = {
    "class_folders": (class_folders, b"\xff\xfew\x00"),
    "table": (tables, b"text\nw\n"),
    "lines": (packed_lines, b"no gzip"),
    "npz": (arrays, b"PK\x03\x04none"),
    "abc": (tunes, b"X:1\nT:none\nK:C\n"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_one_of_many_files_that_cannot_be_read_is_skipped_where_that_is_asked(tmp_path, name):
    write, raw = BROKEN[name]
    broken = write(tmp_path)

    def data(*more):
        typed = (f"data={name}", f"data.path={tmp_path}", "data.cache=null", *more)
        return build_data(compose(typed)[0])

    whole = sum(facts.records for facts in data().facts.values())
    broken.write_bytes(raw)
    with pytest.raises(DataError, match=f"{broken.name}:?"):
        data()
    facts = data("data.on_error=skip").facts
    assert (sum(f.records for f in facts.values()), sum(f.skipped for f in facts.values())) == (
        whole,
        1,
    )
