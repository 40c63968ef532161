"""The cross entropy that overwrites its logits is the plain one, and is used only where it may."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from seqpipe.nn import cross_entropy
from seqpipe.nn.cross_entropy import (
    cross_entropies,
    is_measured_only,
    may_be_overwritten,
    overwriting_cross_entropy,
)
from seqpipe.nn.head import Head


@pytest.fixture(autouse=True)
def _three_rows_at_once(monkeypatch):
    monkeypatch.setattr(cross_entropy, "LARGE", 1)
    monkeypatch.setattr(cross_entropy, "CACHED", 23)  # of 7 classes


def plain(logits, classes, weights, label_smoothing=0.0):
    nats = nn.functional.cross_entropy(
        logits, classes, reduction="none", label_smoothing=label_smoothing
    )
    return (nats * weights).sum()


def both(logits, classes, weights, **options):
    """Loss and gradient of the plain formula and of the other."""
    found = []
    for loss in (plain, overwriting_cross_entropy):
        start = logits.clone().requires_grad_()
        value = loss(start.clone(), classes, weights, **options)
        found.append((value.detach(), torch.autograd.grad(3.0 * value, start)[0]))
    return found


@pytest.mark.parametrize("label_smoothing", [0.0, 0.3])
@pytest.mark.parametrize("N", [1, 3, 11])
def test_loss_and_gradient_are_those_of_the_plain_formula(N, label_smoothing):
    logits, classes = 3.0 * torch.randn(N, 7), torch.randint(0, 7, (N,))
    wanted, found = both(logits, classes, torch.rand(N), label_smoothing=label_smoothing)
    assert_close(found, wanted, rtol=1e-12, atol=1e-14)


def test_the_gradient_is_the_slope_of_the_loss():
    """Not by gradcheck, which goes back twice."""
    logits, weights, step = torch.randn(5, 7, requires_grad=True), torch.rand(5), 1e-6
    classes = torch.randint(0, 7, (5,))

    def loss(logits):
        return overwriting_cross_entropy(logits.clone(), classes, weights, label_smoothing=0.1)

    (gradient,) = torch.autograd.grad(loss(logits), logits)
    for place in range(logits.numel()):
        moved = torch.zeros(35).index_fill_(0, torch.tensor(place), step).view(5, 7)
        with torch.no_grad():
            slope = (loss(logits + moved) - loss(logits - moved)) / (2 * step)
        assert slope.item() == pytest.approx(gradient.view(-1)[place].item(), abs=1e-8)


def test_logits_far_apart_neither_overflow_nor_underflow():
    logits = torch.tensor([[1e4, 0.0, -1e4], [-1e4, 0.0, 1e4], [-torch.inf, 0.0, 1.0]])
    classes = torch.tensor([2, 0, 1])
    wanted, found = both(logits.float(), classes, torch.ones(3, dtype=torch.float32))
    assert wanted[0] > 3e4
    assert_close(found, wanted)


def test_weight_zero_is_padding_and_may_hold_anything():
    logits, classes, weights = torch.randn(5, 7), torch.tensor([1, 0, 4, 99, 6]), torch.rand(5)
    weights[3] = 0.0
    real = torch.tensor([0, 1, 2, 4])
    wanted, _ = both(logits[real], classes[real], weights[real])
    logits[3] = torch.nan
    start = logits.clone().requires_grad_()
    value = overwriting_cross_entropy(start.clone(), classes, weights)
    gradient = torch.autograd.grad(3.0 * value, start)[0]
    assert_close((value.detach(), gradient[real]), wanted)
    assert gradient[3].eq(0.0).all()


def test_a_logit_that_is_not_a_number_reaches_the_loss():
    logits = torch.randn(4, 7)
    logits[2, 5] = torch.nan
    assert overwriting_cross_entropy(logits, torch.zeros(4).long(), torch.ones(4)).isnan()


def test_half_precision_is_computed_in_float32_and_rounded_once():
    logits, classes = 4.0 * torch.randn(11, 7), torch.randint(0, 7, (11,))
    weights = torch.full((11,), 1 / 11, dtype=torch.float32)
    logits = logits.bfloat16()
    start = logits.float().requires_grad_()
    wanted = plain(start, classes, weights)
    gradient = torch.autograd.grad(wanted, start)[0]
    own = logits.clone().requires_grad_()
    found = overwriting_cross_entropy(own.clone(), classes, weights)
    assert found.dtype == torch.float32
    assert_close(found, wanted)
    assert torch.equal(torch.autograd.grad(found, own)[0], gradient.bfloat16())


def test_the_gradient_stands_in_the_place_of_the_logits():
    logits = Head(3, 7)(torch.randn(2, 4, 3))
    loss = overwriting_cross_entropy(logits.flatten(0, 1), torch.zeros(8).long(), torch.ones(8))
    loss.backward()
    wanted = torch.zeros(8, 7).double()
    assert_close(logits.detach().sum(-1), wanted.sum(-1).view(2, 4))  # as every gradient's


def test_a_second_backward_pass_and_a_gradient_of_the_gradient_are_refused():
    logits = torch.randn(4, 7, requires_grad=True)
    loss = overwriting_cross_entropy(logits.clone(), torch.zeros(4).long(), torch.ones(4))
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="have one gradient"):
        loss.backward()
    loss = overwriting_cross_entropy(logits.clone(), torch.zeros(4).long(), torch.ones(4))
    with pytest.raises(RuntimeError, match="have one gradient"):
        torch.autograd.grad(loss, logits, create_graph=True)


@pytest.mark.parametrize("rows", [(4, 3), (2, 4, 3)])
@pytest.mark.parametrize("hidden", [[], [5]])
def test_logits_of_a_head_may_be_overwritten(rows, hidden):
    x = torch.randn(rows)
    assert may_be_overwritten(Head(3, 7, hidden=hidden)(x))
    assert may_be_overwritten(Head(3, 7, hidden=hidden)(x.transpose(0, -2)))
    assert may_be_overwritten(torch.stack([nn.Linear(3, 7)(x), nn.Linear(3, 7)(x)]))


@pytest.mark.parametrize("last", [torch.relu, torch.tanh, torch.exp, torch.sigmoid])
def test_outputs_that_their_own_gradient_needs_may_not(last):
    outputs = nn.Linear(3, 7)(torch.randn(2, 4, 3))
    assert not may_be_overwritten(last(outputs))
    assert not may_be_overwritten(last(outputs).view(8, 7))


def test_neither_may_those_without_a_gradient_the_few_and_those_of_float16(monkeypatch):
    outputs = nn.Linear(3, 7)(torch.randn(2, 4, 3))
    assert not may_be_overwritten(outputs.detach())
    half = nn.Linear(3, 7).half()(torch.randn(4, 3).half())
    assert not may_be_overwritten(half)
    monkeypatch.setattr(cross_entropy, "LARGE", outputs.numel() + 1)
    assert not may_be_overwritten(outputs)


def test_cross_entropies_are_those_of_the_plain_formula():
    logits, classes = torch.randn(11, 7), torch.randint(0, 7, (11,))
    wanted = nn.functional.cross_entropy(logits, classes, reduction="none")
    assert_close(cross_entropies(logits, classes), wanted)
    halves = cross_entropies(logits.bfloat16(), classes)
    assert halves.dtype == torch.float32
    assert_close(halves, wanted.float(), rtol=2e-2, atol=2e-2)


def test_logits_are_only_measured_where_no_gradient_is_asked_for():
    logits = torch.randn(2, 7, requires_grad=True)
    assert not is_measured_only(logits)
    assert is_measured_only(logits.detach())
    with torch.no_grad():
        assert is_measured_only(logits)
