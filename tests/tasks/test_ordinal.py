"""Ordered classes: probabilities from cumulative logits, and metrics that see the order."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics
from torch.testing import assert_close

from seqpipe.data.base import FieldSpec
from seqpipe.errors import ConfigError
from seqpipe.tasks.ordinal import Ordinal, cumulative_logits, log_probabilities

NAMES = ("bad", "poor", "ok", "good", "best")
OUTPUTS = st.lists(st.floats(-30, 30), min_size=1, max_size=6)


def task_of(size=5, **options):
    return Ordinal(y=FieldSpec("ordinal", size, NAMES[:size]), **options)


@given(OUTPUTS)
def test_the_probabilities_of_all_classes_sum_up_to_1_and_the_thresholds_are_in_order(outputs):
    outputs = torch.tensor([outputs])
    log_p = log_probabilities(outputs)
    assert log_p.shape == (1, outputs.shape[1] + 1)
    assert_close(log_p.exp().sum(), torch.tensor(1.0), rtol=0, atol=1e-5)
    assert torch.isfinite(log_p).all()
    assert (cumulative_logits(outputs).diff(dim=-1) <= 0).all()


@given(OUTPUTS)
def test_probabilities_are_the_differences_of_the_cumulative_ones(outputs):
    outputs = torch.tensor([outputs], dtype=torch.float64)
    above = cumulative_logits(outputs.float()).double().sigmoid()
    one, none = torch.ones(1, 1).double(), torch.zeros(1, 1).double()
    wanted = torch.cat([one, above], 1) - torch.cat([above, none], 1)
    assert_close(log_probabilities(outputs).exp().double(), wanted, rtol=1e-4, atol=1e-6)


def test_an_answer_of_three_classes_by_hand(batch_of):
    # logit P(y > 0) = 0: one half; P(y > 1) lies softplus(ln(e^2 - 1)) = 2 below it
    outputs = torch.tensor([[0.0, math.log(math.e**2 - 1)]])
    last = 1 / (1 + math.e**2)
    wanted = [0.5, 0.5 - last, last]
    assert log_probabilities(outputs).exp()[0].tolist() == pytest.approx(wanted)
    for y, p in enumerate(wanted):
        loss = task_of(3).loss(outputs, batch_of([y]), training=False)
        assert loss.item() == pytest.approx(-math.log(p))
    batch = batch_of([0, 2])
    loss = task_of(3).loss(outputs.expand(2, 2), batch, training=True)
    assert loss.item() == pytest.approx(-(math.log(wanted[0]) + math.log(wanted[2])) / 2)
    assert task_of(3).units(batch) == 2


def test_far_from_the_truth_the_loss_is_large_and_finite_and_so_is_its_gradient(batch_of):
    outputs = torch.tensor([[1000.0, -1000.0]], requires_grad=True)
    loss = task_of(3).loss(outputs, batch_of([0]), training=True)
    loss.backward()
    assert loss.item() == pytest.approx(1000)
    assert torch.isfinite(outputs.grad).all()


def expected_distance(p, answer):
    return sum(float(q) * abs(k - answer) for k, q in enumerate(p))


def test_the_median_has_the_smallest_expected_distance_and_the_mode_the_highest_probability():
    outputs = torch.randn(200, 4, generator=torch.Generator().manual_seed(0)) * 3
    p = log_probabilities(outputs).exp()
    median = task_of().predict(None, outputs, None)
    mode = task_of(predict="mode").predict(None, outputs, None)
    for row, answer in zip(p, median.tolist(), strict=True):
        distances = [expected_distance(row, k) for k in range(5)]
        assert distances[answer] == pytest.approx(min(distances), abs=1e-5)
    assert torch.equal(mode, p.argmax(dim=-1))
    assert not torch.equal(mode, median)


def answers(classes, size=5):
    """Outputs whose median and mode are `classes`."""
    outputs = torch.full((len(classes), size - 1), -20.0)
    for row, k in zip(outputs, classes, strict=True):
        row[0] = 10.0 if k else -10.0
        if 0 < k < size - 1:
            row[k] = 20.0
    return outputs


@pytest.mark.parametrize("predict", ["median", "mode"])
def test_metrics_counted_by_hand(batch_of, predict):
    task = task_of(3, predict=predict)
    truth, guess = [0, 0, 1, 2, 2, 2], [0, 2, 1, 2, 1, 2]
    predictions = task.predict(None, answers(guess, 3), None)
    assert predictions.tolist() == guess
    metrics = task.metrics("test")
    metrics.update(*task.pairs(predictions, batch_of(truth)))
    computed = metrics.compute()
    scalars = {name: value.item() for name, value in task.scalars(computed).items()}
    scalars = {n: v for n, v in scalars.items() if n in ("accuracy", "mae", "kappa") or "f1" in n}
    squares = sum((t - g) ** 2 for t, g in zip(truth, guess, strict=True))
    chance = sum((t - g) ** 2 for t, g in itertools.product(truth, guess)) / 6
    f1 = {"f1/bad": 2 / 3, "f1/poor": 2 / 3, "f1/ok": 2 * (2 / 3) ** 2 / (4 / 3)}
    assert scalars == pytest.approx(
        {
            "accuracy": 4 / 6,
            "mae": 3 / 6,
            "kappa": 1 - squares / chance,
            "macro_f1": sum(f1.values()) / 3,
            **f1,
        }
    )
    assert computed["confusion"].tolist() == [[1, 0, 1], [0, 1, 0], [0, 1, 2]]


def test_metrics_agree_with_scikit_learn(batch_of):
    rng = np.random.default_rng(1)
    truth, guess = rng.integers(0, 5, 300), rng.integers(0, 5, 300)
    task = task_of()
    metrics = task.metrics("val")
    for part in (slice(0, 17), slice(17, 300)):
        metrics.update(*task.pairs(torch.tensor(guess[part]), batch_of(truth[part])))
    computed = metrics.compute()
    kappa = sklearn_metrics.cohen_kappa_score(truth, guess, weights="quadratic")
    assert computed["kappa"].item() == pytest.approx(kappa, abs=1e-5)
    assert computed["mae"].item() == pytest.approx(np.abs(truth - guess).mean())
    computed |= {"loss": computed["mae"]}
    assert set(computed) == set(task.metric_names())


def test_where_all_are_of_one_class_kappa_is_0(batch_of):
    task = task_of()
    metrics = task.metrics("val")
    metrics.update(torch.tensor([1, 1]), torch.tensor([1, 1]))
    assert metrics.compute()["kappa"] == 0


def test_a_model_writes_a_number_for_each_border():
    assert task_of(5).output_size == 4
    assert task_of(2).output_size == 1
    with pytest.raises(ConfigError) as error:
        task_of(1)
    assert str(error.value) == "task=ordinal: y has 1 class; allowed: two or more"


def test_what_is_shown_to_people_are_classes(batch_of):
    shown = task_of().decoded(torch.tensor([1, 4]), batch_of([2, 4]))
    assert [(int(p), int(t)) for p, t in shown] == [(1, 2), (4, 4)]
