"""Time stamps in other forms than ISO dates are looked at for gaps, in series of every source."""

import datetime

import pytest

from seqpipe.data.base import SPLITS
from seqpipe.data.sources.forecast import Forecast
from seqpipe.data.sources.long_csv import LongCsv
from seqpipe.data.sources.time_gaps import clock_of
from seqpipe.errors import DataError

START = datetime.datetime(2024, 1, 26, tzinfo=datetime.UTC)
DAY = 86_400
WITH_GAPS = [*range(30), *range(40, 70)]
FORMS = {
    "iso": lambda when: when.date().isoformat(),
    "unix seconds": lambda when: str(int(when.timestamp())),
    "unix milliseconds": lambda when: str(int(when.timestamp() * 1000)),
    "compact": lambda when: when.strftime("%Y%m%d"),
    "german": lambda when: when.strftime("%d.%m.%Y %H:%M"),
    "british": lambda when: when.strftime("%d/%m/%Y"),
    "american": lambda when: when.strftime("%m/%d/%Y"),
    "slashes": lambda when: when.strftime("%Y/%m/%d %H:%M:%S"),
    "english": lambda when: when.strftime("%b %d, %Y"),
}


def stamped(folder, form, days, column="stamp"):
    rows = [FORMS[form](START + datetime.timedelta(days=day)) for day in days]
    cells = [f'"{row}"' if "," in row else row for row in rows]
    lines = [f"{cell},{n % 7}\n" for n, cell in enumerate(cells)]
    (folder / "f.csv").write_text(f"{column},v\n" + "".join(lines))
    return folder


def windows(source):
    return sum(len(list(records)) for records in source.read().by_name().values())


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_windows_stop_at_gaps_however_times_are_written(tmp_path, form, named):
    stamped(tmp_path, form, WITH_GAPS)
    time = "stamp" if named else None
    source = Forecast(train="f.csv", path=str(tmp_path), values=["v"], past=3, time=time)
    assert windows(source) == 60 - 3 - 3
    assert source.warnings()[0].startswith("data.source.time=stamp: 1 gap in its time stamps")
    stamped(tmp_path, form, range(60))
    source = Forecast(train="f.csv", path=str(tmp_path), values=["v"], past=3, time=time)
    assert (windows(source), source.warnings()) == (57, [])


@pytest.mark.parametrize("form", ["iso", "compact", "british"])
def test_weekends_are_no_gaps_and_a_missing_week_is_one(tmp_path, form):
    days = [day for day in range(140) if (START + datetime.timedelta(days=day)).weekday() < 5]
    stamped(tmp_path, form, days)
    source = Forecast(train="f.csv", path=str(tmp_path), values=["v"], past=3)
    assert (windows(source), source.warnings()) == (len(days) - 3, [])
    stamped(tmp_path, form, [*days[:40], *days[45:]])
    source = Forecast(train="f.csv", path=str(tmp_path), values=["v"], past=3)
    assert windows(source) == len(days) - 5 - 2 * 3
    assert "1 gap" in source.warnings()[0]


def test_a_column_of_counts_that_is_called_time_is_looked_at_and_another_is_not(tmp_path):
    for column, expected in (("time", 51), ("weight", 57)):
        rows = [f"{n if n < 30 else n + 50},{n % 7}\n" for n in range(60)]
        (tmp_path / "f.csv").write_text(f"{column},v\n" + "".join(rows))
        source = Forecast(train="f.csv", path=str(tmp_path), values=["v"], past=3)
        assert windows(source) == expected + 3 * (column == "time")


@pytest.mark.parametrize(
    ("form", "time"),
    [("iso", None), ("unix seconds", "stamp"), ("unix milliseconds", None), ("compact", "stamp"),
     ("german", None), ("american", "stamp")],
)  # fmt: skip
def test_gaps_within_a_series_in_long_form_are_warned_about(tmp_path, form, time):
    def write(days):
        lines = [
            f"s{n},{FORMS[form](START + datetime.timedelta(days=day))},{day % 7},{n % 2}\n"
            for n in range(20)
            for day in (days if n == 7 else range(12))
        ]
        (tmp_path / "l.csv").write_text("id,stamp,v,label\n" + "".join(lines))
        options = {"id": "id", "features": ["v"], "label": "label", "time": time}
        source = LongCsv(train="l.csv", path=str(tmp_path), group="id", **options)
        assert sum(len(list(source.read().by_name()[split])) for split in SPLITS) == 20
        return source.warnings()

    assert write(range(12)) == []
    (said,) = write([*range(6), *range(20, 26)])
    assert said.startswith("data.source.time=stamp: 1 gap in its time stamps, the first in ")
    assert ": line 92 (" in said.replace(".csv, line", ".csv: line")
    assert said.endswith("; a series is read as if all its steps were alike")


def test_days_and_months_are_told_apart_by_which_grow_evenly():
    british = clock_of([f"{day:02}/02/2024" for day in range(1, 13)])
    american = clock_of([f"02/{day:02}/2024" for day in range(1, 13)])
    assert british("03/02/2024") - british("02/02/2024") == DAY
    assert american("02/03/2024") - american("02/02/2024") == DAY
    months = [f"{month:02}/01/{year}" for year in (2023, 2024) for month in range(1, 13)]
    assert clock_of(months)("02/01/2024") - clock_of(months)("01/01/2024") == 31 * DAY
    assert clock_of(["red", "blue"]) is None


def test_times_in_long_form_are_looked_at_once_however_often_the_file_is_read(
    tmp_path, monkeypatch
):
    rows = [f"{id_},{stamp},1\n" for id_ in "ab" for stamp in ("26.01.2024", "27.01.2024")]
    rows += [f"c,{day:02}.01.2024,1\n" for day in (*range(1, 15), 20)]
    (tmp_path / "l.csv").write_text("id,stamp,v\n" + "".join(rows))
    source = LongCsv(train="l.csv", id="id", features=["v"], path=str(tmp_path))
    first = list(source.parse(tmp_path / "l.csv"))
    (told,) = source.warnings()
    assert "1 gap in its time stamps" in told

    def again(moments):
        raise AssertionError("the times were read before")

    monkeypatch.setattr("seqpipe.data.sources.long_csv.usual_step", again)
    assert len(list(source.parse(tmp_path / "l.csv"))) == len(first) == 3
    assert source.warnings() == [told]


@pytest.mark.parametrize("form", [form for form in FORMS if form != "english"])
def test_series_in_long_form_are_ordered_by_times_however_they_are_written(tmp_path, form):
    days = [0, 2, 1, *range(3, 40)]
    rows = [f"a,{FORMS[form](START + datetime.timedelta(days=day))},{day}\n" for day in days]
    (tmp_path / "l.csv").write_text("id,stamp,v\n" + "".join(rows) + "b,soon,1\n")
    options = {"id": "id", "features": ["v"], "time": "stamp", "path": str(tmp_path)}
    source = LongCsv(train="l.csv", time_order="sort", **options)
    (found, bad) = source.parse(tmp_path / "l.csv")
    assert found["series"][:, 0].tolist() == [*range(40)]
    assert "time 'soon' cannot be ordered" in bad.problems[0]
    (unordered, _) = LongCsv(train="l.csv", **options).parse(tmp_path / "l.csv")
    assert "l.csv:4: stamp does not grow within id=a" in unordered.problems[0]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("at", [0, 7])
def test_one_time_that_is_none_is_one_row_that_is_refused(tmp_path, form, at):
    """And not all of them, because no form reads the whole column."""
    stamped(tmp_path, form, range(30))
    (file,) = tmp_path.glob("*.csv")
    rows = file.read_text().split("\n")
    value = rows[1 + at].rpartition(",")[2]
    rows[1 + at] = f"soon,{value}"
    file.write_text("\n".join(rows))
    names = rows[0].split(",")
    source = Forecast(
        train=file.name, path=str(tmp_path), past=2, horizon=1, time=names[0], values=[names[1]]
    )
    (bad,) = [one for one in source.parse(file) if isinstance(one, DataError)]
    assert bad.problems[0].startswith(f"{file}:{2 + at}: time 'soon' cannot be ordered")
