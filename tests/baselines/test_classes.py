"""Baselines of one class for a whole x, and of its features."""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from seqpipe.baselines import linear
from seqpipe.baselines.features import Moments, NGrams, Numbers, Positions, Segments, features_of
from seqpipe.data.base import FieldSpec
from seqpipe.data.columns import Column
from seqpipe.data.fields.labels import Category, Ordinal
from seqpipe.data.fields.series import Series, Vector
from seqpipe.data.fields.text import Text
from seqpipe.tasks.classification import Classification
from seqpipe.tasks.ordinal import Ordinal as OrdinalTask

RNG = np.random.default_rng(0)
WORDS = {"good": ["fine", "great", "nice"], "bad": ["awful", "poor", "dull"]}


def reviews(count, rng):
    return [
        {"text": f"it was a {rng.choice(WORDS[label])} film", "label": label}
        for label in rng.choice(["good", "good", "bad"], size=count).tolist()
    ]


def test_the_majority_class_has_the_frequencies_of_training(data_of, metrics_of):
    train = [{"text": "x", "label": label} for label in "aaab"]
    test = [{"text": "x", "label": label} for label in "ab"]
    data = data_of(Category("label"), Text("text"), train=train, test=test)
    found = metrics_of(Classification(y=data.spec.y), data)["majority"]
    assert found["accuracy"] == 0.5
    assert found["loss"] == pytest.approx(-(math.log(0.75) + math.log(0.25)) / 2)
    assert found["roc_auc"] == 0.5  # by the probabilities, as of a model


def test_logistic_regression_finds_the_words_that_decide(data_of, metrics_of):
    rng = np.random.default_rng(1)
    splits = {name: reviews(n, rng) for name, n in (("train", 60), ("valid", 20), ("test", 30))}
    data = data_of(Category("label"), Text("text", by="words"), **splits)
    task = Classification(y=data.spec.y)
    found = metrics_of(task, data)
    assert found["linear"]["accuracy"] == 1.0
    assert found["linear"]["loss"] < 0.5 * found["majority"]["loss"]
    assert metrics_of(task, data) == found  # no clock, no chance


def test_examples_of_one_class_leave_nothing_to_separate(data_of, metrics_of, monkeypatch):
    monkeypatch.setattr(linear, "MOST_EXAMPLES", 2)  # the first and the third
    rows = [{"text": "x", "label": label} for label in "abab"]
    data = data_of(Category("label"), Text("text"), train=rows, test=rows)
    found = metrics_of(Classification(y=data.spec.y), data)
    assert found["skipped"] == {"linear": "training has one class only"}
    assert found["majority"]["accuracy"] == 0.5


def test_a_series_is_classified_by_what_a_model_sees_in_units_and_lengths(data_of, metrics_of):
    """The mean decides; lengths differ, and padding counts nothing."""
    rng = np.random.default_rng(2)

    def rows(count):
        labels = rng.choice(["low", "high"], size=count).tolist()
        shift = {"low": 0.0, "high": 3.0}
        return [
            {"x": shift[label] + rng.normal(size=(int(rng.integers(2, 30)), 2)), "label": label}
            for label in labels
        ]

    splits = {"train": rows(80), "valid": rows(30), "test": rows(60)}
    data = data_of(Category("label"), Series("x"), **splits)
    found = metrics_of(Classification(y=data.spec.y, monitor="val/loss", mode="min"), data)
    assert found["linear"]["accuracy"] > 0.95


@pytest.mark.parametrize("rule", ["median", "mode"])
def test_an_ordinal_baseline_answers_by_the_rule_of_the_task(data_of, metrics_of, rule):
    """Of classes 1, 1, 1, 2, 2, 3, 3: the mode is 1, the median 2."""
    train = [{"text": "x", "stars": star} for star in (1, 1, 1, 2, 2, 3, 3)]
    test = [{"text": "x", "stars": star} for star in (1, 2, 3)]
    data = data_of(Ordinal("stars"), Text("text"), train=train, test=test)
    task = OrdinalTask(y=data.spec.y, predict=rule)
    found = metrics_of(task, data)
    name, mae = {"median": ("median", 2 / 3), "mode": ("majority", 1.0)}[rule]
    assert found[name]["mae"] == pytest.approx(mae)
    assert found[name]["loss"] == pytest.approx(-math.log(3 * 2 * 2 / 7**3) / 3)


def test_outputs_of_probabilities_give_these_probabilities():
    chances = torch.tensor([[0.7, 0.2, 0.06, 0.04], [1e-6, 1e-6, 1e-6, 1 - 3e-6]]).double()
    chances /= chances.sum(dim=1, keepdim=True)
    names = ("a", "b", "c", "d")
    for task in (
        OrdinalTask(y=FieldSpec("ordinal", 4, names)),
        Classification(y=FieldSpec("category", 4, names)),
    ):
        back = task.probabilities(task.outputs_of(chances), None)
        assert_close(back.double(), chances, rtol=1e-4, atol=1e-9)


def column(*arrays):
    return Column.of([np.asarray(array) for array in arrays], has_time=True)


def test_features_are_chosen_by_what_x_is():
    words = FieldSpec("symbols", 50, unit="words")
    letters = FieldSpec("symbols", 30, unit="characters")
    ragged, equal = column([4, 5], [6]), column([4, 5], [6, 7])
    assert [type(one) for one in features_of(words, ragged)] == [NGrams]
    assert [type(one) for one in features_of(letters, equal)] == [NGrams, Positions]
    assert features_of(words, ragged)[0].longest == 2
    assert features_of(letters, ragged)[0].longest == 4
    floats = column(np.zeros((3, 2)), np.zeros((3, 2)))
    assert [type(one) for one in features_of(FieldSpec("values", 2), floats)] == [Moments, Numbers]
    ragged = column(np.zeros((3, 2)), np.zeros((4, 2)))
    assert [type(one) for one in features_of(FieldSpec("values", 2), ragged)] == [Moments, Segments]


def test_n_grams_are_those_within_the_real_steps():
    ids, lengths = np.array([[4, 5, 4, 5], [5, 4, 0, 0]]), np.array([4, 2])
    grams = NGrams(2, 6)
    grams.fit([(ids, lengths)])
    rows = grams.matrix(ids, lengths).toarray()
    assert rows.shape == (2, 4)  # 4, 5, 45, 54; the padding gives none
    alone = grams.matrix(ids[1:, :2], lengths[1:]).toarray()
    assert_close(torch.from_numpy(alone[0]), torch.from_numpy(rows[1]))
    assert_close(np.linalg.norm(rows, axis=1), np.ones(2))
    assert grams.matrix(np.array([[3, 3]]), np.array([2])).nnz == 0  # unseen ones


@pytest.mark.parametrize("features", [Moments(), Segments()])
def test_numbers_of_a_series_do_not_depend_on_padding(features):
    values, lengths = RNG.normal(size=(3, 9, 2)), np.array([9, 4, 1])
    poisoned = values.copy()
    for row, length in enumerate(lengths):
        poisoned[row, length:] = 1e6
    rows = features.numbers(values, lengths)
    np.testing.assert_allclose(features.numbers(poisoned, lengths), rows)
    own = values[1, :4]
    if isinstance(features, Moments):
        wanted = np.concatenate([own.mean(0), own.std(0), own[0], own[3]])
        np.testing.assert_allclose(rows[1], wanted)
    else:
        wanted = np.repeat(own, 2, axis=0)  # eight parts of four steps
        np.testing.assert_allclose(rows[1], wanted.reshape(-1))


def test_a_vector_is_read_in_units_of_its_own(data_of, metrics_of):
    """One number in millions, one in millionths, and the second decides."""
    rng = np.random.default_rng(3)

    def rows(count):
        small = rng.choice([-1e-6, 1e-6], size=count)
        return [
            {"x": [float(rng.normal()) * 1e6, float(one)], "label": str(one > 0)} for one in small
        ]

    splits = {"train": rows(60), "valid": rows(20), "test": rows(40)}
    data = data_of(Category("label"), Vector("x"), **splits)
    assert metrics_of(Classification(y=data.spec.y), data)["linear"]["accuracy"] == 1.0


class OwnLoss(Classification):
    def loss(self, outputs, batch, *, training):
        return super().loss(outputs, batch, training=training) * 2


class OwnMetric(Classification):
    def metric_names(self):
        return [*super().metric_names(), "mine"]


def test_a_task_of_the_users_own_has_baselines_only_where_they_fit(data_of):
    rows = reviews(8, np.random.default_rng(0))
    data = data_of(Category("label"), Text("text"), train=rows, test=rows)
    assert OwnLoss(y=data.spec.y).baselines(data) == ()
    assert len(OwnMetric(y=data.spec.y).baselines(data)) == 2
