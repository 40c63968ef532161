"""Activation and temporal activation penalties, against their formulas written out."""

import copy
import pickle

import pytest
import torch
from torch.testing import assert_close

from seqpipe.nn.cells import GRU, LSTM
from seqpipe.nn.recurrent import RecurrentStack

D, H, B, T = 3, 6, 4, 6
LENGTHS = torch.tensor([6, 2, 1, 5])
ALPHA, BETA = 2.0, 0.7
exactly = {"rtol": 0, "atol": 1e-12}


def stack_of(alpha=ALPHA, beta=BETA, depth=2, **options):
    penalties = {"activation_penalty": alpha, "temporal_activation_penalty": beta}
    return RecurrentStack(
        D, cell=options.pop("cell", LSTM), hidden_size=H, depth=depth, **penalties, **options
    )


def by_hand(plain, dropped, lengths, alpha=ALPHA, beta=BETA):
    """Sequence by sequence, over its own steps only."""
    found = []
    for h, m, n in zip(plain, dropped, lengths.tolist(), strict=True):
        size = m[:n].square().sum() / (n * h.shape[1])
        change = sum((h[t] - h[t - 1]).square().sum() for t in range(1, n))
        found.append(alpha * size + beta * change / (max(1, n - 1) * h.shape[1]))
    return torch.stack(found)


@pytest.mark.parametrize(("alpha", "beta"), [(ALPHA, 0.0), (0.0, BETA), (ALPHA, BETA)])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_it_is_of_dropped_outputs_and_of_changes_before_dropout(alpha, beta, bidirectional):
    stack = stack_of(alpha, beta, bidirectional=bidirectional, dropout=0.0, output_dropout=0.4)
    x = torch.randn(B, T, D)
    plain, _ = copy.deepcopy(stack).eval()(x, LENGTHS)
    dropped, _ = stack(x, LENGTHS)
    found = stack.penalty.take(None)
    assert_close(found, by_hand(plain, dropped, LENGTHS, alpha, beta), **exactly)
    assert found.min() > 0 or alpha == 0
    slopes = torch.autograd.grad(found.sum(), list(stack.parameters()), retain_graph=True)
    assert any(slope.ne(0).any() for slope in slopes)


def test_of_whole_lanes_their_mean_is_that_of_the_papers_code():
    stack = stack_of(dropout=0.3)
    x = torch.randn(B, T, D)
    top = []
    stack.layers[1]["forwards"].register_forward_hook(lambda *a: top.append(a[2][0]))
    dropped, _ = stack(x)
    theirs = ALPHA * dropped.pow(2).mean() + BETA * (top[0][:, 1:] - top[0][:, :-1]).pow(2).mean()
    assert_close(stack.penalty.take(None).mean(), theirs, **exactly)


@pytest.mark.parametrize("poison", [0.0, 1e6, torch.nan])
def test_padding_and_company_change_no_penalty(poison):
    stack = stack_of(dropout=0.0)
    x = torch.randn(B, T, D)
    padding = (torch.arange(T) >= LENGTHS[:, None])[..., None]
    stack(x.masked_fill(padding, poison), LENGTHS)
    together = stack.penalty.take(None)
    for b, n in enumerate(LENGTHS.tolist()):
        stack(x[b : b + 1, :n])
        assert_close(stack.penalty.take(None)[0], together[b], **exactly)


def test_steps_of_a_decoder_have_the_penalty_of_the_whole():
    stack = stack_of(dropout=0.3, locked_dropout=True, cell=GRU)
    x = torch.randn(B, T, D)
    torch.manual_seed(1)
    stack(x, LENGTHS)
    wanted = stack.penalty.take(None)
    torch.manual_seed(1)
    for _ in range(2):  # the first of them nobody takes
        step, state = stack.steps(B), stack.initial_state(B)
    for t in range(T):
        _, state = step(x[:, t], state)
    assert_close(stack.penalty.take(LENGTHS), wanted, **exactly)


def test_it_is_taken_once_and_only_of_training():
    stack, x = stack_of(), torch.randn(B, T, D)
    stack(x)
    assert stack.penalty.take(None) is not None
    assert stack.penalty.take(None) is None
    stack.eval()(x)
    stack.step(x[:, 0], stack.initial_state(B))
    assert stack.penalty.take(LENGTHS) is None


def test_a_copy_holds_no_outputs_and_penalises_alike():
    stack, x = stack_of(dropout=0.0), torch.randn(B, T, D)
    stack(x)
    for other in (copy.deepcopy(stack), pickle.loads(pickle.dumps(stack))):
        assert other.penalty.take(None) is None
        other(x)
        stack(x)
        assert_close(other.penalty.take(None), stack.penalty.take(None), **exactly)


def test_off_there_is_none_and_the_outputs_are_the_same():
    plain, penalised = RecurrentStack(D, cell=LSTM, hidden_size=H, depth=2), stack_of()
    assert plain.penalty is None
    penalised.load_state_dict(plain.state_dict())
    x = torch.randn(B, T, D)
    assert_close(penalised(x, LENGTHS), plain(x, LENGTHS), rtol=0, atol=0)
