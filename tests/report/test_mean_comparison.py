"""Means over seeds, with their intervals."""

import math

import pytest

from seqpipe.report.mean_comparison import draw_means
from seqpipe.report.spread import half_width
from seqpipe.report.sweep_jobs import FAILED, FINISHED, REFUSED, Job


def _job(number, overrides, value, *, judged_on="a", monitor="val/mse", baselines=(), **more):
    keys = dict(word.split("=") for word in overrides.split())
    metric = monitor.removeprefix("val/")
    metrics = {monitor: value, f"test/{metric}": value, "parameters": 20_100.0}
    metrics |= {f"baseline/{name}/{metric}": found for name, found in baselines}
    status, kept = more.pop("status", FINISHED), {"monitor": monitor, "judged_on": judged_on}
    return Job(number, keys, status, metrics=metrics, **kept, **more)


def titles(drawn):
    return [axes.get_title(loc="left") for axes in drawn[0].axes]


def bars(axes):
    """The ends of each interval on a panel, from the first line on."""
    drawn = [line for one in axes.containers for line in one[2]]
    return [tuple(float(x) for x in line.get_segments()[0][:, 0]) for line in drawn]


def test_the_interval_is_students():
    assert half_width([1.0, 2.0, 3.0]) == pytest.approx(4.3027 * 1.0 / math.sqrt(3), rel=1e-4)
    assert half_width([0.5, 0.5]) == 0.0
    assert math.isnan(half_width([1.0]))


def test_seeds_are_one_setting_and_each_set_of_data_has_its_panel(tmp_path, drawn):
    music = {"judged_on": "b", "monitor": "val/loss"}
    jobs = [
        _job(0, "data=adding cell=rnn seed=0", 0.16),
        _job(1, "data=adding cell=rnn seed=1", 0.18),
        _job(2, "data=adding cell=gru seed=0", 0.01),
        _job(3, "data=music cell=rnn seed=0", 9.0, **music),
        _job(4, "data=music cell=rnn seed=1", math.nan, **music),
        _job(5, "data=music cell=gru seed=0", 8.5, status=FAILED, message="no file", **music),
        _job(6, "data=music cell=gru seed=1", 8.5, status=FAILED, message="no file", **music),
    ]
    (found,) = draw_means(tmp_path, jobs, units={"music": "nats a step"})
    assert titles(drawn) == ["adding", "music"]
    assert [axes.get_xlabel() for axes in drawn[0].axes] == [
        "test/mse\nlower is better",
        "nats a step (test/loss)\nlower is better",
    ]
    rnn, gru, rolls = found.rows
    assert (rnn["setting"], rnn["seeds"], rnn["mean"]) == ("rnn", 2, "0.17")
    low, high = (float(end) for end in rnn["95% interval"].split(" to "))
    assert (low, high) == pytest.approx((0.17 - 12.706 * 0.01, 0.17 + 12.706 * 0.01), abs=1e-3)
    assert bars(drawn[0].axes[0])[0] == pytest.approx((low, high), abs=1e-3)
    assert (gru["setting"], gru["95% interval"], gru["parameters"]) == ("gru", "", "20,100")
    assert (rolls["on"], rolls["metric"]) == ("music", "test/loss")
    assert (rolls["seeds"], rolls["mean"]) == (1, "9")
    assert "best baseline" not in rolls
    assert found.text.endswith(
        " Not drawn, for lack of a result: 3 of 7 runs (1: result not finite; 2: no file)."
    )
    assert (tmp_path / "figures" / found.figure).is_file()


def test_panels_with_the_same_settings_lie_beside_each_other(tmp_path, drawn):
    jobs = [
        _job(number, f"task={task} cell={cell} seed=0", 0.5, judged_on=task)
        for number, (task, cell) in enumerate((t, c) for t in "abc" for c in ("rnn", "gru"))
    ]
    draw_means(tmp_path, jobs)
    draw_means(tmp_path, jobs[:-1])
    tops = [{round(axes.get_position().y1, 2) for axes in one.axes} for one in drawn]
    assert [len(found) for found in tops] == [1, 3]


def test_the_best_baseline_is_a_line_with_its_name(tmp_path, drawn):
    known = [("last_step", 0.17), ("linear", 0.16)]
    jobs = [_job(seed, f"seed={seed}", 0.1 + seed, baselines=known) for seed in range(3)]
    high = [_job(seed, f"seed={seed}", 0.9, mode="max", baselines=known) for seed in range(3)]
    (low,), (found,) = draw_means(tmp_path, jobs), draw_means(tmp_path, high)
    assert [one.rows[0]["best baseline"] for one in (low, found)] == [
        "0.16 (linear)",
        "0.17 (last_step)",
    ]
    assert [one.axes[0].texts[0].get_text() for one in drawn] == ["linear 0.16", "last step 0.17"]
    lines = [line for line in drawn[0].axes[0].lines if line.get_linestyle() == "--"]
    assert [list(line.get_xdata()) for line in lines] == [[0.16, 0.16]]
    assert "The dashed line is the best of the simple models" in low.text
    assert drawn[1].axes[0].get_xlabel().endswith("higher is better")


def test_results_that_span_orders_of_magnitude_have_a_logarithmic_axis(tmp_path, drawn):
    wide = [_job(seed, f"cell=a seed={seed}", 10.0**-seed) for seed in range(3)]
    near = [_job(seed, f"cell=a seed={seed}", 1.0 + seed) for seed in range(3)]
    (of_wide,), (of_near,) = draw_means(tmp_path, wide), draw_means(tmp_path, near)
    assert [one.axes[0].get_xscale() for one in drawn] == ["log", "linear"]
    says = "An interval that reaches 0 leaves a logarithmic axis at its left end."
    assert (says in of_wide.text, says in of_near.text) == (True, False)
    assert drawn[0].axes[0].get_xlim()[0] == pytest.approx(0.005)


def test_a_panel_is_named_by_a_word_or_by_its_key_and_number(tmp_path, drawn):
    jobs = [
        _job(n, f"data.length={n} cell={cell} seed=0", 0.5, judged_on=str(n))
        for n in (10, 20)
        for cell in ("rnn", "gru")
    ]
    draw_means(tmp_path, jobs)
    assert titles(drawn) == ["data.length=10", "data.length=20"]


def test_a_sweep_in_which_nothing_finished_has_no_means(tmp_path):
    assert draw_means(tmp_path, [_job(0, "seed=0", 1.0, status=FAILED)]) == []
    assert draw_means(tmp_path, [_job(0, "seed=0", 1.0, status=REFUSED)]) == []
