"""Baselines of numbers: in the units of the data, whatever the fields standardise."""

import numpy as np
import pytest

from seqpipe.data.fields.labels import Number
from seqpipe.data.fields.series import Series
from seqpipe.tasks.regression import Regression


def windows(series, past, first, end, *, relative=False, horizon=1):
    """Windows whose first target is at first..end - 1."""
    rows = []
    for at in range(first, end):
        x, y = series[at - past : at], series[at : at + horizon]
        last = x[-1] if relative else 0.0
        rows.append({"past": x[:, None] - last, "future": y - last})
    return rows


def split_of(series, past, **options):
    ends = [past, 60, 80, len(series) - options.get("horizon", 1) + 1]
    names = ("train", "valid", "test")
    return {
        name: windows(series, past, first, end, **options)
        for name, first, end in zip(names, ends, ends[1:], strict=False)
    }


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("relative", [False, True])
def test_the_last_value_and_the_mean_have_the_errors_of_the_formula(
    standardize, relative, data_of, metrics_of
):
    series = np.cumsum(np.random.default_rng(0).normal(size=120)) + 50
    splits = split_of(series, past=6, relative=relative)
    fields = (
        Number("future", standardize=standardize),
        Series("past", standardize=standardize),
    )
    data = data_of(*fields, **splits)
    found = metrics_of(Regression(y=data.spec.y), data)
    steps = np.diff(series)[79:]
    assert found["last"]["mae"] == pytest.approx(np.abs(steps).mean(), rel=1e-4)
    assert found["last"]["mse"] == pytest.approx((steps**2).mean(), rel=1e-4)
    train = np.array([row["future"][0] for row in splits["train"]])
    test = np.array([row["future"][0] for row in splits["test"]])
    assert found["mean"]["mae"] == pytest.approx(np.abs(test - train.mean()).mean(), rel=1e-4)
    assert found["skipped"] == {"seasonal": "no season in the steps of x"}


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("horizon", [1, 3])
def test_a_season_is_found_in_training(relative, horizon, data_of, metrics_of):
    rng = np.random.default_rng(1)
    season = rng.normal(size=7) * 5
    series = np.array([season[t % 7] + 0.1 * t for t in range(120)]) + rng.normal(size=120) * 0.01
    splits = split_of(series, past=10, relative=relative, horizon=horizon)
    data = data_of(Number("future"), Series("past", standardize=True), **splits)
    found = metrics_of(Regression(y=data.spec.y), data)
    assert found["seasonal"]["mae"] == pytest.approx(0.7, abs=0.02)  # the trend of seven steps
    assert found["linear"]["mae"] < 0.3


def test_what_is_like_no_value_of_x_is_no_forecast(data_of, metrics_of):
    rng = np.random.default_rng(2)
    rows = [{"x": rng.normal(size=(5, 2)), "y": float(rng.normal()) + 1000} for _ in range(40)]
    data = data_of(Number("y"), Series("x"), train=rows, test=rows[:9])
    found = metrics_of(Regression(y=data.spec.y), data)
    reasons = {"last": "no value of x is close to y", "seasonal": "no season in the steps of x"}
    assert found["skipped"] == reasons
    assert {"mean", "linear"} < found.keys()


def test_the_channel_that_is_forecast_is_found_and_lengths_may_differ(data_of, metrics_of):
    rng = np.random.default_rng(3)

    def rows(count):
        found = []
        for _ in range(count):
            x = np.cumsum(rng.normal(size=(int(rng.integers(1, 9)), 3)), axis=0)
            found.append({"x": x, "y": x[-1, [2, 0]] + [0.5, -0.25]})
        return found

    data = data_of(Number("y"), Series("x"), train=rows(60), test=rows(20))
    found = metrics_of(Regression(y=data.spec.y), data)
    assert found["last"]["mae"] == pytest.approx(0.375, rel=1e-5)


@pytest.mark.parametrize("standardize", [False, True])
def test_a_forecast_for_each_step_repeats_the_present_one(standardize, data_of, metrics_of):
    rng = np.random.default_rng(4)
    series = [np.cumsum(rng.normal(size=int(rng.integers(3, 9)))) for _ in range(30)]
    rows = [{"x": one[:-1, None], "y": one[1:, None]} for one in series]
    options = {"standardize": standardize}
    data = data_of(Series("y", **options), Series("x", **options), train=rows, test=rows)
    found = metrics_of(Regression(y=data.spec.y), data)
    errors = np.concatenate([np.abs(np.diff(one)) for one in series])
    assert found["last"]["mae"] == pytest.approx(errors.mean(), rel=1e-5)


@pytest.mark.parametrize(
    "form", [{"standardize": "example"}, {"difference": True}, {"reference": [0]}]
)
def test_an_x_without_the_values_of_the_data_has_no_last_value(form, data_of, metrics_of):
    """They would be near y, whose mean is 0 relative to the last value, and mean nothing."""
    series = np.cumsum(np.random.default_rng(0).normal(size=120)) + 50
    splits = split_of(series, past=6, relative=True)
    for record in (record for records in splits.values() for record in records):
        record["past"] = np.hstack([record["past"], record["past"] ** 2])
    data = data_of(Number("future"), Series("past", **form), **splits)
    found = metrics_of(Regression(y=data.spec.y), data)
    assert found.keys() == {"mean", "linear", "skipped"}
    assert found["skipped"].keys() == {"last", "seasonal"}
