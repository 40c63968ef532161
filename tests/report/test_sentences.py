"""Sentences about a figure follow from its numbers."""

import math

import pytest

from seqpipe.report.classes import confusion_finding
from seqpipe.report.curves import curves_advice, curves_finding


def described(history, best_step, monitor="val/loss", mode="min"):
    finding = curves_finding(
        history, monitor=monitor, mode=mode, best_step=best_step, figure="learning_curves.png"
    )
    assert finding.figure == "learning_curves.png"
    return finding.text


def advised(history, monitor="val/loss", mode="min"):
    return [finding.title for finding in curves_advice(history, monitor=monitor, mode=mode)]


@pytest.mark.parametrize(
    ("history", "best_step", "text"),
    [
        ({}, None, "Nothing was measured during this training."),
        ({"val/loss": [(5, 1.0)]}, 5, "`val/loss` was measured once, after update 5: 1."),
        (
            {"val/loss": [(5, 1.0), (10, 0.5), (15, 0.7), (20, 0.6)]},
            10,
            "`val/loss` is best after update 10: 0.5. It was measured 2 times more and did not "
            "improve.",
        ),
        (
            {"val/loss": [(5, 1.0), (1000, 0.5)], "train/loss": [(5, 2.0), (1000, 0.25)]},
            1000,
            "`val/loss` is best at the last validation, after update 1,000: 0.5. At this "
            "update, `train/loss`, the mean over the epoch, is 0.25 and `val/loss` 0.5, 2 times "
            "as much.",
        ),
        (
            {"val/loss": [(5, 0.5), (10, 0.7)]},
            None,
            "`val/loss` is 0.7 at the end; the test uses the last weights. It was best after "
            "update "
            "5: 0.5.",
        ),
        (
            {"val/loss": [(5, math.nan)], "train/loss": [(5, math.inf)]},
            None,
            "At update 5 `train/loss` was not finite. At update 5 `val/loss` was not finite.",
        ),
    ],
)
def test_the_curves_are_described_by_true_sentences(history, best_step, text):
    assert described(history, best_step) == text


def test_the_best_of_a_metric_that_grows_is_its_largest():
    points = {"val/accuracy": [(5, 0.5), (10, 0.9), (15, 0.6)]}
    text = described(points, 10, monitor="val/accuracy", mode="max")
    assert text.startswith("`val/accuracy` is best after update 10: 0.9. It was measured once more")


def test_a_metric_that_was_still_getting_better_suggests_a_longer_training():
    falling = {"val/loss": [(1, 1.0), (2, 0.8), (3, 0.6)]}
    assert advised(falling) == ["Train for longer"]
    assert advised({"val/loss": [(1, 1.0), (2, 0.6), (3, 0.599)]}) == []
    assert advised({"val/accuracy": falling["val/loss"]}, "val/accuracy", "max") == []


def test_a_loss_that_rises_while_that_of_training_falls_is_reported():
    rising = [(1, 1.0), (2, 0.5), (3, 0.9)]
    assert advised({"val/loss": rising, "train/loss": [(3, 0.1)]}) == ["Overfitting"]
    assert advised({"val/loss": rising, "train/loss": [(3, 0.9)]}) == []
    assert advised({}) == []


def test_the_class_mistaken_most_often_is_named():
    finding = confusion_finding([[3, 1], [2, 4]], ["cat", "dog"], None)
    assert finding.text.startswith("7 of 10 predictions are right (70.00%).")
    (row,) = finding.rows
    assert row == {"true": "dog", "predicted": "cat", "times": 2, "share of the class": "33.3%"}
    assert confusion_finding([[1, 0], [0, 0]], ["a", "b"], None).rows == []
