"""The loss of a CRF, however its potentials lie in memory, and in mixed precision."""

import pytest
import torch
from torch.testing import assert_close

from seqpipe.nn.crf import marginals, step_nats

LENGTHS, K = torch.tensor([12, 1, 7]), 9
B, T = len(LENGTHS), int(LENGTHS.max())


def batch():
    """Potentials whose first step has rows alike, (B, T, K, K), and tags, (B, T)."""
    generator = torch.Generator().manual_seed(0)
    potentials = torch.randn(B, T, K, K, generator=generator, dtype=torch.float32)
    potentials[:, 0] = potentials[:, 0, :1].clone()
    return potentials, torch.randint(K, (B, T), generator=generator)


def nats_and_gradient(potentials, y, *, half=None):
    leaf = potentials.detach().requires_grad_()
    counted = torch.linspace(0.5, 2.0, B * T, dtype=torch.float32).view(B, T)
    with torch.autocast("cpu", half, enabled=half is not None):
        nats = step_nats(leaf, LENGTHS, y)
        (nats * counted).sum().backward()  # which autocast reaches too, where a user calls it so
    return nats.detach(), leaf.grad


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_autocast_rounds_no_product_of_the_loss(half):
    potentials, y = batch()
    assert_close(nats_and_gradient(potentials, y, half=half), nats_and_gradient(potentials, y))


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_autocast_rounds_no_product_of_the_marginals(half):
    potentials, _ = batch()
    with torch.autocast("cpu", half):
        found = marginals(potentials, LENGTHS)
    assert found.dtype is torch.float32
    assert_close(found, marginals(potentials, LENGTHS))


@pytest.mark.parametrize("axes", [(1, 0, 2, 3), (0, 1, 3, 2), (0, 2, 3, 1), (3, 2, 1, 0)])
def test_potentials_may_lie_in_memory_in_any_order(axes):
    potentials, y = batch()
    back = [axes.index(axis) for axis in range(4)]
    elsewhere = potentials.permute(axes).contiguous().permute(back)
    assert not elsewhere.is_contiguous()
    assert_close(nats_and_gradient(elsewhere, y), nats_and_gradient(potentials, y))
