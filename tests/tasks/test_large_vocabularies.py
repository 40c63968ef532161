"""The loss of a large vocabulary, which overwrites the logits, is the plain one."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from seqpipe.data.base import FieldSpec
from seqpipe.nn import cross_entropy
from seqpipe.nn.head import Head
from seqpipe.tasks.base import Task
from seqpipe.tasks.language_modeling import LanguageModeling
from seqpipe.tasks.step_task import StepTask
from seqpipe.tasks.tagging import Tagging
from seqpipe.tasks.transduction import Transduction

K = 9
SYMBOLS = FieldSpec("symbols", K, unit="words")
TASKS = {
    "language_modeling": partial(LanguageModeling, y=SYMBOLS),
    "smoothing": partial(LanguageModeling, y=SYMBOLS, label_smoothing=0.2),
    "transduction": partial(Transduction, y=SYMBOLS, longest_y=6),
}
NEVER = 10**12


@pytest.fixture
def size(monkeypatch):
    """size(n): logits are many from n numbers; five rows are worked on at once."""
    monkeypatch.setattr(cross_entropy, "CACHED", 5 * K)
    return partial(monkeypatch.setattr, cross_entropy, "LARGE")


@pytest.fixture
def case(batch_of):
    """A head, what it reads, and a batch with padding that holds a huge number."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(0, K, (4, 6), generator=generator)
    x = torch.randn(4, 6, 3, generator=generator)
    x[3, 2:] = 1e6
    torch.manual_seed(0)
    return Head(3, K), x, batch_of(y, [6, 1, 4, 2])


def trained(task, head, x, batch):
    """The training loss, and the gradients of the head and of what it reads."""
    x = x.clone().requires_grad_()
    loss = task.training_loss(head(x), batch)
    return loss.detach(), torch.autograd.grad(loss, [x, *head.parameters()])


@pytest.mark.parametrize("lengths", [[6, 1, 4, 2], [6, 6, 6, 6]])
@pytest.mark.parametrize("name", TASKS)
def test_a_large_vocabulary_changes_no_number(name, lengths, size, case):
    head, x, batch = case
    batch.y_lengths = torch.tensor(lengths)
    x = x if min(lengths) < 6 else x.clamp(-3, 3)
    task = TASKS[name]()
    size(NEVER)
    wanted, evaluated = trained(task, head, x, batch), task.losses(head(x).detach(), batch)
    whole = task.loss(head(x).detach(), batch, training=False)
    assert wanted[0] == task.loss(head(x), batch, training=True)
    size(1)
    assert cross_entropy.may_be_overwritten(head(x))
    assert_close(trained(task, head, x, batch), wanted)
    assert_close(task.losses(head(x).detach(), batch), evaluated)
    assert_close(task.loss(head(x).detach(), batch, training=False), whole)


def test_weights_of_classes_change_no_more_than_before(size, case):
    head, x, batch = case
    task = TASKS["language_modeling"]()
    task.weights = torch.arange(K) / 4.0  # one of them is 0
    size(NEVER)
    wanted = trained(task, head, x, batch)
    size(1)
    assert_close(trained(task, head, x, batch), wanted)


def test_autocast_changes_no_more_than_the_rounding_of_the_gradient(size, case):
    head, x, batch = case
    task = TASKS["language_modeling"]()
    found = []
    for large in (NEVER, 1):
        size(large)
        with torch.autocast("cpu", torch.bfloat16):
            assert head(x).dtype == torch.bfloat16
            found.append(trained(task, head, x, batch))
    assert found[1][0].dtype == torch.float32
    assert_close(found[1], found[0], rtol=1e-2, atol=1e-3)


def test_only_the_training_loss_overwrites(size, case):
    head, x, batch = case
    task, outputs = TASKS["language_modeling"](), head(x)
    size(1)
    before = outputs.detach().clone()
    task.loss(outputs, batch, training=True).backward()
    task.loss(outputs.detach(), batch, training=False)
    task.losses(outputs.detach(), batch)
    assert torch.equal(outputs, before)
    task.training_loss(outputs, batch)
    assert not torch.equal(outputs, before)


def test_a_task_with_a_loss_of_its_own_is_trained_on_it(size, case):
    """It may read the outputs as it likes, and the loss of the base besides."""

    class Bounded(LanguageModeling):
        def loss(self, outputs, batch, *, training):
            return super().loss(outputs, batch, training=training) + outputs[0].square().mean()

    class Mixin:
        def loss(self, outputs, batch, *, training):
            return outputs[0].square().mean()

    class Mixed(Mixin, LanguageModeling):
        pass

    head, x, batch = case
    size(1)
    for kind in (Bounded, Mixed):
        task, outputs = kind(y=SYMBOLS), head(x)
        wanted = task.loss(outputs, batch, training=True)
        assert task.training_loss(outputs, batch) == wanted
        assert kind.training_loss is Task.training_loss
    assert Tagging.training_loss is Task.training_loss  # outputs of a crf are no logits
    assert LanguageModeling.training_loss is Transduction.training_loss is StepTask.training_loss


def test_a_model_that_needs_its_outputs_keeps_them(size, case):
    head, x, batch = case
    size(1)
    task, model = TASKS["language_modeling"](), nn.Sequential(head, nn.Tanh())
    loss = task.training_loss(model(x), batch)
    assert loss == task.loss(model(x), batch, training=True)
    loss.backward()


def test_counts_of_classes_do_not_change_what_is_evaluated(size, case):
    """Losses of evaluation ignore weights, by rows as well."""
    head, x, batch = case
    y = FieldSpec("tags", K, tuple("abcdefghi"), counts=np.arange(1, K + 1))
    size(1)
    outputs = head(x).detach()
    weighted, plain = Tagging(y=y, class_weights="balanced"), Tagging(y=y)
    assert_close(
        weighted.loss(outputs, batch, training=False), plain.loss(outputs, batch, training=False)
    )
