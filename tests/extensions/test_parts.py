"""A cell, a task, an architecture and a diagnostic of one's own: every command works."""

import json
import re
from pathlib import Path

import onnxruntime
import pytest

TOYS = Path(__file__).parent / "toys"
PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
SMALL = (
    *("hidden_size=8", "trainer.max_epochs=1", "trainer.accelerator=cpu", "logger=none"),
    *("trainer.enable_progress_bar=false", "diagnostics=none", "hydra.run.dir=run"),
)
TRUST = "trust=[leaky,focal,attentive]"


@pytest.fixture(scope="module")
def classifier(seqpipe, tmp_path_factory):
    """A run with a cell, a task and an architecture of one's own."""
    folder = tmp_path_factory.mktemp("classifier")
    parts = ("cell=leaky", "task=focal", "architecture=attentive", "data=digits")
    observer = "+callbacks.weights._target_=weights.WeightNorm"
    seqpipe(folder, "train", *parts, observer, *SMALL)
    return folder


@pytest.fixture(scope="module")
def writer(seqpipe, tmp_path_factory):
    """A language model with a cell of one's own."""
    folder = tmp_path_factory.mktemp("writer")
    lines = [f"{first}{second}n\n" for first in "bcdfghkl" for second in "aeiou"]
    (folder / "names.txt").write_text("".join(lines))
    seqpipe(folder, "train", "cell=leaky", "data=lines", "data.path=names.txt", *SMALL)
    return folder


def test_a_run_leaves_its_report(classifier, writer):
    for folder in (classifier, writer):
        assert "</html>" in (folder / "run" / "report.html").read_text()
        assert "truth,prediction" in (folder / "run" / "examples.csv").read_text()


def test_the_loss_of_the_run_is_that_of_the_task(classifier):
    metrics = json.loads((classifier / "run" / "metrics.json").read_text())
    assert 0 < metrics["test/loss"] < 2.3  # the cross entropy starts at ln 10, the focal loss lower


def test_a_diagnostic_of_one_s_own_is_in_the_report_and_the_metrics(classifier):
    metrics = json.loads((classifier / "run" / "metrics.json").read_text())
    report = (classifier / "run" / "report.md").read_text()
    assert f"to {metrics['weights/norm']:.4g}." in report
    assert "Their norm went from" in report


def test_the_run_is_evaluated(seqpipe, classifier):
    assert "accuracy" in seqpipe(classifier, "evaluate", "run=run", "resamples=20", TRUST)


def test_the_model_predicts(seqpipe, classifier):
    row = json.dumps({"image": [[0.0] * 8] * 8})
    (classifier / "new.jsonl").write_text(f"{row}\n")
    seqpipe(classifier, "predict", "run=run", "input=new.jsonl", "output=answers.jsonl", TRUST)
    answer = json.loads((classifier / "answers.jsonl").read_text())
    assert answer["prediction"] in map(str, range(10))
    assert sum(answer["probabilities"].values()) == pytest.approx(1)


def test_the_model_samples_and_scores(seqpipe, writer):
    assert seqpipe(writer, "sample", "run=run", "n=3", TRUST).strip()
    assert "probability" in seqpipe(writer, "score", "run=run", "text=ban | zzz", TRUST)


def test_a_cell_that_says_how_is_written_as_onnx(seqpipe, writer):
    words = ("export", "run=run", "format=onnx", "output=m.onnx", TRUST)
    assert "checked: onnxruntime" in seqpipe(writer, *words)
    names = [value.name for value in onnxruntime.InferenceSession(writer / "m.onnx").get_inputs()]
    assert names == ["y_before", "lengths", "fresh", "h"]


def test_without_trust_nothing_of_one_s_own_is_run(seqpipe, classifier):
    text = seqpipe(classifier, "predict", "run=run", "input=new.jsonl", code=2)
    assert "allowed: trust=" in text


def test_the_page_shows_the_files_that_are_tested():
    blocks = re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", PAGE.read_text(), flags=re.S)
    shown = dict(blocks)
    assert {"leaky.py", "focal.py", "attentive.py", "weights.py"} <= shown.keys()
    for name, code in shown.items():
        assert code == (TOYS / name).read_text(), name
