"""Baselines that write a sequence: the most frequent one, x again, that of the nearest x."""

import pytest

from seqpipe.data.fields.series import Series
from seqpipe.data.fields.text import Text
from seqpipe.tasks.transcription import Transcription
from seqpipe.tasks.transduction import Transduction


def rows(*pairs):
    return [{"x": x, "y": y} for x, y in pairs]


TRAIN = rows(("abc", "cba"), ("abd", "dba"), ("bbb", "cba"), ("dcd", "dcd"))


def measure(data_of, metrics_of, test, **options):
    data = data_of(Text("y"), Text("x"), train=TRAIN, test=test, **options)
    return metrics_of(Transduction(y=data.spec.y, longest_y=4), data)


def test_the_most_frequent_y_x_again_and_the_nearest_x_are_scored_like_a_model(data_of, metrics_of):
    found = measure(data_of, metrics_of, rows(("abd", "dba"), ("dcd", "cba"), ("aba", "aba")))
    assert found["most_frequent"]["exact_match"] == pytest.approx(1 / 3)
    assert found["copy"]["exact_match"] == pytest.approx(1 / 3)
    assert found["nearest"]["exact_match"] == pytest.approx(1 / 3)  # dba, dcd, dba
    assert found["nearest"]["error_rate"] == pytest.approx((0 + 3 + 1) / 9)
    assert "loss" not in found["copy"]


def test_an_x_that_training_has_gets_its_y(data_of, metrics_of):
    assert measure(data_of, metrics_of, TRAIN)["nearest"]["exact_match"] == 1.0


def test_x_is_copied_only_into_an_alphabet_of_its_own_symbols(data_of, metrics_of):
    train = rows(("abc", "xyz"), ("bcd", "zyx"))
    data = data_of(Text("y"), Text("x"), train=train, test=train)
    assert "copy" not in metrics_of(Transduction(y=data.spec.y, longest_y=4), data)


def test_a_transcript_is_the_most_frequent_one(data_of, metrics_of):
    train = [{"x": [[0.0]] * 9, "y": y} for y in ("yes", "no", "no")]
    data = data_of(Text("y"), Series("x"), train=train, test=train)
    found = metrics_of(Transcription(y=data.spec.y), data)
    assert found["most_frequent"]["exact_match"] == pytest.approx(2 / 3)
    assert found["most_frequent"]["error_rate"] == pytest.approx(3 / 7)


@pytest.mark.parametrize(
    ("options", "compared"),
    [
        ({}, ("exact_match", "error_rate")),
        ({"symbols": "phonemes"}, ("exact_match", "phoneme_error_rate")),
        ({"monitor": "val/loss", "mode": "min"}, ("loss", "error_rate")),
    ],
)
def test_sentences_of_which_none_is_right_are_compared_by_their_errors(data_of, options, compared):
    data = data_of(Text("y"), Text("x"), train=TRAIN, test=TRAIN)
    task = Transduction(y=data.spec.y, longest_y=4, **options)
    assert task.compared == compared
    assert set(compared) <= set(task.metric_names()) - set(task.details)
