"""Class weights: what they are, and that they change the training loss only."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from seqpipe.build import build_data, build_task
from seqpipe.config.compose import compose
from seqpipe.data.base import FieldSpec
from seqpipe.errors import ConfigError
from seqpipe.tasks.class_weights import weights_of
from seqpipe.tasks.classification import Classification
from seqpipe.tasks.ordinal import Ordinal
from seqpipe.tasks.tagging import Tagging

COUNTS = np.array([90, 9, 1])
TASKS = {
    "classification": lambda counts=COUNTS, **options: Classification(
        y=FieldSpec("category", 3, tuple("abc"), counts=counts), **options
    ),
    "tagging": lambda counts=COUNTS, **options: Tagging(
        y=FieldSpec("tags", 3, tuple("abc"), counts=counts), **options
    ),
}


def spec(*counts):
    return FieldSpec("category", len(counts), counts=np.array(counts))


def test_balanced_weights_are_those_of_scikit_learn():
    y = np.repeat([0, 1, 2], COUNTS)
    wanted = compute_class_weight("balanced", classes=np.arange(3), y=y)
    assert weights_of("balanced", spec(*COUNTS)).tolist() == pytest.approx(wanted.tolist())


def test_weights_by_the_square_root_are_milder():
    weights = weights_of("sqrt", spec(*COUNTS))
    assert (weights[2] / weights[0]).item() == pytest.approx(90**0.5)


@pytest.mark.parametrize("how", ["balanced", "sqrt"])
def test_the_mean_weight_over_the_training_split_is_one(how):
    weights = weights_of(how, spec(50, 3, 0, 7))
    assert (weights * torch.tensor([50, 3, 0, 7])).sum().item() == pytest.approx(60)
    assert weights[2] == 0


@pytest.fixture
def case(batch_of):
    """case(name): logits and a batch of the task."""

    def make(name):
        generator = torch.Generator().manual_seed(0)
        if name == "classification":
            return torch.randn(4, 3, generator=generator), batch_of([0, 0, 1, 2])
        logits = torch.randn(2, 3, 3, generator=generator)
        return logits, batch_of([[0, 1, 2], [2, 0, 0]], [3, 1])

    return make


@pytest.mark.parametrize("how", ["balanced", "sqrt"])
@pytest.mark.parametrize("name", TASKS)
def test_the_training_loss_weighs_each_thing_by_its_class_and_no_other_does(name, how, case):
    logits, batch = case(name)
    task, plain = TASKS[name](class_weights=how), TASKS[name]()
    weights = weights_of(how, task.y)
    steps = (
        [(0,), (1,), (2,), (3,)] if name == "classification" else [(0, 0), (0, 1), (0, 2), (1, 0)]
    )
    log_p = logits.log_softmax(-1)
    wanted = -sum(weights[batch.y[i]] * log_p[i][batch.y[i]] for i in steps) / 4
    assert task.loss(logits, batch, training=True).item() == pytest.approx(wanted.item())
    unweighted = plain.loss(logits, batch, training=False)
    assert unweighted.item() != pytest.approx(wanted.item(), rel=1e-2)
    assert task.loss(logits, batch, training=False) == unweighted
    assert plain.loss(logits, batch, training=True) == unweighted


@pytest.mark.parametrize("name", TASKS)
def test_smoothing_and_weights_go_together(name, case):
    logits, batch = case(name)
    equal = TASKS[name](np.array([5, 5, 5]), class_weights="balanced", label_smoothing=0.1)
    plain = TASKS[name](label_smoothing=0.1)
    wanted = plain.loss(logits, batch, training=True).item()
    assert equal.loss(logits, batch, training=True).item() == pytest.approx(wanted)


@pytest.mark.parametrize("name", TASKS)
def test_weights_need_counts(name):
    with pytest.raises(ConfigError) as error:
        TASKS[name](None, class_weights="balanced")
    assert str(error.value) == (
        "task.class_weights=balanced: how often each class occurs in the training split is not "
        "known; allowed: null"
    )
    assert TASKS[name](None).weights is None


def test_ordered_classes_have_weights_too(batch_of):
    def ordinal(counts, **options):
        return Ordinal(y=FieldSpec("ordinal", 3, tuple("abc"), counts=counts), **options)

    outputs = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    batch = batch_of([0, 0, 1, 2])
    task, plain = ordinal(COUNTS, class_weights="balanced"), ordinal(COUNTS)
    losses = [
        plain.loss(outputs[i : i + 1], batch_of(batch.y[i : i + 1]), training=True)
        for i in range(4)
    ]
    weights = weights_of("balanced", task.y)
    wanted = sum(weights[batch.y[i]] * losses[i] for i in range(4)) / 4
    assert task.loss(outputs, batch, training=True).item() == pytest.approx(wanted.item())
    unweighted = plain.loss(outputs, batch, training=True).item()
    assert unweighted != pytest.approx(wanted.item(), rel=1e-2)
    assert task.loss(outputs, batch, training=False).item() == pytest.approx(unweighted)
    with pytest.raises(ConfigError, match=r"task\.class_weights=balanced: how often each class"):
        ordinal(None, class_weights="balanced")


def test_a_run_knows_how_often_each_class_occurs():
    cfg, _ = compose(["data=copy_memory", "data.source.train=50", "task.class_weights=balanced"])
    data = build_data(cfg)
    weights = build_task(cfg, data).weights
    assert (weights * torch.tensor(data.counts("y")["train"])).mean().item() == pytest.approx(
        data.counts("y")["train"].mean()
    )
