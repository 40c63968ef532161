"""Parallel coordinates of a sweep: what is drawn, and where on which axis."""

import math

import pytest

from seqpipe.report.parallel_coordinates import draw_parallel, scale_of
from seqpipe.report.sweep_jobs import FAILED, FINISHED, Job


def _job(number, overrides, value, **facts):
    keys = dict(word.split("=") for word in overrides.split())
    facts = {"status": FINISHED, "monitor": "val/mse", "metrics": {"val/mse": value}, **facts}
    return Job(number, keys, **facts)


def test_an_axis_is_of_words_of_numbers_or_logarithmic():
    words = scale_of("cell", ["rnn", "lstm", "", "rnn"])
    assert words.places == pytest.approx([1 / 6, 1 / 2, 5 / 6, 1 / 6])
    assert [label for _, label in words.ticks] == ["rnn", "lstm", "(not set)"]
    sizes = scale_of("depth", ["1", "2", "5"])
    assert (sizes.title, sizes.places) == ("depth", [0, 0.25, 1])
    rates = scale_of("optim.lr", ["1e-4", "0.001", "0.01"])
    assert (rates.title, rates.places) == ("optim.lr (log)", pytest.approx([0, 0.5, 1]))
    even = scale_of("dropout", ["0.01", "0.2", "0.3", "0.5"])
    assert even.title == "dropout", "evenly spread numbers need no logarithm"
    assert scale_of("a", ["true", "1"]).title == "a"
    assert scale_of("a", ["2", "2"]).places == [0, 0]
    assert scale_of("a", ["nan", "1"]).ticks[0][1] == "nan"


def test_a_line_for_each_job_ends_at_its_result_and_the_best_is_thick(tmp_path, drawn):
    jobs = [
        _job(0, "cell=rnn depth=1 seed=0", 0.4),
        _job(1, "cell=lstm depth=2 seed=0", 0.1),
        _job(2, "cell=$x$ depth=3 seed=1", 0.2),
        _job(3, "cell=gru depth=3 seed=1", math.nan),
        _job(4, "cell=gru depth=2 seed=1", 0.0, status=FAILED),
    ]
    path = draw_parallel(tmp_path, jobs, frozenset([1]))
    assert path.stat().st_size > 5000
    (axes,) = drawn[0].axes
    lines = [line for line in axes.lines if len(line.get_xdata()) == 3]
    assert {round(line.get_ydata()[-1], 3) for line in lines} == {0, 0.667, 1}
    (thick,) = [line for line in lines if line.get_linewidth() > 2]
    assert (thick.get_ydata()[-1], lines[-1]) == (1, thick), "low is better, and lies on top"


@pytest.mark.parametrize(
    ("jobs", "data", "why"),
    [
        (["cell=a depth=1", "cell=b depth=2"], "xx", "two jobs"),
        (["cell=a", "cell=b", "cell=c"], "xxx", "one key"),
        (["cell=a seed=1", "cell=b seed=2", "cell=c seed=3"], "xxx", "one key, and seeds"),
        (["cell=a depth=1", "cell=b depth=2", "cell=c depth=3"], "xyx", "other data"),
    ],
)
def test_nothing_is_drawn_where_it_would_say_nothing(tmp_path, jobs, data, why):
    jobs = [_job(k, keys, 0.5, judged_on=data[k]) for k, keys in enumerate(jobs)]
    assert draw_parallel(tmp_path, jobs, frozenset()) is None, why
