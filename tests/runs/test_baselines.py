"""The baselines of a whole run: recorded, printed, and compared with the model."""

import json
import math

import numpy as np
import pytest
from hydra.utils import get_object

from seqpipe.build import build_data, unchecked_task
from seqpipe.config.compose import compose
from seqpipe.data.base import FieldSpec
from seqpipe.runs.baseline_comparison import Comparison
from seqpipe.runs.baselines import fitted_baselines, measured
from seqpipe.runs.remedies import usual_remedies
from seqpipe.tasks.classification import Classification
from seqpipe.tasks.regression import Regression
from seqpipe.tasks.transcription import Transcription

BAD = ("trainer.max_epochs=1", "optim.lr=1e-6")  # it learns nothing


@pytest.fixture(scope="module")
def lost(launch_in, tmp_path_factory):
    """A run that is no better than its baselines."""
    root = tmp_path_factory.mktemp("lost")
    return launch_in(root, "digits", *BAD, "bidirectional=true", "logger=csv")


def lines_of(result):
    return dict(line.split(":", 1) for line in result.summary.splitlines())


def baselines_of(result):
    return {n: v for n, v in result.metrics.items() if n.startswith("baseline/")}


def test_a_run_records_its_baselines_beside_its_test(lost):
    found = baselines_of(lost)
    assert {"baseline/majority/accuracy", "baseline/linear/loss"} <= found.keys()
    written = json.loads((lost.output_dir / "metrics.json").read_text())
    assert {n: v for n, v in written.items() if n.startswith("baseline/")} == found
    logged = "".join(path.read_text() for path in lost.output_dir.rglob("*.csv"))
    assert "baseline/linear/accuracy" in logged
    assert not any("f1/" in name for name in found)  # none of single classes


def test_the_closing_lines_compare_the_model_with_them_and_say_what_helps(lost):
    lines, found = lines_of(lost), baselines_of(lost)
    linear, majority = (found[f"baseline/{name}/accuracy"] for name in ("linear", "majority"))
    assert linear > 0.9
    assert lines["baselines"].strip() == f"accuracy {linear:.4g} linear, {majority:.4g} majority"
    tested = lost.metrics["test/accuracy"]
    assert f"accuracy {tested:.4g} is no better than {linear:.4g} of the bas" in lines["advice"]
    assert "trainer.max_epochs=2, optim.lr=3e-07, more data" in lines["advice"]
    assert "dropout=0.5" in lines["advice"]
    assert "bidirectional=true" not in lines["advice"]  # it is, already


def test_the_report_has_a_table_of_the_model_and_its_baselines(lost):
    page = (lost.output_dir / "report.md").read_text()
    section = page.split("## Baselines\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    assert "accuracy" in rows[0]
    names = [row.split("|")[1].strip() for row in rows[2:]]
    assert names == ["this model", "majority", "linear"]
    assert "the model is **no better** than the baseline `linear`" in section
    assert "No better than a baseline" in page.split("## Advice\n")[1]


def test_a_model_that_is_better_gets_no_advice(launch):
    sizes = ("data.source.train=200", "data.length=3", "hidden_size=16", "optim.lr=0.03")
    alone = ("preflight=none", "diagnostics=none")
    result = launch("adding", *sizes, *alone, "trainer.max_epochs=15")
    found = baselines_of(result)
    assert result.metrics["test/mse"] < min(v for n, v in found.items() if n.endswith("/mse"))
    assert "is no better" not in result.summary
    page = (result.output_dir / "report.md").read_text()
    assert "None of them is better than the model in `mse`." in page


def a_comparison(tested, **baselines):
    task = Regression(y=FieldSpec("number", 1), monitor="val/mae", mode="min")
    metrics = {name: {"mae": value} for name, value in baselines.items()}
    phrases = dict.fromkeys(baselines, "a rule")
    return Comparison(task, lambda: ["more data"], {"mae": tested}, metrics, phrases)


def test_only_metrics_that_a_baseline_has_are_compared(tmp_path):
    task = Transcription(y=FieldSpec("symbols", 5), monitor="val/loss")
    tested, found = {"loss": 3.0, "error_rate": 0.1}, {"most_frequent": {"error_rate": 0.5}}
    compared = Comparison(task, lambda: [], tested, found, {"most_frequent": "a rule"})
    (finding,) = compared.findings(tmp_path, "run")
    assert "None of them is better than the model in `error_rate`." in finding.text
    assert "`loss`" not in finding.text


def test_where_nothing_can_be_better_there_is_no_advice():
    assert a_comparison(0.0, mean=0.0).advice() == []
    assert len(a_comparison(0.5, mean=0.5).advice()) == 1
    assert len(a_comparison(0.5, mean=0.0).advice()) == 1
    assert len(a_comparison(math.nan, mean=0.5).advice()) == 1


def test_a_metric_that_is_not_defined_is_that_of_no_baseline():
    assert a_comparison(0.5, mean=math.nan).line == ""
    assert a_comparison(0.5, mean=math.nan).advice() == []
    assert a_comparison(0.5, mean=math.nan, linear=0.4).line == "mae 0.4 linear"


def test_without_baselines_nothing_else_changes(launch):
    options = ("trainer.max_epochs=1",)
    on = launch("adding", *options, folder="on")
    off = launch("adding", *options, "baselines=false", folder="off")
    assert baselines_of(off) == {}
    assert "baselines" not in lines_of(off)
    assert "Baselines" not in (off.output_dir / "report.md").read_text()
    ours = {n: v for n, v in on.metrics.items() if not n.startswith("baseline/")}
    assert {n: v for n, v in ours.items() if n != "preflight/seconds"} == {
        n: v for n, v in off.metrics.items() if n != "preflight/seconds"
    }


def wanted(data, batches, split="test"):
    """The accuracy of the majority class on the first batches of a split."""
    task = unchecked_task(data.cfg, data.data)
    fitted = [b for b in fitted_baselines(task, data.data, {}) if b.name == "majority"]
    every = list(data.data.loader(split, shuffle=False).here())
    return measured(fitted, task, every[:batches])[0]["majority"]["accuracy"]


class Digits:
    def __init__(self, *options):
        typed = ["data=digits", "data.source.test=0.1", "data.source.valid=0.1", *options]
        self.cfg, _ = compose(["data.batch_size=16", *typed])
        self.data = build_data(self.cfg)


@pytest.mark.parametrize(
    ("option", "batches", "split"),
    [
        ("trainer.limit_test_batches=3", 3, "test"),
        ("trainer.limit_test_batches=0.5", 6, "test"),
        ("trainer.overfit_batches=2", 2, "train"),
    ],
)
def test_baselines_are_measured_on_the_batches_that_the_model_is(launch, option, batches, split):
    result = launch("digits", *BAD, option)
    data = Digits()
    assert result.metrics["baseline/majority/accuracy"] == wanted(data, batches, split)
    assert wanted(data, batches, split) != wanted(data, None, "test")


def test_an_error_in_a_baseline_does_not_cost_the_run(launch, monkeypatch, caplog):
    def broken(self, data):
        raise MemoryError("no room")

    monkeypatch.setattr("seqpipe.baselines.numbers.Mean.fit", broken)
    result = launch("adding", "trainer.max_epochs=1")
    assert "baselines: not measured: MemoryError: no room" in caplog.text
    assert baselines_of(result) == {}
    assert (result.output_dir / "report.html").is_file()


def test_a_single_example_makes_no_model_better_than_another(launch_in, tmp_path):
    result = launch_in(tmp_path, "digits", *BAD, "folds=leave_one_out", "fold=3")
    assert any(name.startswith("baseline/") for name in result.metrics)
    assert "no better than" not in result.summary
    page = (result.output_dir / "report.md").read_text()
    assert "One answer was tested, by which no model is better than another." in page
    assert "No better than a baseline" not in page


def test_a_text_of_one_piece_has_as_many_answers_as_characters(launch_in, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat, the rat ate the cat.\n" * 60)
    of_text = (f"data.path={text}", "data.bptt=20", "data.cache=null")
    result = launch_in(tmp_path, "stream", *of_text, *BAD)
    assert "loss" in result.summary.split("advice:")[1]
    page = (result.output_dir / "report.md").read_text()
    assert "the model is **no better** than the baseline" in page


@pytest.mark.parametrize(
    ("typed", "helps", "does_not"),
    [
        ("data=digits", "bidirectional=true dropout=0.5", "architecture.pooling=max"),
        ("data=digits dropout=0.6", "bidirectional=true", "dropout=0.5"),
        ("data=digits architecture.pooling=last", "architecture.pooling=max", ""),
        (
            "data=digits architecture.pooling=flatten data.max_length=8",
            "",
            "architecture.pooling=max",
        ),
        ("data=forecast data.path=x", "dropout=0 architecture.pooling=flatten", ""),
        (
            "experiment=forecast data.path=x dropout=0.1",
            "dropout=0",
            "architecture.pooling=flatten",
        ),
        ("data=min_temperatures data.path=x", "data.source.local.relative_to_last=true", ""),
        ("data=ptb data.path=x", "", "data.bptt=35"),
        ("data=adding", "dropout=0", "architecture.pooling=flatten"),
        ("data=digits_flat", "dropout=0.5", "bidirectional=true"),
        ("data=names data.path=x match_parameters=3000", "", "hidden_size=256"),
        ("data=names data.path=x hidden_size=512", "dropout=0.5", "hidden_size=256"),
        ("data=names data.path=x", "hidden_size=256 data.bptt=35", ""),
        ("data=python_docs", "hidden_size=256", "data.bptt=35"),
        ("data=identifiers", "hidden_size=256", "data.bptt=35"),
        ("data=copy_memory", "architecture.head=crf", ""),
        ("data=copy_memory architecture.head=crf", "", "architecture.head=crf"),
        (
            "data=dictionary data.path=x architecture.coverage=true",
            "hidden_size=256",
            "architecture.attention=general",
        ),
    ],
)
def test_only_overrides_that_the_configuration_takes_are_advised(typed, helps, does_not):
    cfg, choices = compose(typed.split())
    task = get_object(cfg.task._target_)
    found = usual_remedies(task.remedies, cfg, choices)
    assert set(helps.split()) <= set(found)
    assert not set(does_not.split()) & set(found)
    assert found[-1] == "more data"
    for one in found[:-1]:
        compose([*typed.split(), one])


@pytest.mark.parametrize(("counts", "advised"), [([50, 50], False), ([95, 5], True)])
def test_weights_of_classes_are_advised_where_classes_are_unbalanced(counts, advised):
    task = Classification(y=FieldSpec("category", 2, ("a", "b"), counts=np.array(counts)))
    assert ("task.class_weights=balanced" in task.remedies) == advised
