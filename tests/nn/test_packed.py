"""A prepared linear layer answers as the plain one, however many rows it gets."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from seqpipe.nn.head import Head, prepared_head
from seqpipe.nn.kernels import products
from seqpipe.nn.packed import packed_linear


@pytest.mark.parametrize("packs", [True, False])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize(("K", "D"), [(1, 1), (7, 5), (100, 33), (64, 128)])
@pytest.mark.parametrize("rows", [1, 2, 5, 64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@torch.no_grad()
def test_it_is_the_linear_layer(monkeypatch, rows, K, D, with_bias, packs, dtype):
    monkeypatch.setattr(products, "MANY_BYTES", 0 if packs else 2**40)
    weight, bias = torch.randn(K, D, dtype=dtype), torch.randn(K, dtype=dtype)
    given = bias if with_bias else None
    tolerance = {torch.float32: 1e-4, torch.float64: 1e-12, torch.bfloat16: 0.3}[dtype]
    for steps in (1, 100):
        layer = packed_linear(weight, given, rows=rows, steps=steps)
        for shape in [(rows, D), (3, rows, D), (1, D)]:
            x = torch.randn(shape, dtype=dtype)
            assert_close(layer(x), F.linear(x, weight, given), rtol=0, atol=tolerance)
        x = torch.randn(D, rows, dtype=dtype).t()  # not contiguous
        assert_close(layer(x), F.linear(x, weight, given), rtol=0, atol=tolerance)


@torch.no_grad()
def test_a_head_with_more_layers_or_its_own_forward_is_called_itself():
    class Doubled(Head):
        def forward(self, x):
            return 2 * super().forward(x)

    replaced = Head(4, 3)
    replaced.output = nn.Linear(4, 3)
    for head in (Head(4, 3, hidden=[5]), Doubled(4, 3), replaced, nn.Sequential(Head(4, 3))):
        assert prepared_head(head, 2, 100) is head
    head, x = Head(4, 3).float(), torch.randn(2, 4, dtype=torch.float32)
    assert_close(prepared_head(head, 2, 100)(x), head(x), rtol=0, atol=1e-5)


@torch.no_grad()
def test_autocast_converts_the_weights_of_the_layer_itself():
    weight, x = torch.randn(6, 4, dtype=torch.float32), torch.randn(1, 4, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for rows in (1, 5):
            layer = packed_linear(weight, None, rows=rows, steps=100)
            assert layer(x).equal(F.linear(x, weight))
