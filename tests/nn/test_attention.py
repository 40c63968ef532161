import math

import pytest
import torch
from torch.testing import assert_close

from seqpipe.nn.attention import Attention
from seqpipe.nn.masks import length_mask

KINDS = ["dot", "general", "additive"]
B, T_y, T_x, Q = 2, 3, 4, 5
LENGTHS = torch.tensor([2, 4])


def scores_by_hand(attention, kind, query, key):
    if kind == "dot":
        return query @ key
    if kind == "general":
        return query @ attention.map_query.weight.T @ key
    summed = attention.map_query.weight @ query
    summed = summed + attention.map_key.weight @ key + attention.map_key.bias
    return attention.score.weight[0] @ torch.tanh(summed)


@torch.no_grad()
@pytest.mark.parametrize(("kind", "K"), [("dot", Q), ("general", 7), ("additive", 7)])
def test_attention_equals_a_computation_by_hand(randomise, kind, K):
    attention = randomise(Attention(Q, K, kind=kind))
    queries, keys = torch.randn(B, T_y, Q), torch.randn(B, T_x, K)
    context, weights = attention(queries, attention.prepare(keys, length_mask(LENGTHS, T_x)))
    for b, t in torch.cartesian_prod(torch.arange(B), torch.arange(T_y)).tolist():
        real = keys[b, : LENGTHS[b]]
        scores = [math.exp(scores_by_hand(attention, kind, queries[b, t], key)) for key in real]
        alphas = torch.tensor(scores) / sum(scores)
        assert_close(weights[b, t, : len(real)], alphas)
        assert_close(context[b, t], (alphas[:, None] * real).sum(dim=0))


@pytest.mark.parametrize("poison", [1e6, torch.nan])
@pytest.mark.parametrize("kind", KINDS)
def test_padding_gets_no_weight_and_cannot_change_the_context(randomise, kind, poison):
    attention = randomise(Attention(Q, Q, kind=kind))
    queries, keys = torch.randn(1, T_y, Q), torch.randn(1, T_x, Q)
    padded = torch.cat([keys, torch.full((1, 2, Q), poison)], dim=1)
    mask = length_mask(torch.tensor([T_x]), T_x + 2)
    context, weights = attention(queries, attention.prepare(padded, mask))
    alone, _ = attention(queries, attention.prepare(keys, mask[:, :T_x]))
    assert_close(context, alone)
    assert weights[:, :, T_x:].eq(0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_of_attention_gets_a_gradient_and_padding_none(randomise, kind):
    attention = randomise(Attention(Q, Q, kind=kind))
    keys = torch.randn(B, T_x, Q, requires_grad=True)
    mask = length_mask(LENGTHS, T_x)
    context, _ = attention(torch.randn(B, T_y, Q), attention.prepare(keys, mask))
    context.square().sum().backward()
    assert all(parameter.grad.ne(0).any() for parameter in attention.parameters())
    assert keys.grad[~mask].eq(0).all()
    assert keys.grad[mask].ne(0).all()
