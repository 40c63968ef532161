"""Files of numeric series: .ts, wide and long csv, npz, idx. Good ones, and every broken one."""

import gzip
import struct
from collections import Counter

import numpy as np
import pytest

import small_files
from seqpipe.data.fields.labels import Category, Tags
from seqpipe.data.fields.series import Series
from seqpipe.data.sources.arrays import Npz
from seqpipe.data.sources.idx import Idx, Mnist
from seqpipe.data.sources.long_csv import LongCsv
from seqpipe.data.sources.numeric_text import filled, moment, number
from seqpipe.data.sources.table_formats import split_cells
from seqpipe.data.sources.ts import Ts
from seqpipe.data.sources.wide_csv import WideCsv
from seqpipe.errors import ConfigError, DataError

TS = """#a comment: with a colon
@problemName Two
@timeStamps false
@missing false
@univariate false
@dimensions 2
@equalLength false
@classLabel true up down
@data
1,2,3:4,5,6:up

0.5:-1e-3:down
"""


@pytest.fixture
def parsed(tmp_path):
    """parsed(Ts, text): the records that a source reads from one file, and the file."""

    def read(kind, content, name="f.csv", **options):
        file = small_files.write(tmp_path, name, content)
        return small_files.parsed(kind, file, **options), file

    return read


@pytest.fixture
def problem_in(tmp_path):
    """problem_in(Ts, text): the one thing that is wrong with a file."""

    def read(kind, content, name="f.csv", **options):
        file = small_files.write(tmp_path, name, content)
        (problem,) = small_files.problems_in(kind, file, **options)
        return problem

    return read


def series_of(records):
    return [record["series"].tolist() for record in records]


# .ts


def test_a_ts_file_gives_steps_of_all_dimensions_and_a_label(parsed):
    found, file = parsed(Ts, TS)
    assert series_of(found) == [[[1, 4], [2, 5], [3, 6]], [[0.5, pytest.approx(-1e-3)]]]
    assert [record["label"] for record in found] == ["up", "down"]
    assert [record.place for record in found] == [f"{file}:10", f"{file}:12"]
    assert found[0]["series"].dtype == np.float64


def test_a_ts_file_may_have_one_dimension_a_number_to_answer_or_no_label(parsed):
    assert series_of(parsed(Ts, "@data\n1,2")[0]) == [[[1], [2]]]
    (found,) = parsed(Ts, "@targetlabel true\n@data\n1,2:-0.25\n")[0]
    assert found["label"] == -0.25
    assert list(parsed(Ts, "@classLabel false\n@data\n1,2:3,4\n")[0][0]) == ["series"]


@pytest.mark.parametrize(
    ("missing", "wanted"),
    [
        ("previous", [2, 2, 2, 5, 5]),
        ("linear", [2, 2, 3.5, 5, 5]),
        ("zero", [0, 2, 0, 5, 0]),
    ],
)
def test_missing_numbers_are_filled_where_that_is_asked_for(parsed, missing, wanted):
    text = "@classLabel true a\n@data\n?,2,NaN,5,:a"
    (found,) = parsed(Ts, text, missing=missing)[0]
    assert found["series"][:, 0].tolist() == wanted


def ts(line, header="@dimensions 2\n@classLabel true up down\n"):
    return f"{header}@data\n{line}\n"


FILL = "allowed: a number, or missing=previous, linear or zero, which fill it"
NUMBER = "is not a number; allowed: as 12, -0.5 or 1e-3"
BROKEN_TS = [
    ("@data\n", "f.ts: no series follow @data; allowed: one per line"),
    ("1,2:up\n", "f.ts:1: '1,2:up' before @data; allowed: lines that start with @ or #"),
    (
        "@timeStamps true\n@data\n",
        "f.ts:1: @timeStamps true: steps with times; allowed: false, one number per step",
    ),
    ("@dimensions two\n@data\n", "f.ts:1: @dimensions two: allowed: a number from 1"),
    (ts("1,2:up"), "f.ts:4: holds 1 dimension; allowed: 2, as @dimensions says"),
    (
        ts("1,2:1:up"),
        "f.ts:4: dimension 2 has 1 step, dimension 1 has 2; allowed: as many in each",
    ),
    (ts("1,2::up"), "f.ts:4: dimension 2 is empty; allowed: a step or more"),
    (ts("1,x:1,2:up"), f"f.ts:4: 'x' {NUMBER}"),
    (ts("1,inf:1,2:up"), f"f.ts:4: 'inf' {NUMBER}"),
    (ts("1,2:1,?:up"), f"f.ts:4: step 2, number 2, is missing; {FILL}"),
    (
        ts("1,2:1,2:upp"),
        "f.ts:4: 'upp' is not a class of @classLabel; allowed: up, down; did you mean 'up'?",
    ),
    (ts("1,2:", "@classLabel true\n"), "f.ts:3: has no label; allowed: one after the last `:`"),
    (
        ts("1,2", "@classLabel true\n"),
        "f.ts:3: no `:` between the series and its label; allowed: 1,2,3:label",
    ),
    (ts("1,2:?", "@targetLabel true\n"), "f.ts:3: '?' is no target; allowed: a number"),
    (
        ts("1,2", "@equalLength true\n@seriesLength 3\n"),
        "f.ts:4: has 2 steps; allowed: 3, as @seriesLength says, or @equalLength false",
    ),
]


@pytest.mark.parametrize(("text", "message"), BROKEN_TS)
def test_a_broken_ts_file_is_told_with_its_line(problem_in, text, message):
    assert problem_in(Ts, text, "f.ts") == message


def test_what_is_missing_everywhere_can_only_become_zero(parsed, problem_in):
    assert problem_in(Ts, "@data\n1,2:?,?", "f.ts", missing="linear") == (
        "f.ts:2: number 2 is missing at every step; allowed: missing=zero"
    )
    assert series_of(parsed(Ts, "@data\n1:?", missing="zero")[0]) == [[[1, 0]]]


# Wide csv


def test_a_wide_csv_reads_all_columns_but_the_label_as_steps(parsed):
    found, file = parsed(WideCsv, "label,a,b,c\nup,1,2,3\n\ndown,4,5,6\n", label="label")
    assert series_of(found) == [[[1], [2], [3]], [[4], [5], [6]]]
    assert [record["label"] for record in found] == ["up", "down"]
    assert [record.place for record in found] == [f"{file}:2", f"{file}:4"]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"features": 2}, [[1, 2], [3, 4], [5, 6]]),
        ({"features": 2, "layout": "blocks"}, [[1, 4], [2, 5], [3, 6]]),
        ({"features": 3}, [[1, 2, 3], [4, 5, 6]]),
        ({"columns": [1, 3]}, [[1], [3]]),
        ({"columns": [-1, 1], "features": 2}, [[6, 1]]),
    ],
)
def test_columns_and_features_say_what_is_a_step(parsed, options, wanted):
    found, _ = parsed(WideCsv, "z,1,2,3,4,5,6\n", header=False, label=0, **options)
    assert series_of(found) == [wanted]
    assert found[0]["label"] == "z"


def test_other_columns_are_kept_where_that_is_asked_for(parsed):
    text = 'subject,a,"b, c",y\n"1, 2",3,4,up\n'
    (found,) = parsed(WideCsv, text, label="y", keep=["subject"])[0]
    assert found == {
        "series": pytest.approx(np.array([[3], [4]])),
        "label": "up",
        "subject": "1, 2",
    }


def test_empty_cells_at_the_end_end_a_series_where_lengths_differ(parsed):
    text = "y,a,b,c,d\nu,1,2,3,4\nv,1,2,,\nw,1,2\n"
    found, _ = parsed(WideCsv, text, label="y", features=2, unequal=True)
    assert series_of(found) == [[[1, 2], [3, 4]], [[1, 2]], [[1, 2]]]
    found, _ = parsed(
        WideCsv, "u 1 2\nv 1 2 3\n", header=False, label=0, unequal=True, delimiter=None
    )
    assert series_of(found) == [[[1], [2]], [[1], [2], [3]]]


def test_class_names_come_from_a_file_of_their_own(parsed, problem_in, tmp_path):
    (tmp_path / "names").write_bytes(b"\xef\xbb\xbfStop\r\nMove on\r\n")
    options = {"header": False, "label": -1, "names": "names"}
    found, file = parsed(WideCsv, "1,2,1\n3,4,0\n", **options)
    assert [record["label"] for record in found] == ["Move on", "Stop"]
    assert WideCsv(train="f.csv", valid=0.1, test=0.1, path=str(tmp_path), **options).inputs() == [
        file,
        tmp_path / "names",
    ]
    assert problem_in(WideCsv, "1,2,2\n", **options) == (
        "f.csv:1: label=2: not the number of a class; allowed: 0 to 1, those that names names"
    )
    (tmp_path / "names").write_text("\n")
    with pytest.raises(DataError, match=r"names: is empty; allowed: one class name per line"):
        parsed(WideCsv, "1,2,1\n", **options)
    (tmp_path / "names").unlink()
    with pytest.raises(DataError, match=r"names: no such file in .*; allowed: one class name"):
        parsed(WideCsv, "1,2,1\n", **options)


BROKEN_WIDE = [
    ("y,a\n", {}, "f.csv: has no rows below its header; allowed: one series per row"),
    ("", {"header": False, "label": 0}, "f.csv: has no rows; allowed: one series per row"),
    ("yy,a\nu,1\n", {}, "f.csv:1: column=y: not in the header; allowed: yy, a; did you mean 'yy'?"),
    ("y,a\nu,1,2\n", {}, "f.csv:2: holds 3 cells; allowed: 2, as the header"),
    (
        "0,1\n0\n",
        {"header": False, "label": 0},
        "f.csv:2: holds 1 cell; allowed: 2, as the first row",
    ),
    ("y,a\nu,x1\n", {}, f"f.csv:2: column=a: 'x1' {NUMBER}"),
    ("y,a\nu,1_0\n", {}, f"f.csv:2: column=a: '1_0' {NUMBER}"),
    ("y,a,b\nu,1,\n", {}, f"f.csv:2: step 2 is missing; {FILL}"),
    ("y,a\n,1\n", {}, "f.csv:2: label: is empty; allowed: a class or a number"),
    (
        "y,a,b,c\nu,1,2,3\n",
        {"features": 2},
        "f.csv:1: 3 columns make no steps of 2 numbers; "
        "allowed: features=1, or another choice of columns",
    ),
    ("y,a\nu,\n", {"unequal": True}, "f.csv:2: the series is empty; allowed: a step or more"),
    (
        "0,1\n",
        {"header": False},
        "f.csv:1: column=y: no header names the columns; "
        "allowed: header=true, or a place from 0 to 1",
    ),
    (
        "0,1\n",
        {"header": False, "label": 2},
        "f.csv:1: column=2: there are 2 columns; allowed: from 0",
    ),
    (
        'y,a\n"u,1\n',
        {},
        "f.csv:2: not csv (unexpected end of data); allowed: a row on a line, quotes in pairs",
    ),
]


@pytest.mark.parametrize(("text", "options", "message"), BROKEN_WIDE)
def test_a_broken_wide_csv_is_told_with_its_line(problem_in, text, options, message):
    assert problem_in(WideCsv, text, **{"label": "y", **options}) == message


def test_a_layout_of_blocks_is_refused_where_there_is_one_block():
    with pytest.raises(ConfigError) as error:
        WideCsv(train="f.csv", layout="blocks")
    assert str(error.value) == (
        "data.source.layout=blocks: each step is one number, which makes one block; "
        "allowed: interleaved, or data.source.features above 1"
    )
    WideCsv(train="f.csv", layout="blocks", features=2)


# Long csv


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"time_order": "sort"},
            "data.source.time_order=sort: there is nothing to sort by; "
            "allowed: check, or also data.source.time=COLUMN",
        ),
        (
            {"labels": "l.csv"},
            "data.source.labels=l.csv: no label is read; "
            "allowed: null, or also data.source.label=COLUMN",
        ),
    ],
)
def test_an_option_of_a_long_csv_that_nothing_reads_is_refused(options, message):
    with pytest.raises(ConfigError) as error:
        LongCsv(train="f.csv", id="i", features=["x"], **options)
    assert str(error.value) == message


LONG = """id,t,x,z,part,y
7,2024-01-30,1,10,a,up
7,2024-01-31,2,20,b,up
"b, 8",1,3,30,b,down
"""


def test_a_long_csv_gathers_the_rows_of_one_series(parsed):
    options = {"id": "id", "time": "t", "label": "y", "tags": "part", "targets": ["z"]}
    found, file = parsed(LongCsv, LONG, features=["x"], **options)
    assert series_of(found) == [[[1], [2]], [[3]]]
    assert [record["targets"].tolist() for record in found] == [[[10], [20]], [[30]]]
    assert [(r["id"], r["label"], r["tags"]) for r in found] == [
        ("7", "up", ["a", "b"]),
        ("b, 8", "down", ["b"]),
    ]
    assert [record.place for record in found] == [f"{file}:2", f"{file}:4"]


def test_the_steps_of_a_series_are_sorted_where_that_is_asked_for(parsed, problem_in):
    text = "id,t,x\n1,10,0\n1,9,1\n2,5,2\n"
    options = {"id": "id", "features": ["x"], "time": "t"}
    assert series_of(parsed(LongCsv, text, time_order="sort", **options)[0]) == [[[1], [0]], [[2]]]
    assert problem_in(LongCsv, text, **options) == (
        "f.csv:3: t does not grow within id=1; "
        "allowed: later than the row before, or time_order=sort"
    )


def test_labels_may_stand_in_a_file_of_their_own(parsed, tmp_path):
    options = {"id": "id", "features": ["x"], "label": "y", "labels": "labels.csv"}
    labels = tmp_path / "labels.csv"
    labels.write_text("y,id\nup,1\ndown,2\n")
    found, file = parsed(LongCsv, "id,x\n2,0\n1,0\n", **options)
    assert [record["label"] for record in found] == ["down", "up"]
    assert LongCsv(train="f.csv", path=str(tmp_path), **options).inputs() == [file, labels]
    found, _ = parsed(LongCsv, "id,x\n3,0\n1,0\n", **options)
    assert found[0].problems == [f"{file}:2: id=3 has no label; allowed: one in {labels}"]
    assert found[1]["label"] == "up"
    labels.write_text("y,id\nup,1\ndown,1\n")
    with pytest.raises(DataError, match=r"labels.csv:3: id=1 has two labels; allowed: one"):
        parsed(LongCsv, "id,x\n2,0\n", **options)
    labels.unlink()
    with pytest.raises(
        DataError, match=r"no such file in .*; allowed: a csv with the columns id and y"
    ):
        parsed(LongCsv, "id,x\n2,0\n", **options)


BROKEN_LONG = [
    ("id,x,y\n", "f.csv: has no rows below its header; allowed: one step per row"),
    (
        "idd,x,y\n",
        "f.csv:1: has no column 'id' (data.source.id); it has idd, x, y; did you mean 'idd'?",
    ),
    ("id,x,y\n1,2\n", "f.csv:2: 2 cells, the header has 3; allowed: 3 cells"),
    ("id,x,y\n1,two,u\n", f"f.csv:2: column=x: 'two' {NUMBER}"),
    ("id,x,y\n1,2,u\n1,,u\n", f"f.csv:2: id=1, step 2 is missing; {FILL}"),
    (
        "id,x,y\n1,2,u\n1,2,v\n",
        "f.csv:3: y=v: id=1 began with u; allowed: one label per series",
    ),
    (
        "id,x,y\n1,2,u\n2,2,u\n1,2,u\n",
        "f.csv:4: id=1 comes back; allowed: the rows of one id together",
    ),
]


@pytest.mark.parametrize(("text", "message"), BROKEN_LONG)
def test_a_broken_long_csv_is_told_with_its_line(problem_in, text, message):
    options = {"id": "id", "features": ["x"], "label": "y"}
    assert problem_in(LongCsv, text, **options) == message


def test_a_time_that_cannot_be_ordered_is_told(problem_in):
    text = "id,t,x\n1,Jan 3,2\n"
    assert problem_in(LongCsv, text, id="id", features=["x"], time="t") == (
        "f.csv:2: time 'Jan 3' cannot be ordered; "
        "allowed: a number, 2024-01, 2024-01-31 or 2024-01-31 12:30:00"
    )


def test_a_series_with_a_bad_row_is_left_out_and_the_others_are_read(parsed):
    text = "id,x\n1,0\n2,1\n2,bad\n2,worse\n3,4\n"
    found, _ = parsed(LongCsv, text, id="id", features=["x"])
    assert [isinstance(one, DataError) for one in found] == [False, True, False]
    assert [one["id"] for one in found if not isinstance(one, DataError)] == ["1", "3"]


# npz


def saved(tmp_path, **arrays):
    np.savez(tmp_path / "f.npz", **arrays)
    return (tmp_path / "f.npz").read_bytes()


def test_arrays_give_a_series_a_row(parsed, tmp_path):
    X = np.arange(12, dtype=np.float64).reshape(2, 3, 2)
    found, file = parsed(Npz, saved(tmp_path, X=X, y=np.array([3, 1])), "f.npz")
    assert series_of(found) == X.tolist()
    assert [record["label"] for record in found] == ["3", "1"]
    assert [record.place for record in found] == [f"{file}:1", f"{file}:2"]
    found, _ = parsed(Npz, saved(tmp_path, X=np.asfortranarray(X)), "f.npz", y=None)
    assert series_of(found) == X.tolist()
    found, _ = parsed(Npz, saved(tmp_path, X=X[:, :, 0], y=np.array(["a", "b"])), "f.npz")
    assert series_of(found) == X[:, :, :1].tolist()
    assert [record["label"] for record in found] == ["a", "b"]


def test_arrays_of_different_length_are_padded_or_one_after_the_other(parsed, tmp_path):
    X = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    lengths = np.array([1, 3])
    padded = saved(tmp_path, X=X, n=lengths, y=np.array([0.5, 1.5]))
    found, _ = parsed(Npz, padded, "f.npz", lengths="n")
    assert series_of(found) == [X[0, :1].tolist(), X[1].tolist()]
    assert [record["label"] for record in found] == [0.5, 1.5]
    flat = saved(tmp_path, X=X.reshape(6, 2)[:4], n=lengths, y=np.ones((2, 2)))
    found, _ = parsed(Npz, flat, "f.npz", lengths="n")
    assert series_of(found) == [[[0, 1]], [[2, 3], [4, 5], [6, 7]]]
    assert found[0]["label"].tolist() == [1, 1]


ONES, TWO = np.ones((2, 3)), np.array([0, 1])
BROKEN_NPZ = [
    ({"a": ONES, "y": TWO}, {}, "f.npz: has no array X; allowed: a, y"),
    ({"X": ONES}, {}, "f.npz: has no array y; allowed: X"),
    ({"X": np.ones(3), "y": TWO}, {}, "f.npz: X has shape (3,); allowed: (N, T, D) or (N, T)"),
    ({"X": ONES, "y": TWO[:1]}, {}, "f.npz: y has 1 rows, X 2 series; allowed: one row per series"),
    ({"X": ONES[:0], "y": TWO[:0]}, {}, "f.npz: X holds no series; allowed: one or more"),
    (
        {"X": ONES, "y": np.array([0, None])},
        {},
        "f.npz: y holds object, which is not read; allowed: numbers and text, no Python objects",
    ),
    (
        {"X": np.ones((2, 0, 1)), "y": None},
        {"y": None},
        "f.npz:1: X has no steps here; allowed: one or more",
    ),
    ({"X": ONES * np.inf, "y": None}, {"y": None}, "f.npz:1: X holds infinity; allowed: finite"),
    ({"X": ONES * np.nan, "y": None}, {"y": None}, f"f.npz:1: step 1 is missing; {FILL}"),
    ({"X": ONES, "y": TWO * np.nan}, {}, "f.npz:1: y is not finite; allowed: a number"),
    (
        {"X": ONES, "n": np.array([1, 4])},
        {"y": None, "lengths": "n"},
        "f.npz: n reaches 4, X has 3 steps; allowed: lengths within the padding",
    ),
    (
        {"X": ONES, "n": np.array([1, 1, 1])},
        {"y": None, "lengths": "n"},
        "f.npz: X has 2 rows, n 3 of 3 steps; "
        "allowed: a padded row a length, or all steps one after the other, (steps, D)",
    ),
    (
        {"X": ONES, "n": np.array([0.5, 1])},
        {"y": None, "lengths": "n"},
        "f.npz: n has shape (2,) of float64; allowed: whole numbers from 0, (N,)",
    ),
]


@pytest.mark.parametrize(("arrays", "options", "message"), BROKEN_NPZ)
def test_broken_arrays_are_told(parsed, tmp_path, arrays, options, message):
    saved(tmp_path, **{name: array for name, array in arrays.items() if array is not None})
    first, *_ = small_files.problems_in(Npz, tmp_path / "f.npz", **options)
    assert first.startswith(message)


def test_what_is_no_npz_is_told(problem_in, tmp_path):
    assert problem_in(Npz, "X", "f.npz") == (
        "f.npz: is no .npz file, or cut short (File is not a zip file)"
    )


# idx


def write_idx(folder, part, images, labels, zipped=True):
    count, height, width = images.shape
    opened = gzip.open if zipped else open
    end = ".gz" if zipped else ""
    with opened(folder / f"{part}-images-idx3-ubyte{end}", "wb") as file:
        file.write(struct.pack(">4I", 0x803, count, height, width) + images.tobytes())
    with opened(folder / f"{part}-labels-idx1-ubyte{end}", "wb") as file:
        file.write(struct.pack(">2I", 0x801, len(labels)) + bytes(labels))


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (20, 3, 2), dtype=np.uint8)


@pytest.mark.parametrize("zipped", [True, False])
def test_images_are_read_row_by_row_or_pixel_by_pixel(tmp_path, images, zipped):
    write_idx(tmp_path, "train", images, range(20), zipped)
    name = "train-images-idx3-ubyte" + ".gz" * zipped

    def read(**options):
        return list(Idx(train=name, path=str(tmp_path), **options).parse(tmp_path / name))

    rows, pixels, permuted = read(), read(steps="pixels"), read(steps="pixels", permute_seed=3)
    assert [record["label"] for record in rows] == list(range(20))
    assert rows[4]["image"].shape == (3, 2)
    assert rows[4]["image"] == pytest.approx(images[4] / 255)
    assert pixels[4]["image"] == pytest.approx(images[4].reshape(-1, 1) / 255)
    order = np.random.default_rng(3).permutation(6)
    assert not np.array_equal(order, np.arange(6))
    for record, image in zip(permuted, images, strict=True):
        assert record["image"] == pytest.approx(image.reshape(-1)[order, None] / 255)


def test_the_official_files_are_taken_where_they_are(tmp_path, images):
    write_idx(tmp_path, "train", images, [0] * 20)
    write_idx(tmp_path, "t10k", images[:5] // 2, [1] * 5)
    splits = Mnist(path=str(tmp_path), valid=0.25).read()
    sizes = {split: len(list(found)) for split, found in splits.by_name().items()}
    assert sizes == {"train": 15, "valid": 5, "test": 5}
    assert {record["label"] for record in splits.test} == {1}


def test_of_the_test_images_alone_the_last_fifth_is_tested_and_that_is_said(
    tmp_path, images, caplog
):
    write_idx(tmp_path, "t10k", images, range(20))
    splits = Mnist(path=str(tmp_path), valid=0.1).read()
    labels = {s: [record["label"] for record in found] for s, found in splits.by_name().items()}
    assert labels == {"train": [*range(14)], "valid": [14, 15], "test": [16, 17, 18, 19]}
    assert caplog.messages == [
        f"{tmp_path} holds the test images only: the last fifth is tested, the others trained on"
    ]


def test_an_empty_folder_has_no_images(tmp_path):
    with pytest.raises(DataError, match=r"data.source.train=train-images-idx3-ubyte.gz: no such f"):
        Mnist(path=str(tmp_path)).read()


def idx_problem(tmp_path):
    name = "train-images-idx3-ubyte.gz"
    with pytest.raises(DataError) as error:
        list(Idx(train=name, path=str(tmp_path)).parse(tmp_path / name))
    return str(error.value).replace(f"{tmp_path}/", "")


def test_broken_idx_files_are_told(tmp_path, images):
    name, labels = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
    write_idx(tmp_path, "train", images, range(19))
    whole = " holds 19 labels, train-images-idx3-ubyte.gz 20 images; allowed: one label per image"
    assert idx_problem(tmp_path) == f"{labels}:{whole}"
    write_idx(tmp_path, "train", images, range(20))
    unzipped = gzip.decompress((tmp_path / name).read_bytes())
    (tmp_path / name).write_bytes(gzip.compress(unzipped[:-1]))
    cut = "ends within entry 20 of 20; allowed: a file that was copied whole"
    assert idx_problem(tmp_path) == f"{name}: {cut}"
    (tmp_path / name).write_bytes(gzip.compress(unzipped[:9]))
    assert idx_problem(tmp_path).startswith(f"{name}: ends within its header; allowed: a file")
    (tmp_path / name).write_bytes(gzip.compress(b"\0\0\x08\x01" + unzipped[4:]))
    wanted = "starts with 0x00000801; allowed: 0x00000803, images (idx3) of bytes"
    assert idx_problem(tmp_path) == f"{name}: {wanted}"
    (tmp_path / name).write_bytes(unzipped)
    assert idx_problem(tmp_path).startswith(f"{name}: cannot be read to its end (Not a gzipped")
    (tmp_path / labels).unlink()
    problem = idx_problem(tmp_path)
    assert problem.startswith(f"{labels}: no such file in ")
    assert f"; allowed: the labels of {name}" in problem


# Cells


def test_cells_are_parted_and_unquoted():
    assert split_cells('1,"a, ""b""", "c"') == ["1", 'a, "b"', "c"]
    assert split_cells(" 1\t 2 ", None) == ["1", "2"]
    assert split_cells("1;2", ";") == ["1", "2"]


@pytest.mark.parametrize("cell", ["", " ", "?", "NaN", "nan", "NA", "null", "n/a"])
def test_a_cell_may_say_that_its_number_is_missing(cell):
    assert np.isnan(number(cell))


def test_times_are_ordered_as_numbers_or_as_dates():
    assert moment("2.5") < moment(" 10")
    days = ["1949-12", "1950-01-02", "1950-01-02T03:04:05", "1950-01-03 00:00:00+00:00"]
    assert sorted(days, key=moment) == days


def test_filling_leaves_the_series_itself_as_it_was():
    series = np.array([[1.0], [np.nan]], dtype=np.float32)
    assert filled(series, "previous").tolist() == [[1], [1]]
    assert np.isnan(series[1, 0])


# The real sets


def counts(splits, column="label"):
    return {s: Counter(r[column] for r in found) for s, found in splits.by_name().items()}


@pytest.mark.realdata
def test_japanese_vowels_are_as_their_readme_says(shared_data):
    names = {"train": "JapaneseVowels_TRAIN.ts", "test": "JapaneseVowels_TEST.ts"}
    splits = Ts(**names, path=str(shared_data / "ts_japanese_vowels"), stratify="label").read()
    sizes = {split: sum(count.values()) for split, count in counts(splits).items()}
    assert sizes == {"train": 243, "valid": 27, "test": 370}
    lengths = {len(r["series"]) for found in splits.by_name().values() for r in found}
    assert (min(lengths), max(lengths)) == (7, 29)
    assert set(counts(splits)["valid"].values()) == {3}


@pytest.mark.realdata
def test_gestures_are_as_their_readme_says_and_the_last_of_each_are_tested(shared_data):
    source = WideCsv(
        train="point_history.csv",
        valid=0.1,
        test=0.2,
        path=str(shared_data / "gesture_point_history"),
        header=False,
        label=0,
        features=2,
        names="point_history_classifier_label.csv",
        stratify="label",
        order="file",
    )
    source.keep_together(["series"])
    splits = source.read()
    total = sum(counts(splits).values(), Counter())
    assert total == {"Stop": 494, "Clockwise": 411, "Counter Clockwise": 427, "Move": 434}
    assert splits.train.__iter__().__next__()["series"].shape == (16, 2)
    lines = {s: {} for s in ("train", "test")}
    for split in lines:
        for record in getattr(splits, split):
            lines[split].setdefault(record["label"], []).append(record.line)
    alike = sum(min(lines["test"][k]) > max(lines["train"][k]) for k in total)
    assert alike >= 3  # what is alike stays together: standing still looks the same early and late


@pytest.mark.realdata
def test_mnist_is_as_its_readme_says(shared_data):
    splits = Mnist(path=str(shared_data / "image_mnist_t10k")).read()
    total = sum(counts(splits).values(), Counter())
    assert [total[k] for k in range(10)] == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert [r.line for r in splits.test] == list(range(8001, 10001))


def test_fields_take_what_the_sources_give(parsed):
    found, _ = parsed(LongCsv, LONG, id="id", features=["x", "z"], label="y", tags="part")
    for field, size in ((Series("series"), 2), (Category("label"), 2), (Tags("tags"), 2)):
        field.fit(found)
        assert field.spec.size == size
        assert (
            len(field.encode(found[0]).shape) == {"values": 2, "category": 0, "tags": 1}[field.kind]
        )
