"""Windows over long series: what is in them, and that no target is met before it is tested."""

import datetime

import numpy as np
import pytest

from seqpipe.data.base import SPLITS
from seqpipe.data.fields.labels import Number
from seqpipe.data.fields.series import Series
from seqpipe.data.sources.forecast import Forecast
from seqpipe.errors import ConfigError, DataError
from small_files import problems_of


@pytest.fixture
def made(tmp_path):
    """made(text, past=2, ...): the source of f.csv."""

    def make(text, **options):
        (tmp_path / "f.csv").write_text(text)
        return Forecast(
            train="f.csv", path=str(tmp_path), **{"values": ["v"], "past": 2, **options}
        )

    return make


def counting(rows, columns=("v",)):
    lines = [",".join(str(10**k * t) for k in range(len(columns))) for t in range(rows)]
    return "\n".join([",".join(columns), *lines])


def windows(source):
    """split -> (past, future) of each window, as lists."""
    return {
        split: [(r["past"][:, 0].tolist(), r["future"].tolist()) for r in found]
        for split, found in source.read().by_name().items()
    }


def test_each_row_is_a_target_in_the_split_of_its_time(made):
    found = windows(made(counting(20), valid=0.1, test=0.2))
    assert found["train"][0] == ([0, 1], [2])
    assert [future for _, future in found["train"]] == [[t] for t in range(2, 14)]
    assert [future for _, future in found["valid"]] == [[14], [15]]
    assert [future for _, future in found["test"]] == [[16], [17], [18], [19]]
    assert all(
        past == [future[0] - 2, future[0] - 1] for part in found.values() for past, future in part
    )


@pytest.mark.parametrize("horizon", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2, 5])
def test_no_target_of_one_split_is_a_target_or_read_in_an_earlier_one(made, horizon, stride):
    found = windows(made(counting(60), horizon=horizon, stride=stride))
    targets = {s: {t for _, future in found[s] for t in future} for s in SPLITS}
    read = {s: {t for past, _ in found[s] for t in past} for s in SPLITS}
    assert targets["test"] <= set(range(48, 60))
    for later, earlier in (("test", "train"), ("test", "valid"), ("valid", "train")):
        assert not targets[later] & (targets[earlier] | read[earlier])
    for part in found.values():
        first = [past[0] for past, _ in part]
        assert np.diff(first).tolist() == [stride] * (len(part) - 1)


def test_windows_with_a_horizon_cover_the_whole_test(made):
    found = windows(made(counting(20), horizon=2, stride=2))
    assert [future for _, future in found["test"]] == [[16, 17], [18, 19]]


def test_several_columns_are_read_and_some_of_them_forecast(made):
    text = counting(20, ("v", "w"))
    record = next(iter(made(text, values=["v", "w"], targets=["w"]).read().test))
    assert record["past"].tolist() == [[14, 140], [15, 150]]
    assert record["future"].tolist() == [160]
    both = next(iter(made(text, values=["v", "w"], horizon=2).read().test))
    assert both["future"].tolist() == [[16, 160], [17, 170]]
    assert both["last"].tolist() == [15, 150]
    for field, values in ((Series("past"), both), (Number("future"), both)):
        field.fit([values])
    assert Number.fit(number := Number("future"), [both]) is None
    assert number.size == 4


def test_differences_to_the_last_step_keep_their_units(made):
    text = counting(20, ("v", "w"))
    options = {"values": ["v", "w"], "targets": ["w"], "relative_to_last": True}
    record = next(iter(made(text, **options).read().test))
    assert record["past"].tolist() == [[-1, -10], [0, 0]]
    assert record["future"].tolist() == [10]
    assert record["last"].tolist() == [150]
    with pytest.raises(ConfigError) as error:
        made(text, values=["v"], targets=["w"], relative_to_last=True)
    assert str(error.value) == (
        "data.source.relative_to_last=true: the last w is not read; "
        "allowed: false, or also in values"
    )


def test_each_of_several_series_has_its_own_last_rows(made):
    rows = [f"a,{t}" for t in range(10)] + [f"b,{100 + t}" for t in range(20)]
    found = windows(made("\n".join(["id,v", *rows]), id="id"))
    assert [future for _, future in found["test"]] == [[8], [9], [116], [117], [118], [119]]
    assert ([8, 9], [100]) not in found["train"]
    assert found["train"][-1] == ([111, 112], [113])


def test_a_split_may_be_a_file_of_its_own(made, tmp_path):
    (tmp_path / "later.csv").write_text(counting(5))
    found = windows(made(counting(20), test="later.csv"))
    assert [future for _, future in found["test"]] == [[2], [3], [4]]
    assert [future for _, future in found["valid"]] == [[18], [19]]
    assert len(made(counting(20), test="later.csv").inputs()) == 2


def test_a_window_knows_the_time_and_line_of_its_first_target(made, tmp_path):
    text = "t,v\n" + "\n".join(f"2024-{m:02},{m}" for m in range(1, 13))
    record = next(iter(made(text, time="t").read().test))
    assert record["time"] == "2024-11"
    assert record.place == f"{tmp_path / 'f.csv'}:12"


def test_parse_gives_every_window_of_a_file(made, tmp_path):
    assert len(list(made(counting(20)).parse(tmp_path / "f.csv"))) == 18


def problems(source):
    return [text.replace(f"{source.folder}/", "") for text in problems_of(source)]


def test_a_bad_row_is_told_once_and_no_window_goes_over_it(made):
    text = counting(40).replace("\n20\n", "\nx\n").replace("\n38\n", "\n38,1\n")
    source = made(text)
    assert problems(source) == [
        "f.csv:22: column=v: 'x' is not a number; allowed: as 12, -0.5 or 1e-3",
        "f.csv:40: 2 cells, the header has 1; allowed: 1 cell",
    ]
    read = [
        r
        for found in source.read().by_name().values()
        for r in found
        if not isinstance(r, DataError)
    ]
    assert all(r["future"][0] - r["past"][0, 0] == 2 for r in read)
    futures = [r["future"][0] for r in read]
    assert not {20, 21, 22, 38, 39} & set(futures)
    assert {19, 23, 37} <= set(futures)


def test_a_missing_number_is_refused_or_the_one_before(made):
    text = counting(20).replace("\n7\n", "\n?\n")
    assert problems(made(text)) == [
        "f.csv:9: column=v: is missing; allowed: a number, "
        "or missing=previous below a row that has one"
    ]
    filled = windows(made(text, missing="previous"))
    assert ([6, 6], [8]) in filled["train"]
    first = counting(20).replace("\n0\n", "\n?\n")
    assert problems(made(first, missing="previous"))[0].startswith("f.csv:2: column=v: is missing")


def test_rows_out_of_order_are_told(made):
    text = "t,v\n1,1\n2,2\n2,3\n" + "\n".join(f"{t},{t}" for t in range(3, 30))
    assert problems(made(text, time="t")) == [
        "f.csv:4: t=2: does not grow; allowed: later than the row before, 2"
    ]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "f.csv: is empty; allowed: a header, and rows below it"),
        ("w\n1\n", {}, "f.csv:1: has no column 'v' (data.source.targets); it has w"),
        (
            counting(20),
            {"past": 14},
            "f.csv: no window of past=14 and horizon=1 fits the rows of train; "
            "allowed: shorter ones, or more rows",
        ),
        (
            counting(20),
            {"horizon": 3},
            "f.csv: no window of past=2 and horizon=3 fits the rows of valid; "
            "allowed: shorter ones, or more rows",
        ),
        (
            "id,v\na,1\nb,1\na,1\n",
            {"id": "id", "past": 1},
            "f.csv:4: id=a comes back; allowed: the rows of one id together",
        ),
    ],
)
def test_a_file_without_windows_is_refused(made, text, options, message):
    source = made(text, **options)
    with pytest.raises(DataError) as error:
        [list(found) for found in source.read().by_name().values()]
    assert str(error.value).replace(f"{source.folder}/", "") == message


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("file", "value", "time", "rows", "gaps", "naive"),
    [
        ("airline-passengers.csv", "Passengers", "Month", 144, 0, 44.72),
        ("monthly-sunspots.csv", "Sunspots", "Month", 2820, 0, 14.84),
        ("daily-min-temperatures.csv", "Temp", "Date", 3650, 2, 1.95),  # lacks two leap days
    ],
)
def test_the_last_value_forecasts_the_real_series_as_their_readme_says(
    shared_data, file, value, time, rows, gaps, naive
):
    path = str(shared_data / "ts_forecasting")
    source = Forecast(
        train=file, path=path, values=[value], time=time, past=1, relative_to_last=True
    )
    splits = source.read()
    sizes = [len(list(found)) for found in splits.by_name().values()]
    assert sum(sizes) == rows - 1 - gaps
    assert sizes[2] == round(0.2 * rows) - gaps // 2
    error = np.mean([abs(record["future"][0]) for record in splits.test])
    assert error == pytest.approx(naive, abs=0.006)
    assert datetime.date.fromisoformat(f"{next(iter(splits.test))['time']}-01"[:10])


DAY = datetime.date(2024, 1, 1)


def days(*numbers, name="date"):
    """A row for each day, counted from the first one; the value is its number."""
    dates = ((DAY + datetime.timedelta(n)).isoformat() for n in numbers)
    rows = (f"{date},{n}" for date, n in zip(dates, numbers, strict=True))
    return "\n".join([f"{name},v", *rows])


@pytest.mark.parametrize("time", ["date", None])
def test_no_window_goes_across_a_gap_in_time(made, time):
    with_gaps = [*range(30), *range(33, 60), *range(90, 100)]
    source = made(days(*with_gaps), time=time, past=3, horizon=2)
    found = [w for split in windows(source).values() for w in split]
    assert len(found) > 30
    assert all(np.ptp([*past, *future]) == 4 for past, future in found)
    (told,) = source.warnings()
    assert told == (
        f"data.source.time=date: 2 gaps in its time stamps, the first in {source.folder / 'f.csv'},"
        " line 32 (2024-01-30 to 2024-02-03), usually 1 day; no window goes across, unless"
        " data.source.gaps=ignore"
    )
    ignored = made(days(*with_gaps), time=time, past=3, horizon=2, gaps="ignore")
    more = [w for split in windows(ignored).values() for w in split]
    assert len(more) > len(found)
    assert ignored.warnings() == []


def test_numbers_are_times_too_but_only_where_they_are_named(made):
    text = "\n".join(["t,v", *(f"{n},{n}" for n in [*range(20), *range(25, 50)])])
    named = made(text, time="t")
    assert not any(past[-1] == 19 for part in windows(named).values() for past, _ in part)
    assert "1 gap in its time stamps" in named.warnings()[0]
    assert "(19 to 25), usually 1;" in named.warnings()[0]
    unnamed = made(text)
    assert any(past[-1] == 19 for part in windows(unnamed).values() for past, _ in part)


@pytest.mark.parametrize(
    "dates",
    [
        [n for n in range(80) if n % 7 < 5],  # weekdays
        [n for n in range(900) if (DAY + datetime.timedelta(n)).day == 1],  # months
        range(0, 365 * 40, 365),
    ],
)
def test_a_rhythm_of_its_own_is_no_gap(made, dates):
    source = made(days(*dates), time="date")
    assert sum(map(len, windows(source).values())) == len(list(dates)) - 2
    assert source.warnings() == []


def test_stamps_that_go_back_are_a_gap_where_nobody_named_the_column(made):
    text = days(*range(20), *range(10, 30))
    source = made(text)
    found = [w for split in windows(source).values() for w in split]
    assert all(np.ptp([*past, *future]) == 2 for past, future in found)
    assert "1 gap" in source.warnings()[0]
    assert "does not grow" in problems(made(text, time="date"))[0]


def test_each_series_has_its_own_rhythm_and_its_own_gaps(made):
    rows = [f"a,{DAY + datetime.timedelta(n)},{n}" for n in range(20)]
    rows += [f"b,{DAY + datetime.timedelta(7 * n)},{n}" for n in [*range(20), *range(25, 40)]]
    source = made("\n".join(["i,date,v", *rows]), time="date", id="i")
    found = [w for split in windows(source).values() for w in split]
    assert all(np.ptp([*past, *future]) == 2 for past, future in found)
    assert source.warnings()[0].startswith("data.source.time=date: 1 gap in its time stamps")
    assert "line 42 (2024-05-13 to 2024-06-24), usually 7 days" in source.warnings()[0]


def test_what_follows_is_not_forecast_from_rows_across_a_gap(made):
    source = made(days(*range(20), *range(30, 34)), time="date", past=4)
    (last,) = source.beyond(source.folder / "f.csv")
    assert last["past"].ravel().tolist() == [30, 31, 32, 33]
    source = made(days(*range(20), *range(30, 33)), time="date", past=4)
    (told,) = source.beyond(source.folder / "f.csv")
    assert "f.csv:22: 2024-01-20 to 2024-01-31 is a gap in time; allowed: 4 rows after it" in str(
        told
    )


def test_a_number_that_is_missing_behind_a_gap_is_still_the_previous_one(made):
    text = days(*range(20), *range(30, 40)).replace("2024-01-31,30", "2024-01-31,?")
    source = made(text, time="date", missing="previous")
    found = [w for split in windows(source).values() for w in split]
    assert ([19, 31], [32]) in found


def test_dates_that_several_rows_share_are_no_clock(made):
    rows = [f"{DAY + datetime.timedelta(n // 4)},{n}" for n in range(40)]
    source = made("\n".join(["date,v", *rows]))
    assert sum(map(len, windows(source).values())) == 38
    assert source.warnings() == []
