"""The page about a sweep, from the notes its jobs leave."""

import csv
import json
import math

import pyarrow as pa
import pytest
from pyarrow import parquet

from seqpipe.config.sweep_callback import FIGURES as ALLOWED
from seqpipe.report import run_files as report
from seqpipe.report.best_jobs import best_of
from seqpipe.report.comparison import FIGURES, write_comparison
from seqpipe.report.gradient_comparison import profiles
from seqpipe.report.run_files import read_history
from seqpipe.report.sweep_jobs import (
    FAILED,
    FINISHED,
    REFUSED,
    RUNNING,
    Job,
    forget_jobs,
    note_job,
    read_jobs,
    setting,
)
from seqpipe.runs.sweep import numbers_of, with_unstarted, write_tables


@pytest.fixture
def sweep(tmp_path):
    """sweep(...): notes a job, with the metrics it left, and gives all jobs so far."""

    def add(overrides, metrics=None, **facts):
        number = len(list((tmp_path / "jobs").glob("*.json")))
        keys = dict(word.split("=") for word in overrides.split())
        facts = {"status": FINISHED, "seconds": 2.0, "monitor": "val/mse", "mode": "min", **facts}
        if metrics is not None:
            facts["folder"] = str(number)
            report.write_metrics(tmp_path / str(number), metrics)
        note_job(tmp_path, Job(number, keys, **facts))
        return read_jobs(tmp_path)

    return add


def _page(folder, jobs, **more):
    path = write_comparison(folder, jobs, command="python -m seqpipe -m x=1,2", **more)
    return path.read_text(), path.with_suffix(".html").read_text()


def _rows(page, heading):
    section = page.split(f"## {heading}\n")[1].split("\n## ")[0]
    head, _, *lines = [line for line in section.splitlines() if line.startswith("|")]
    names = [cell.strip() for cell in head.strip("|").split("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(names, row, strict=True)) for row in cells]


def test_a_row_a_job_says_what_differs_what_came_of_it_and_which_is_best(sweep, tmp_path):
    for cell, value in (("rnn", 0.5), ("gru", 0.2), ("lstm", 0.3)):
        metrics = {"val/mse": value, "test/mse": value + 0.01, "parameters": 20_100}
        jobs = sweep(f"cell={cell} depth=1", metrics)
    markdown, page = _page(tmp_path, jobs)
    assert _rows(markdown, "Jobs")[1] == {
        "job": "1",
        "cell": "gru",
        "status": "finished",
        "parameters": "20,100",
        "val/mse": "0.2",
        "test/mse": "0.21",
        "seconds": "2",
        "run": "[1](1/report.html)",
        "best": "**best**",
    }
    assert [row["cell"] for row in _rows(markdown, "Jobs")] == ["rnn", "gru", "lstm"]
    assert "All 3 jobs finished. By `val/mse`, 0.2, `gru` is the best" in markdown
    assert page.count("<strong>best</strong>") == 1
    assert '<a href="1/report.html">1</a>' in page
    assert "![results](figures/results.png)" in markdown
    assert "Repeats" not in markdown


def test_scores_of_single_classes_are_no_columns(sweep, tmp_path):
    scores = ("precision/a", "recall/a", "f1/a", "entity_f1/a", "macro_f1", "recall")
    for cell in ("rnn", "gru"):
        jobs = sweep(f"cell={cell}", {"val/mse": 0.5, **{f"test/{one}": 0.5 for one in scores}})
    columns = _rows(_page(tmp_path, jobs)[0], "Jobs")[0].keys()
    assert [name for name in columns if "test/" in name] == ["test/macro_f1", "test/recall"]


def test_failed_refused_and_unfinished_jobs_are_shown_with_their_reason(sweep, tmp_path):
    sweep("depth=1", {"val/mse": 0.1, "test/mse": 0.1})
    sweep("depth=2", status=REFUSED, message="a.csv:3: no text")
    sweep("depth=3", status=FAILED, message="<b>broken</b>")
    jobs = sweep("depth=4", status=RUNNING, seconds=math.nan)
    markdown, page = _page(tmp_path, jobs)
    rows = _rows(markdown, "Jobs")
    assert [row["status"] for row in rows] == ["finished", "refused", "failed", "not finished"]
    assert [row["reason"] for row in rows] == ["", "a.csv:3: no text", r"\<b>broken\</b>", ""]
    assert [row["seconds"] for row in rows] == ["2", "2", "2", ""]
    assert "1 of 4 jobs finished." in markdown
    assert "&lt;b&gt;broken" in page


def test_the_best_is_the_best_of_what_can_be_compared(sweep):
    sweep("data=a seed=0", {"val/acc": 0.9}, monitor="val/acc", mode="max", judged_on="a")
    sweep("data=a seed=1", {"val/acc": 0.95}, monitor="val/acc", mode="max", judged_on="a")
    sweep("data=b data.length=5", {"val/mse": 0.3}, judged_on="b5")
    sweep("data=b data.length=9", {"val/mse": 0.2}, judged_on="b9")
    sweep("data=b data.length=9 depth=2", {"val/mse": math.nan}, judged_on="b9")
    facts = {"status": FAILED, "judged_on": "b9"}
    jobs = sweep("data=b data.length=9 depth=3", {"val/mse": 0.1}, **facts)
    assert best_of(jobs) == {1, 2, 3}


def test_jobs_that_differ_in_their_batches_are_judged_alike_and_have_one_best(sweep, tmp_path):
    sweep("data=a data.batch_size=16", {"val/mse": 0.3}, judged_on="a")
    jobs = sweep("data=a data.batch_size=64", {"val/mse": 0.2}, judged_on="a")
    assert best_of(jobs) == {1}
    page = _page(tmp_path, jobs)[0]
    assert "`data.batch_size=64` is the best" in page
    assert "cannot be compared" not in page


def test_repeats_over_seeds_are_shown_as_mean_and_spread(sweep, tmp_path):
    for depth, base in ((1, 0.2), (2, 0.4)):
        for seed in (0, 1, 2):
            jobs = sweep(f"depth={depth} seed={seed}", {"val/mse": base + seed / 10, "test/mse": 1})
    jobs = sweep("depth=2 seed=3", status=FAILED)
    rows = _rows(_page(tmp_path, jobs)[0], "Repeats")
    assert [(row["depth"], row["seeds"], row["val/mse"]) for row in rows] == [
        ("1", "3", "0.3 ± 0.1"),
        ("2", "3", "0.5 ± 0.1"),
    ]
    assert rows[0]["test/mse"] == "1 ± 0"


def test_the_best_setting_is_chosen_by_the_mean_of_those_with_the_most_seeds(sweep, tmp_path):
    values = {"rnn": (0.30, 0.32, 0.34), "gru": (0.10, 0.50, 0.60), "lstm": (0.01, None, None)}
    for cell, each in values.items():
        for seed, value in enumerate(each):
            known = {} if value is None else {"val/mse": value, "test/mse": value}
            status = FAILED if value is None else FINISHED
            jobs = sweep(f"cell={cell} seed={seed}", known, status=status, command=f"{cell} {seed}")
    assert best_of(jobs) == {0}, "a single lucky seed is none, and the mean of gru is worse"
    markdown, _ = _page(tmp_path, jobs)
    text = "By the mean of `val/mse` over 3 seeds, 0.32, `rnn` is the best; its test result is 0.32"
    assert text in markdown
    assert "Again, `job 0 (rnn seed=0), val/mse 0.3, test/mse 0.3`:\n\n```sh\nrnn 0\n" in markdown
    row = _rows(markdown, "Repeats")[0]
    low, high = map(float, row["val/mse 95% interval"].split(" to "))
    assert (low, high) == pytest.approx((0.32 - 4.3027 * 0.02 / 3**0.5, 0.3697), abs=1e-4)


def test_a_sweep_leaves_its_tables_as_numbers(sweep, tmp_path):
    for seed in (0, 1):
        jobs = sweep(f"depth=1 seed={seed}", {"val/mse": seed + 0.5, "parameters": 33.0})
    jobs = with_unstarted(jobs, [{}, {}, {"depth": "1", "seed": "2"}])
    tables = write_tables(tmp_path, jobs)
    rows = list(csv.DictReader((tmp_path / "comparison.csv").read_text().splitlines()))
    assert [row["status"] for row in rows] == ["finished", "finished", "not started"]
    assert [row["val/mse"] for row in rows] == ["0.5", "1.5", ""]
    assert [row["best"] for row in rows] == ["True", "False", "False"]
    (spread,) = tables["seeds"]
    assert (spread["seeds"], spread["mean"], spread["deviation"]) == (2, 1.0, 0.5**0.5)
    assert spread["low"] == pytest.approx(1 - 12.706 * 0.5, abs=1e-3)
    numbers = numbers_of(jobs)
    assert (numbers["sweep/jobs"], numbers["sweep/finished"], numbers["val/mse"]) == (3, 2, 0.5)
    assert numbers["seeds/val/mse/mean"] == 1.0


def test_a_single_job_is_compared_with_nothing(sweep, tmp_path):
    markdown, _ = _page(tmp_path, sweep("depth=1 experiment=first", {"val/mse": 0.1}))
    assert markdown.startswith("# first: one job\n")
    assert "The one job finished." in markdown
    assert not (tmp_path / "figures").exists()


def test_notes_are_replaced_and_can_be_forgotten(tmp_path):
    note_job(tmp_path, Job(0, {"a": "1"}))
    note_job(tmp_path, Job(0, {"a": "1"}, status=FAILED, message="é"))
    (job,) = read_jobs(tmp_path)
    assert (job.status, job.message) == (FAILED, "é")
    assert math.isnan(job.seconds)
    forget_jobs(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_value_that_does_not_speak_for_itself_has_its_key():
    job = Job(0, {"cell": "gru", "depth": "2", "data.by": "words", "bidirectional": "true"})
    words = setting(job, [*job.overrides])
    assert words == "gru depth=2 data.by=words bidirectional=true"


def test_every_figure_an_experiment_may_end_in_can_be_chosen():
    assert tuple(FIGURES) == ALLOWED


def write_gradients(path, by_step, layer=0, loss="last"):
    """gradients.parquet with two examples: by_step[step] = norms by distance."""
    rows = [
        {
            **{"step": step, "stack": "encoder", "layer": layer, "direction": "forwards"},
            **{"loss": loss, "example": example, "time_step": len(norms) - distance},
            **{"distance": distance, "norm": norm * (1 + example)},
        }
        for step, norms in by_step.items()
        for distance, norm in enumerate(norms)
        for example in (0, 1)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows), path)


def test_a_profile_is_the_mean_over_examples_as_a_share_of_its_peak(tmp_path):
    write_gradients(tmp_path / "g.parquet", {0: [2.0, 4.0, 1.0], 7: [1.0, 0.5, 0.0], 3: [9.0]})
    found = profiles(tmp_path / "g.parquet")
    assert found["start"] == ([0, 1, 2], [0.5, 1.0, 0.25])
    assert found["end"] == ([0, 1, 2], [1.0, 0.5, 0.0])
    assert profiles(tmp_path / "none.parquet") == {}


def test_gradients_are_drawn_a_line_a_cell_and_a_panel_a_length(sweep, tmp_path, drawn):
    facts = {"gradient/half_life": 3.0, "gradient/horizon": 17.0, "gradient/verdict": -1.0}
    for length in (5, 9):
        for cell, mse in (("rnn", 0.17), ("lstm", 0.001)):
            jobs = sweep(
                f"cell={cell} data.length={length}", {"test/mse": mse, "val/mse": mse, **facts}
            )
            write_gradients(
                tmp_path / str(len(jobs) - 1) / "gradients.parquet", {0: [1.0, 0.5], 9: [1.0, 0.25]}
            )
    jobs = sweep("cell=gru data.length=9", status=FAILED, message="no")
    markdown, _ = _page(
        tmp_path, jobs, ends_in="gradients", options={"guessing": 0.167, "solved": 0.01}
    )
    *panels, result = drawn[0].axes[:3]
    assert [axes.get_title(loc="left") for axes in panels] == ["data.length=5", "data.length=9"]
    assert result.get_title(loc="left") == "test/mse"
    lines = [(line.get_linestyle(), list(line.get_ydata())) for line in panels[0].lines[1:]]
    assert lines == [("--", [1.0, 0.5]), ("-", [1.0, 0.25])] * 2
    assert [0.167] * 2 in [list(line.get_ydata()) for line in result.lines]
    rows = _rows(markdown, "Gradients")
    assert [row["solved"] for row in rows] == ["no", "yes", "no", "yes", ""]
    assert rows[0]["half-life, steps"] == "3"
    assert rows[0]["gradient"] == "vanishing"
    assert rows[4]["status"] == "failed"
    assert (
        "- `data.length=5`: lstm solved; rnn not solved; horizon, in steps: 17 (rnn), 17"
        in markdown
    )


def test_where_nothing_but_the_cell_differs_the_panel_is_called_gradient(sweep, tmp_path, drawn):
    for cell in ("rnn", "lstm"):
        jobs = sweep(f"cell={cell} data.length=5", {"test/mse": 0.1, "val/mse": 0.1})
    _page(tmp_path, jobs, ends_in="gradients")
    panel, result = drawn[0].axes[:2]
    assert panel.get_title(loc="left") == "gradient"
    assert [tick.get_text() for tick in result.get_xticklabels()] == [""]


def test_a_gradient_that_never_halves_is_reported(sweep, tmp_path, drawn):
    grows = {"gradient/half_life": math.inf, "gradient/decay": 1.1, "gradient/verdict": 1.0}
    sweep("cell=rnn", {"val/mse": 0.1, **grows})
    held = {"gradient/half_life": 1000.0, "gradient/horizon": 100.0, "gradient/verdict": 0.0}
    sweep("cell=lstm", {"val/mse": 0.1, **held})
    jobs = sweep("cell=gru", {"val/mse": 0.1})
    rows = _rows(_page(tmp_path, jobs, ends_in="gradients")[0], "Gradients")
    assert [(row["half-life, steps"], row["gradient"]) for row in rows] == [
        ("never", "exploding"),
        ("≥ 1,000", "healthy"),
        ("", ""),
    ]


def write_history(path, **series):
    rows = [
        {"metric": name.replace("_S_", "/"), "step": step, "value": value}
        for name, points in series.items()
        for step, value in points
    ]
    report.write_rows(path, rows)


def test_clipping_is_drawn_a_line_a_job_also_of_one_that_failed(sweep, tmp_path, drawn):
    sweep("trainer=clip_norm", {"test/mse": 0.001, "val/mse": 0.002, "gradient/verdict": 0.0})
    jobs = sweep("trainer=unclipped", status=FAILED, message="30 updates were bad", folder="1")
    write_history(
        tmp_path / "0" / "history.csv",
        grad_norm_S_window_max=[(5, 30.0), (10, 1200.0)],
        grad_norm_S_clipped_fraction=[(5, 0.5), (10, 1.0)],
        val_S_loss=[(5, 0.3), (10, 0.1)],
    )
    write_history(
        tmp_path / "1" / "history.csv",
        grad_norm_S_window_max=[(5, 1e9), (10, math.inf)],
        val_S_loss=[(5, 0.4), (10, math.nan)],
        bad_steps=[(5, 0.0), (10, 30.0)],
    )
    assert read_history(tmp_path / "2" / "history.csv") == {}
    markdown, _ = _page(
        tmp_path, jobs, ends_in="clipping", options={"guessing": 0.1667, "solved": 0.01}
    )
    above, below = drawn[0].axes
    assert [line.get_label() for line in above.lines[:2]] == ["clip_norm", "unclipped"]
    assert list(above.lines[0].get_ydata()) == [30.0, 1200.0]
    assert [0.4] in [list(line.get_ydata()) for line in below.lines]
    first, second = _rows(markdown, "Exploding gradients")
    assert first == {
        **{"trainer": "clip_norm", "largest norm": "1,200", "bad steps": ""},
        **{"clipped": "75%", "gradient": "healthy", "test/mse": "0.001", "solved": "yes"},
        "status": "finished",
    }
    assert (second["largest norm"], second["bad steps"]) == ("inf", "30")
    assert second["gradient"] == "exploded"
    assert second["status"] == "failed"
    assert (
        "`unclipped`: the gradient was not finite; the job failed (30 updates were bad)."
        in markdown
    )


def test_metrics_that_were_not_finite_are_nan(sweep, tmp_path):
    (job,) = sweep("a=1", {"val/mse": math.inf})
    assert json.loads((tmp_path / "0" / "metrics.json").read_text()) == {"val/mse": None}
    assert math.isnan(job.monitored)
    assert "**best**" not in _page(tmp_path, [job])[0]
