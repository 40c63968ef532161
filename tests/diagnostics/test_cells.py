"""What is inside the cells, against the equations."""

import math

import numpy as np
import pytest
import torch

from seqpipe.diagnostics.cell_stats import histogram, spectral_radius, stats_of
from seqpipe.diagnostics.stepwise import LayerName, Recorded, RecordingLoop
from seqpipe.nn.cells import GRU, LSTM, RNN, PeepholeLSTM, SimplifiedGRU
from seqpipe.nn.recurrent import RecurrentLayer

LENGTHS = torch.tensor([5, 2])


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


def recorded(cell):
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.copy_(torch.randn_like(parameter))
    layer = RecurrentLayer(cell)
    layer.kernel = loop = RecordingLoop()
    x = torch.randn(2, 5, 3)
    with torch.enable_grad():  # as the probe runs it
        layer(x, LENGTHS)
    return Recorded(LayerName("encoder", 0, "forwards"), cell, loop, False), x


def real_steps(values):
    """(2, T, H), padding left out."""
    return torch.cat([values[0], values[1, :2]])


def test_the_gates_of_an_lstm_are_those_of_its_equations_over_real_steps():
    cell = LSTM(3, 4)
    found, x = recorded(cell)
    seen = stats_of(found)
    rows = {gate: slice(4 * k, 4 * k + 4) for k, gate in enumerate("ifgo")}
    states = [found.loop.before, *found.loop.states[:-1]]
    h = torch.stack([state[0] for state in states], dim=1)
    for gate in "ifo":
        weights = cell.weight_input[rows[gate]], cell.weight_hidden[rows[gate]]
        values = (x @ weights[0].T + h @ weights[1].T + cell.bias[rows[gate]]).sigmoid()
        values = real_steps(values)
        stuck = ((values < 0.05) | (values > 0.95)).float().mean()
        assert seen.saturated[gate] == pytest.approx(float(stuck))
        assert seen.spread[gate].counts.sum() == 7 * 4  # real steps times units
        if gate == "f":
            memory = float((-1 / values.mean(dim=0).log()).median())
            assert seen.memory == pytest.approx(memory, rel=1e-5)
    titles = {name: spread.title for name, spread in seen.spread.items()}
    gates = {"i": "i, input gate", "f": "f, forget gate", "o": "o, output gate"}
    assert titles == {**gates, "h": "h_t", "c": "c_t"}


def test_what_a_peephole_cell_lets_through_is_what_makes_its_next_state():
    """c_t = f c_{t-1} + i g: with g of the equations, the gates must give the recorded c_t."""
    for which in ("previous", "current"):
        cell = PeepholeLSTM(3, 4, output_peephole=which)
        found, _ = recorded(cell)
        loop = found.loop
        before = (loop.before, *loop.states[:-1])
        for t, (h, c) in enumerate(before):
            gates = cell.gates(loop.projected[:, t], (h, c))
            g = (loop.projected[:, t] + h @ cell.weight_hidden.T)[:, 8:12].tanh()
            c_t = gates["f"] * c + gates["i"] * g
            torch.testing.assert_close(c_t, loop.states[t][1])
            torch.testing.assert_close(gates["o"] * c_t.tanh(), loop.states[t][0])


@pytest.mark.parametrize("cell", [SimplifiedGRU(3, 4), GRU(3, 4), GRU(3, 4, reset_after=True)])
def test_a_gru_keeps_what_its_update_gate_does_not_let_in(cell):
    found, _ = recorded(cell)
    gates = cell.gates(found.loop.projected[:, 0], found.loop.before)
    torch.testing.assert_close(cell.kept(gates), 1 - gates["u"])
    candidate = found.loop.states[0][0] / gates["u"]  # c_1 = u c~ + (1 - u) 0
    assert (candidate.abs() <= 1.0 + 1e-5).all()


def test_a_cell_without_gates_has_no_memory_to_tell():
    found, _ = recorded(RNN(3, 4))
    seen = stats_of(found)
    assert (seen.memory, seen.saturated) == (None, {})
    assert set(seen.scalars()) == {"spectral_radius"}


def test_a_gate_that_stays_open_remembers_for_ever_as_far_as_can_be_told():
    cell = LSTM(3, 4, forget_bias=0.0)
    found, x = recorded(cell)
    with torch.no_grad():
        cell.bias[4:8] = 1e4
    found.loop.projected = cell.project(x)
    assert stats_of(found).memory == pytest.approx(1e6, rel=1e-3)
    with torch.no_grad():
        cell.bias[4:8] = 0.0
        cell.weight_input[4:8] = 0.0
        cell.weight_hidden[4:8] = 0.0
    found.loop.projected = cell.project(x)
    assert stats_of(found).memory == pytest.approx(1 / math.log(2), rel=1e-4)


def test_the_spectral_radius_is_that_of_the_new_content():
    cell = LSTM(3, 2)
    with torch.no_grad():
        cell.weight_hidden.fill_(7.0)
        cell.weight_hidden[4:6] = torch.tensor([[0.0, -2.0], [2.0, 0.0]])  # eigenvalues +-2i
    assert spectral_radius(cell) == pytest.approx(2.0)
    gru = GRU(3, 2)
    with torch.no_grad():
        gru.weight_hidden[4:6] = 3.0 * torch.eye(2)
    assert spectral_radius(gru) == pytest.approx(3.0)


def test_states_that_are_no_numbers_are_left_out_of_the_picture():
    found, _ = recorded(RNN(3, 4, nonlinearity="relu"))
    found.loop.states[1][0].data[0, 0] = float("inf")
    spread = stats_of(found).spread["h"]
    assert spread.counts.sum() == 7 * 4 - 1
    assert np.isfinite(spread.edges).all()


@pytest.mark.parametrize(
    "values", [[1.0, 1.0 - 1e-16], [5e-324, 0.0], [1e308, -1e308], [float("nan")], [3.0]]
)
def test_whatever_the_values_are_they_can_be_binned(values):
    found = histogram(torch.tensor(values, dtype=torch.float64))
    assert found.counts.sum() == sum(value == value for value in values)
    assert (np.diff(found.edges) > 0).all()


def test_a_cell_without_a_square_recurrent_matrix_has_no_spectral_radius():
    class Diagonal(RNN):
        def __init__(self):
            super().__init__(3, 4)
            self.weight_hidden = torch.nn.Parameter(torch.ones(4))

        def recur(self, projected_t, state):
            return (torch.tanh(projected_t + self.weight_hidden * state[0]),)

    found, _ = recorded(Diagonal())
    assert "spectral_radius" not in stats_of(found).scalars()
