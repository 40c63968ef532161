"""Every cell against the lecture's equations, written out here with W[a, x] as one matrix."""

import pytest
import torch
from torch import Tensor, sigmoid, tanh
from torch.testing import assert_close

from seqpipe.nn.cells import GRU, LSTM, RNN, Cell, PeepholeLSTM, SimplifiedGRU

D, H, B = 3, 4, 2
exactly = {"rtol": 0, "atol": 1e-14}


def lecture_weights(cell: Cell, packing: str) -> dict[str, tuple[Tensor, Tensor]]:
    """W (H, H+D), to be multiplied with the stacked [a, x], and b of each gate."""
    stacked = torch.cat([cell.weight_hidden, cell.weight_input], dim=1)
    assert len(stacked) == H * len(packing)
    return {
        gate: (stacked[k * H : (k + 1) * H], cell.bias[k * H : (k + 1) * H])
        for k, gate in enumerate(packing)
    }


def affine(weights: tuple[Tensor, Tensor], a: Tensor, x: Tensor) -> Tensor:
    W, b = weights
    return torch.stack([W @ torch.cat([a[n], x[n]]) + b for n in range(len(a))])


@pytest.fixture
def x() -> Tensor:
    return torch.randn(B, D)


@pytest.fixture
def a() -> Tensor:
    return torch.randn(B, H)


@pytest.fixture
def c() -> Tensor:
    return torch.randn(B, H)


def test_the_recurrent_weights_of_a_new_rnn_are_orthogonal_times_their_gain():
    cell = RNN(D, H, recurrent_gain=1.5)
    assert_close(torch.linalg.svdvals(cell.weight_hidden), torch.full((H,), 1.5))
    torch.manual_seed(0)
    one = RNN(D, H).weight_hidden
    torch.manual_seed(0)
    assert_close(RNN(D, H, recurrent_gain=0.5).weight_hidden, 0.5 * one)


@pytest.mark.parametrize(("nonlinearity", "g"), [("tanh", tanh), ("relu", torch.relu)])
def test_rnn_follows_the_lecture(randomise, x, a, nonlinearity, g):
    cell = randomise(RNN(D, H, nonlinearity=nonlinearity))
    W = lecture_weights(cell, "a")
    assert_close(cell(x, (a,)), (g(affine(W["a"], a, x)),), **exactly)


def test_simplified_gru_follows_the_lecture(randomise, x, c):
    cell = randomise(SimplifiedGRU(D, H))
    W = lecture_weights(cell, "uc")
    candidate = tanh(affine(W["c"], c, x))
    u = sigmoid(affine(W["u"], c, x))
    assert_close(cell(x, (c,)), (u * candidate + (1 - u) * c,), **exactly)


def test_gru_follows_the_lecture(randomise, x, c):
    cell = randomise(GRU(D, H))
    W = lecture_weights(cell, "ruc")
    r = sigmoid(affine(W["r"], c, x))
    u = sigmoid(affine(W["u"], c, x))
    candidate = tanh(affine(W["c"], r * c, x))
    assert_close(cell(x, (c,)), (u * candidate + (1 - u) * c,), **exactly)


def test_gru_reset_after_multiplies_the_product_and_its_own_bias(randomise, x, c):
    cell = randomise(GRU(D, H, reset_after=True))
    W = lecture_weights(cell, "ruc")
    r = sigmoid(affine(W["r"], c, x))
    u = sigmoid(affine(W["u"], c, x))
    W_c, b_c = W["c"]
    product = c @ W_c[:, :H].T + cell.bias_hidden
    candidate = tanh(x @ W_c[:, H:].T + b_c + r * product)
    assert_close(cell(x, (c,)), (u * candidate + (1 - u) * c,), **exactly)


@pytest.mark.parametrize("output_tanh", [True, False])
def test_lstm_follows_the_lecture(randomise, x, a, c, output_tanh):
    cell = randomise(LSTM(D, H, output_tanh=output_tanh))
    W = lecture_weights(cell, "ufco")  # torch calls them i, f, g, o
    candidate = tanh(affine(W["c"], a, x))
    u, f, o = (sigmoid(affine(W[gate], a, x)) for gate in "ufo")
    c_t = u * candidate + f * c
    a_t = o * (tanh(c_t) if output_tanh else c_t)
    assert_close(cell(x, (a, c)), (a_t, c_t), **exactly)


@pytest.mark.parametrize("output_tanh", [True, False])
@pytest.mark.parametrize("output_peephole", ["previous", "current"])
def test_peephole_lstm_follows_the_lecture(randomise, x, a, c, output_peephole, output_tanh):
    cell = randomise(PeepholeLSTM(D, H, output_peephole=output_peephole, output_tanh=output_tanh))
    W = lecture_weights(cell, "ufco")
    p_u, p_f, p_o = cell.peephole
    candidate = tanh(affine(W["c"], a, x))
    u = sigmoid(affine(W["u"], a, x) + p_u * c)
    f = sigmoid(affine(W["f"], a, x) + p_f * c)
    c_t = u * candidate + f * c
    seen = {"previous": c, "current": c_t}[output_peephole]
    o = sigmoid(affine(W["o"], a, x) + p_o * seen)
    a_t = o * (tanh(c_t) if output_tanh else c_t)
    assert_close(cell(x, (a, c)), (a_t, c_t), **exactly)


def test_the_prepared_step_is_the_step(make_cell, randomise, x, a, c):
    cell = randomise(make_cell(D, H))
    state = (a, c)[: len(cell.state_names)]
    assert_close(cell.prepare()(cell.project(x), state), cell(x, state), rtol=0, atol=0)


def test_the_first_state_is_zero_and_has_every_part(make_cell):
    cell = make_cell(D, H).to(torch.float32)
    state = cell.initial_state(5)
    assert_close(state, tuple(torch.zeros(5, H, dtype=torch.float32) for _ in cell.state_names))


def test_each_gate_starts_glorot_uniform_on_x_and_orthogonal_on_h_with_no_bias(make_cell):
    cell = make_cell(50, 100)
    bound = (6 / (50 + 100)) ** 0.5
    for gate in cell.weight_input.split(100):
        assert 0.98 * bound < gate.abs().max() <= bound
        assert gate.mean().abs() < 0.01
    for gate in cell.weight_hidden.split(100):
        assert_close(gate @ gate.T, torch.eye(100), rtol=0, atol=1e-5)
    if not isinstance(cell, LSTM):
        assert_close(cell.bias, torch.zeros_like(cell.bias))
    if isinstance(cell, PeepholeLSTM):
        assert 0.09 < cell.peephole.abs().max() <= 0.1


@pytest.mark.parametrize("kind", [LSTM, PeepholeLSTM])
def test_forget_bias_starts_in_the_forget_gate_only(kind):
    zeros, ones = torch.zeros(H), torch.ones(H)
    assert_close(kind(D, H).bias.detach(), torch.cat([zeros, ones, zeros, zeros]))
    chosen = kind(D, H, forget_bias=2.5)
    assert_close(chosen.bias.detach(), torch.cat([zeros, 2.5 * ones, zeros, zeros]))
