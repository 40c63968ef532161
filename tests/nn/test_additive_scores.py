import pytest
import torch
from torch.testing import assert_close

from seqpipe.nn import additive_scores as module
from seqpipe.nn.additive_scores import additive_scores


def example(B, T_y, T_x, Q, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    shapes = (B, T_y, Q), (B, T_x, Q), (Q,)
    return [3 * torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]


def formula(queries, keys, v):
    return torch.tanh(queries.unsqueeze(2) + keys.unsqueeze(1)) @ v


def with_gradients(function, parts, weights):
    parts = [part.detach().clone().requires_grad_() for part in parts]
    scores = function(*parts)
    (scores * weights).sum().backward()
    return scores.detach(), *(part.grad for part in parts)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 5, 7, 4), (2, 1, 9, 17), (4, 6, 1, 3)])
@pytest.mark.parametrize("piece", [1, 100, 2**18])
def test_scores_and_their_gradients_are_those_of_the_formula(shape, piece, monkeypatch):
    monkeypatch.setitem(module._PIECE, "cpu", piece)
    parts, weights = example(*shape), torch.randn(shape[:3], dtype=torch.float64)
    ours = with_gradients(additive_scores, parts, weights)
    for one, other in zip(ours, with_gradients(formula, parts, weights), strict=True):
        assert_close(one, other, rtol=0, atol=1e-12)


def test_gradients_pass_a_numerical_check():
    parts = [part.requires_grad_() for part in example(2, 3, 4, 5)]
    assert torch.autograd.gradcheck(additive_scores, parts)


def test_parts_that_are_not_contiguous_and_a_vector_of_gradients_for_some_only():
    queries, keys, v = example(3, 5, 7, 4)
    queries = queries.transpose(0, 1).contiguous().transpose(0, 1).requires_grad_()
    assert_close(additive_scores(queries, keys, v), formula(queries, keys, v))
    additive_scores(queries, keys, v).sum().backward()
    ours, queries.grad = queries.grad, None
    formula(queries, keys, v).sum().backward()
    assert_close(ours, queries.grad)


@pytest.mark.parametrize("a", [-1e4, -30.0, 0.0, 30.0, 1e4])
def test_scores_of_large_numbers_are_finite_and_flat(a):
    queries = torch.full((1, 1, 1), a, requires_grad=True)
    score = additive_scores(queries, torch.zeros(1, 1, 1), torch.ones(1))
    score.sum().backward()
    assert_close(score, torch.tanh(torch.full((1, 1, 1), a)))
    assert_close(queries.grad, torch.full((1, 1, 1), float(a == 0)))


def test_under_autocast_half_precision_is_computed_in_full():
    parts = example(3, 5, 7, 8, dtype=torch.float32)
    half = [part.bfloat16() for part in parts]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = with_gradients(additive_scores, half, torch.ones(3, 5, 7))
    exact = with_gradients(formula, [part.float() for part in half], torch.ones(3, 5, 7))
    assert ours[0].dtype == torch.float32
    assert ours[1].dtype == torch.bfloat16
    assert_close(ours[0], exact[0])
    assert_close(ours[1].float(), exact[1], rtol=1e-2, atol=1e-2)
