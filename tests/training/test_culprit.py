"""The module and the time step that a number comes from that is not finite."""

import pytest
import torch
from torch import nn

from seqpipe.data.base import SequenceBatch
from seqpipe.nn.cells import RNN
from seqpipe.nn.recurrent import RecurrentLayer
from seqpipe.training.nonfinite_trace import KeptBatch, find_nonfinite

LENGTHS = torch.tensor([7, 4, 6])


class Task:
    """The least that is asked of one."""

    def loss(self, outputs, batch, training):
        return outputs.square().mean()


class OneLayer(nn.Module):
    """A layer, and the sum of what it puts out."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x, x_lengths, y, y_lengths):
        outputs, _ = self.layer(x, x_lengths)
        return outputs.sum(dim=1)


def found(model, x):
    batch = SequenceBatch(x, LENGTHS, torch.zeros(3, 1), None, torch.arange(3))
    return find_nonfinite(model, Task(), KeptBatch(batch, {"cpu": torch.get_rng_state()}))


class Bursting(RNN):
    """Overflows at a large number, in a module that reads one step or all of them."""

    def __init__(self, where):
        super().__init__(1, 2, nonlinearity="relu")
        self.where, self.watched = where, nn.Identity()
        self.watched.forward = lambda x: torch.where(x > 50, torch.inf, x)

    def project(self, x):
        projected = 0 * super().project(x) + x
        return self.watched(projected) if self.where == "all steps" else projected

    def recur(self, projected_t, state):
        if self.where == "each step":
            projected_t = self.watched(projected_t)
        return (projected_t + 0 * state[0],)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("where", ["all steps", "each step"])
@pytest.mark.parametrize(("row", "step"), [(0, 1), (0, 7), (1, 1), (1, 3), (1, 4), (2, 6)])
def test_a_module_inside_a_layer_is_named_with_the_step_it_reads(reverse, where, row, step):
    x = torch.rand(3, 7, 1)
    x[row, step - 1] = 100.0
    finding = found(OneLayer(RecurrentLayer(Bursting(where), reverse=reverse)), x)
    assert (finding.module, finding.examples) == ("layer.cell.watched", [row])
    assert finding.time_step == step


@pytest.mark.parametrize(("reverse", "step"), [(False, 3), (True, 2)])
def test_a_layer_is_named_with_the_step_it_computed_first(reverse, step):
    """Numbers that overflow two steps after a large one, and stay so to the end."""
    cell = RNN(1, 1, nonlinearity="relu")
    with torch.no_grad():
        for name, weight in cell.named_parameters():
            weight.fill_(0.0 if "bias" in name else 1e20 if "hidden" in name else 1.0)
    x = torch.zeros(3, 7, 1)
    x[1, 3 if reverse else 0] = 1.0  # the first that is read of four
    layer = RecurrentLayer(cell, reverse=reverse)
    finding = found(OneLayer(layer), x)
    assert (finding.module, finding.examples) == ("layer", [1])
    assert finding.text == f"layer puts out inf at time step {step} from finite input"


def test_a_module_that_is_called_once_has_no_step():
    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Identity()
            self.head.forward = lambda x: x / 0

        def forward(self, x, x_lengths, y, y_lengths):
            return self.head(x.sum(dim=1))

    finding = found(Whole(), torch.ones(3, 7, 1))
    assert finding.text == "head puts out inf from finite input"
    assert finding.time_step is None
