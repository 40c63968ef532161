"""Means over seeds, with their intervals."""

import math

import pytest

from seqpipe.report.mean_comparison import draw_means, half_width
from seqpipe.report.sweep_jobs import FAILED, FINISHED, Job


def _job(number, overrides, value, *, judged_on="a", monitor="val/mse", status=FINISHED):
    keys = dict(word.split("=") for word in overrides.split())
    metric = monitor.removeprefix("val/")
    metrics = {monitor: value, f"test/{metric}": value, "parameters": 20_100.0}
    return Job(number, keys, status, monitor=monitor, judged_on=judged_on, metrics=metrics)


def test_the_interval_is_students():
    assert half_width([1.0, 2.0, 3.0]) == pytest.approx(4.3027 * 1.0 / math.sqrt(3), rel=1e-4)
    assert half_width([0.5, 0.5]) == 0.0
    assert math.isnan(half_width([1.0]))


def test_seeds_are_one_setting_and_each_set_of_data_has_its_panel(tmp_path, drawn):
    jobs = [
        _job(0, "data=adding cell=rnn seed=0", 0.16),
        _job(1, "data=adding cell=rnn seed=1", 0.18),
        _job(2, "data=adding cell=gru seed=0", 0.01),
        _job(3, "data=music cell=rnn seed=0", 9.0, judged_on="b", monitor="val/loss"),
        _job(4, "data=music cell=rnn seed=1", math.nan, judged_on="b", monitor="val/loss"),
        _job(5, "data=music cell=gru seed=0", 8.5, judged_on="b", status=FAILED),
    ]
    (found,) = draw_means(tmp_path, jobs)
    assert [axes.get_title(loc="left") for axes in drawn[0].axes] == [
        "adding (test/mse)",
        "music (test/loss)",
    ]
    rnn, gru, music = found.rows
    assert (rnn["setting"], rnn["seeds"], rnn["mean"]) == ("rnn", 2, "0.17")
    low, high = (float(end) for end in rnn["95% interval"].split(" to "))
    assert (low, high) == pytest.approx((0.17 - 12.706 * 0.01, 0.17 + 12.706 * 0.01), abs=1e-3)
    assert (gru["setting"], gru["95% interval"], gru["parameters"]) == ("gru", "", "20,100")
    assert (music["on"], music["seeds"], music["mean"]) == ("music (test/loss)", 1, "9")
    assert (tmp_path / "figures" / found.figure).is_file()


def test_a_sweep_in_which_nothing_finished_has_no_means(tmp_path):
    assert draw_means(tmp_path, [_job(0, "seed=0", 1.0, status=FAILED)]) == []
