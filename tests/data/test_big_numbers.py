"""Numbers far from 0 keep their digits: they are standardised in float64."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from seqpipe.config.commandline import check
from seqpipe.data.base import FieldSpec, SequenceBatch
from seqpipe.data.dataset import SequenceData
from seqpipe.data.fields.labels import Category, Number
from seqpipe.data.fields.series import Moments, Series, Vector
from seqpipe.data.number_precision import DigitLoss, shown, to_float32
from seqpipe.data.sources.arrays import Npz
from seqpipe.data.sources.forecast import Forecast
from seqpipe.data.sources.long_csv import LongCsv
from seqpipe.data.sources.table import Table
from seqpipe.data.sources.ts import Ts
from seqpipe.data.sources.wide_csv import WideCsv
from seqpipe.errors import DataError
from seqpipe.tasks.regression import Regression

BASE = 1_600_000_000  # Unix seconds
ROWS = [[BASE + 3 * row + step for step in range(8)] for row in range(40)]
SHARES = {"valid": 0.1, "test": 0.1}


def wide(folder):
    lines = (f"{','.join(map(str, row))},{n % 2}\n" for n, row in enumerate(ROWS))
    (folder / "w.csv").write_text("a,b,c,d,e,f,g,h,label\n" + "".join(lines))
    return WideCsv(train="w.csv", path=str(folder), label="label", **SHARES)


def long(folder):
    lines = (f"s{n},{value},{n % 2}\n" for n, row in enumerate(ROWS) for value in row)
    (folder / "l.csv").write_text("id,value,label\n" + "".join(lines))
    return LongCsv(
        train="l.csv", path=str(folder), id="id", features=["value"], label="label", **SHARES
    )


def npz(dtype):
    def make(folder):
        np.savez(folder / "n.npz", X=np.array(ROWS, dtype=dtype)[:, :, None], y=np.arange(40) % 2)
        return Npz(train="n.npz", path=str(folder), **SHARES)

    return make


def ts(folder):
    lines = (f"{','.join(map(str, row))}:{n % 2}\n" for n, row in enumerate(ROWS))
    (folder / "t.ts").write_text("@classLabel true 0 1\n@data\n" + "".join(lines))
    return Ts(train="t.ts", path=str(folder), **SHARES)


def json_lines(folder):
    lines = (f'{{"series": {row}, "label": {n % 2}}}\n' for n, row in enumerate(ROWS))
    (folder / "t.jsonl").write_text("".join(lines))
    return Table(train="t.jsonl", path=str(folder), **SHARES)


SOURCES = [wide, long, npz(np.float64), npz(np.int64), ts, json_lines]


@pytest.mark.parametrize("make", SOURCES)
@pytest.mark.parametrize("field", [Series, Vector])
def test_every_source_of_numbers_keeps_their_digits(tmp_path, make, field):
    source = make(tmp_path)
    data = SequenceData(
        source, Category("label"), field("series", standardize=True), cache=str(tmp_path / "kept")
    )
    spec = data.spec.x
    held = (
        example.x.double().numpy() * spec.scale + spec.mean for example in data.examples("train")
    )
    read = [np.ravel(record["series"]) for record in source.read().train]
    assert np.allclose([one.ravel() for one in held], read, rtol=0, atol=1e-4)
    assert len({float(second) for one in read for second in one}) > 90


@pytest.mark.parametrize("make", SOURCES)
def test_numbers_that_become_equal_are_refused_where_nothing_standardises(tmp_path, make):
    with pytest.raises(DataError) as error:
        SequenceData(make(tmp_path), Category("label"), Series("series"))
    told = str(error.value)
    assert "different numbers become 2 in float32; allowed: ++data.x.standardize=true" in told


def test_y_is_refused_in_the_same_way():
    records = [{"x": [n], "y": BASE + n} for n in range(60)]
    source = _source(records)
    with pytest.raises(DataError) as error:
        SequenceData(source, Number("y"), Vector("x"))
    told = "y: 60 different numbers become 1 in float32; allowed: ++data.y.standardize=true"
    assert str(error.value) == told
    advice = told.partition("allowed: ")[
        2
    ]  # of data=adding the key is not listed, of forecast it is
    assert check(["data=adding", advice]).problems == []
    assert check(["data=forecast", "data.path=x.csv", advice]).problems == []
    data = SequenceData(source, Number("y", standardize=True), Vector("x"))
    assert len({float(example.y) for example in data.examples("train")}) == 60
    assert data.facts["train"].warnings == ()


def test_numbers_that_become_equal_though_standardised_are_warned_about():
    records = [{"x": [n], "y": n if n else 1e30} for n in range(60)]
    data = SequenceData(_source(records), Number("y", standardize=True), Vector("x"))
    (warning,) = data.facts["train"].warnings
    assert warning.startswith("data.y.column=y: 60 different numbers become 2 in float32")


def test_some_numbers_that_become_equal_are_warned_about():
    records = [{"x": [n], "y": 2**23 + 0.75 * n} for n in range(60)]
    data = SequenceData(_source(records), Number("y"), Vector("x"))
    assert data.notes == [
        "data.y.standardize=false: of y, 60 different numbers become 45 in float32; "
        "true keeps their digits"
    ]


def test_an_entry_without_numbers_is_no_loss_of_digits():
    loss = DigitLoss()
    loss.add(np.zeros((3, 0)), np.zeros((3, 0), dtype=np.float32))
    assert loss.report() is None


def test_the_rounding_of_differences_is_no_loss():
    numbers = np.round(np.arange(400) * 3 + 2 * np.sin(np.arange(400) / 4), 1)
    for start in (0.0, 1e9):
        loss = DigitLoss()
        for at in range(380):
            window = start + numbers[at : at + 12]
            rows = (window - window[-1])[:, None]
            loss.add(rows, to_float32(rows / 10))
        assert loss.report() is None


def test_random_numbers_are_no_loss_of_digits():
    rng = np.random.default_rng(0)
    for mean in (0.0, 1000.0):
        numbers, loss = rng.normal(mean, size=(20_000, 2)), DigitLoss()
        for rows in np.split(numbers, 100):
            loss.add(rows, to_float32(rows))
        assert loss.report() is None


def test_a_loss_late_in_the_data_is_found():
    numbers, loss = np.arange(100_000.0)[:, None], DigitLoss()
    numbers[50_000:] += 1e9
    for rows in np.split(numbers, 1000):
        loss.add(rows, to_float32(rows))
    told, grave = loss.report()
    assert "different numbers become" in told
    assert not grave


def test_forecast_differences_are_those_of_the_file(tmp_path):
    lines = [f"{1_000_000_000 + 3 * n + n % 5 / 10:.1f}\n" for n in range(100)]
    (tmp_path / "meter.csv").write_text("value\n" + "".join(lines))
    source = Forecast(
        train="meter.csv",
        values=["value"],
        past=6,
        horizon=3,
        relative_to_last=True,
        path=str(tmp_path),
    )
    first = next(iter(source.read().train))
    assert first["past"].ravel().tolist() == pytest.approx([-15, -11.9, -8.8, -5.7, -2.6, 0])
    assert first["future"].tolist() == pytest.approx([3.1, 6.2, 9.3], abs=1e-6)
    assert first["last"].tolist() == [1_000_000_015.0]


def test_errors_in_units_do_not_lose_their_digits():
    y = FieldSpec("number", 1, mean=(1.7e9,), scale=(10.0,))
    task = Regression(y=y)
    truth = torch.linspace(-2, 2, 100)[:, None]
    batch = SequenceBatch(None, None, truth, None, torch.arange(100))
    metrics = task.metrics("test")
    metrics.update(*task.pairs(truth + 0.1008, batch))
    computed = metrics.compute()
    assert float(computed["mse"]) == pytest.approx(1.016, rel=1e-3)
    assert float(computed["mae"]) == pytest.approx(1.008, rel=1e-3)


def test_answers_are_put_back_in_units_in_float64():
    field = Number("y", standardize=True)
    field.fit([{"y": BASE + 0.1 * n} for n in range(100)])
    encoded = field.encode({"y": BASE + 1.7})
    answer = field.spec.answer(encoded, None, field.decode)
    assert answer["prediction"] == pytest.approx(BASE + 1.7, abs=1e-5)
    assert field.decode(encoded) == "1600000001.7"


def test_what_is_shown_of_a_number_tells_it_from_its_neighbours():
    assert [shown(v, 10.0) for v in (1_700_000_012.34, 123.456, 0.0, 1.23456)] == [
        "1700000012.3",
        "123.5",
        "0",
        "1.235",
    ]


def test_a_number_that_never_changes_becomes_0_however_large():
    total = Moments()
    for _ in range(50):
        total.add(np.full((7, 1), 1e9 + 0.1))
    assert total.scale.tolist() == [1.0]
    field = Series("x", standardize=True)
    field.fit([{"x": [0.1] * 13}, {"x": [0.1] * 8}])
    assert field.encode({"x": [0.1, 0.1]}).abs().max() < 1e-12


def test_what_float32_cannot_hold_is_refused_unless_it_is_standardised():
    plain, scaled = Number("y"), Number("y", standardize=True)
    for field in (plain, scaled):
        field.fit([{"y": 1e40 * n} for n in range(4)])
    with pytest.raises(DataError) as error:
        plain.encode({"y": 1e40})
    assert "too large for float32; allowed: below 3e38, or standardize=true" in str(error.value)
    assert float(scaled.encode({"y": 1e40})) == pytest.approx(-0.4472, abs=1e-4)


def _source(records):
    from seqpipe.data.base import Source, Splits

    class Held(Source):
        def read(self):
            return Splits(records, records[:6], records[:6])

    return Held()


HUGE = [2**60 + n for n in range(40)]


def write_huge(folder):
    np.savez(folder / "n.npz", X=np.array(HUGE, dtype=np.uint64).reshape(40, 1, 1), y=np.arange(40))
    rows = [f"{n % 2},{value},s{n}\n" for n, value in enumerate(HUGE)]
    (folder / "t.csv").write_text("label,series,id\n" + "".join(rows))
    (folder / "t.jsonl").write_text(
        "".join(f'{{"series": [[{value}]], "label": {n % 2}}}\n' for n, value in enumerate(HUGE))
    )
    parquet.write_table(pa.table({"series": HUGE, "label": ["a", "b"] * 20}), folder / "t.parquet")
    series = (f"{value},{value}:{'ab'[n % 2]}\n" for n, value in enumerate(HUGE))
    (folder / "t.ts").write_text(
        "@univariate true\n@classLabel true a b\n@data\n" + "".join(series)
    )


OF_HUGE = {
    "n.npz": (Npz, {}, Series("series", standardize=True), "label"),
    "t.csv": (Table, {}, Vector("series", standardize=True), "label"),
    "t.jsonl": (Table, {}, Series("series", standardize=True), "label"),
    "t.parquet": (Table, {}, Number("series", standardize=True), "label"),
    "t.ts": (Ts, {}, Series("series", standardize=True), "label"),
}
AS_OTHERS = [
    ("t.csv", WideCsv, {"label": "label", "columns": ["series"]}),
    ("t.csv", LongCsv, {"id": "id", "features": ["series"], "label": "label"}),
    ("t.csv", Forecast, {"values": ["series"], "past": 2}),
]


@pytest.mark.parametrize("name", OF_HUGE)
def test_whole_numbers_beyond_float64_are_refused_by_their_line(tmp_path, name):
    write_huge(tmp_path)
    made, options, field, label = OF_HUGE[name]
    source = made(train=name, path=str(tmp_path), **options)
    with pytest.raises(DataError, match=f"{HUGE[1]} has more digits than float64 holds") as caught:
        SequenceData(source, Category(label), field)
    assert f"{name}:{5 if name == 't.ts' else 2 if name != 't.csv' else 3}: " in str(caught.value)


@pytest.mark.parametrize(("name", "made", "options"), AS_OTHERS)
def test_cells_of_such_numbers_are_refused_too(tmp_path, name, made, options):
    write_huge(tmp_path)
    source = made(train=name, path=str(tmp_path), **options)
    found = (one for one in source.parse(tmp_path / name) if isinstance(one, DataError))
    assert str(next(found)).startswith(f"{tmp_path / name}:3: column=series: {HUGE[1]} has more")


def test_large_numbers_that_float64_holds_are_read():
    field = Number("y", standardize=True)
    values = [2.0**60, "1e300", str(2**60), 10**20, np.uint64(2**63), "100000000000000000000"]
    field.fit([{"y": value} for value in values])
    assert [float(field._array({"y": value})[0]) for value in values] == [*map(float, values)]


@pytest.mark.parametrize("text", ["1e400", "inf", "-Infinity", "1_000", "1,5", "1.234,5", "0x10"])
@pytest.mark.parametrize("made", [Number, Vector, Series])
def test_text_that_is_no_finite_number_is_refused(made, text):
    field = made("v", standardize=True)
    value = [text] if field.kind == "values" else text
    with pytest.raises(DataError, match=r"v=.*(not finite|NaN or infinity|allowed: )"):
        field.check({"v": value})


LOST = [2**53 + 1, -(2**53) - 1, str(2**53 + 1), f"{2**53 + 1}.0", np.int64(2**53 + 1)]


@pytest.mark.parametrize("value", [*LOST, [2**53 + 1, 0.5], (0.5, str(2**53 + 1)), [[2**53 + 1]]])
def test_the_first_whole_number_that_float64_lacks_is_refused_as_all_others_are(value):
    """It becomes 2^53 itself; beside a fraction numpy would round it unseen."""
    for make in (Number, Vector) if isinstance(value, (list, tuple)) else (Number,):
        with pytest.raises(DataError, match=r"9007199254740993\S* has more digits than float64"):
            make("v").encode({"v": value})


@pytest.mark.parametrize("value", [2**53, -(2**53), f"{2**53}.0", [2**53, 0.5], 2.0**60, "1e23"])
def test_the_last_whole_number_and_those_without_all_digits_are_read(value):
    field = Number("v")
    field.fit([{"v": value}, {"v": value}])
    read = np.array(value, dtype=np.float64).reshape(-1)
    assert field.encode({"v": value}).tolist() == read.astype(np.float32).tolist()


@pytest.mark.parametrize("cell", [f"{2**53 + 1}", f"-{2**53 + 1}", f"{2**53 + 1}.000"])
def test_it_is_refused_in_a_file_of_numbers_with_its_line(tmp_path, cell):
    (tmp_path / "w.csv").write_text(f"a,b,label\n1,2,0\n{cell},3,1\n")
    source = WideCsv(train="w.csv", path=str(tmp_path), label="label")
    (problem,) = [one for one in source.parse(tmp_path / "w.csv") if isinstance(one, DataError)]
    assert problem.problems[0].startswith(f"{tmp_path / 'w.csv'}:3: column=a: {cell} has more")
