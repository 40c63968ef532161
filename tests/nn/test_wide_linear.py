"""The linear layer of a large vocabulary is `nn.Linear`, in values, gradients and parameters."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from seqpipe.nn import wide_linear
from seqpipe.nn.kernels import onednn_internals as onednn
from seqpipe.nn.kernels import products
from seqpipe.nn.wide_linear import WideLinear


@pytest.fixture
def wide(monkeypatch):
    monkeypatch.setattr(wide_linear, "MANY", 1)
    monkeypatch.setattr(products, "MANY_ROWS", 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("D", "K"), [(3, 7), (7, 3), (1, 1)])
@pytest.mark.parametrize("shape", [(5,), (2, 3), (1,), ()])
def test_it_equals_a_plain_layer(wide, gradients, dtype, bias, D, K, shape):
    layer, plain = (kind(D, K, bias=bias).to(dtype) for kind in (WideLinear, nn.Linear))
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(*shape, 2 * D, dtype=dtype).requires_grad_()
    seen = x[..., ::2]  # not contiguous
    y, wanted = layer(seen), plain(seen)
    close = {"rtol": 0, "atol": 1e-5 if dtype == torch.float32 else 1e-13}
    assert "_Product" in str(y.grad_fn.next_functions[0][0])  # below the view
    assert_close(y, wanted, **close)
    inputs = [[x, *each.parameters()] for each in (layer, plain)]
    assert_close(gradients([y], inputs[0]), gradients([wanted], inputs[1]), **close)


def test_a_frozen_weight_and_an_input_without_gradient_get_none(wide):
    layer = WideLinear(3, 4)
    layer.weight.requires_grad_(False)
    layer(torch.randn(5, 3)).sum().backward()
    assert layer.weight.grad is None
    assert_close(layer.bias.grad, torch.full((4,), 5.0))


def test_autocast_and_small_products_are_left_to_torch(monkeypatch):
    layer = WideLinear(3, 4).float()
    x = torch.randn(5, 3, dtype=torch.float32)
    assert "Addmm" in str(layer(x).grad_fn)
    monkeypatch.setattr(wide_linear, "MANY", 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16


def test_torch_has_the_operators_of_onednn():
    assert onednn.multiplies(torch.float32) == torch.backends.mkldnn.is_available()


@pytest.mark.parametrize("error", [AttributeError, RuntimeError, TypeError])
def test_without_the_operators_of_onednn_products_are_those_of_torch(wide, monkeypatch, error):
    def changed():
        raise error("another version of torch")

    onednn.multiplies.cache_clear()
    monkeypatch.setattr(onednn, "_operators", changed)
    monkeypatch.setattr(products, "MANY_BYTES", 1)
    x, w = torch.randn(5, 3, dtype=torch.float32), torch.randn(4, 3, dtype=torch.float32)
    close = {"rtol": 0, "atol": 1e-5}
    assert_close(products.linear(x, w), x @ w.t(), **close)
    assert_close(products.outer(x, x[:, :2].contiguous()), x.t() @ x[:, :2], **close)
    assert_close(products.Weight(w, 5).times(x), x @ w.t(), **close)
    onednn.multiplies.cache_clear()
