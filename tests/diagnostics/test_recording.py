"""The copy that is stepped through: named as people name layers, and nobody else's business."""

import copy
import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from seqpipe.data.base import SequenceBatch
from seqpipe.data.sampling import evenly_spread
from seqpipe.diagnostics.gradients import through_time
from seqpipe.diagnostics.probe import Probe
from seqpipe.diagnostics.settings import Settings
from seqpipe.diagnostics.stepwise import StepwiseCopy
from seqpipe.nn.cells import GRU
from seqpipe.nn.recurrent import RecurrentLayer
from seqpipe.tracking.base import NoTracker


class OfOnesOwn(nn.Module):
    """A model that seqpipe knows nothing of: a layer, and a head on its last state."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(9, 3)
        self.rnn = RecurrentLayer(GRU(3, 5), reverse=True)
        self.head = nn.Linear(5, 4)

    def forward(self, x, x_lengths, y, y_lengths):
        _, (h,) = self.rnn(self.embedding(x), x_lengths)
        return self.head(h)


def test_layers_are_named_by_stack_level_and_direction(make):
    model, _ = make("lstm", "encoder_decoder", 2, True)
    assert [str(layer.name) for layer in StepwiseCopy(model).layers] == [
        "encoder.0.forwards",
        "encoder.0.backwards",
        "encoder.1.forwards",
        "encoder.1.backwards",
        "decoder.0.forwards",
        "decoder.1.forwards",
    ]
    assert [str(layer.name) for layer in StepwiseCopy(OfOnesOwn()).layers] == ["rnn.0.backwards"]


def test_a_model_of_ones_own_is_measured_too(make, make_batch):
    _, task = make("lstm", "many_to_one", 1, False)
    (found,) = through_time(StepwiseCopy(OfOnesOwn()), task, make_batch("many_to_one"))
    assert (found.norms > 0).sum() == 7 + 3 + 1
    assert found.fits


def test_the_characters_of_words_are_not_taken_for_time_steps(make, make_batch):
    model, task = make("lstm", "many_to_one", 1, False)
    model.extra = RecurrentLayer(GRU(3, 2))  # reads eleven things, where the batch has three

    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, x, *rest):
            model = self.inner
            model.extra(torch.ones(11, 2, 3, dtype=next(model.parameters()).dtype))
            return model(x, *rest)

    found = through_time(StepwiseCopy(Wrapped()), task, make_batch("many_to_one"))
    assert [str(one.layer) for one in found] == ["inner.encoder.0.forwards"]


def test_neither_weights_gradients_mode_nor_random_numbers_are_touched(make, make_batch):
    model, task = make("gru", "many_to_one", 2, True)
    model.train()
    batch = make_batch("many_to_one")
    task.loss(model(batch.x, batch.x_lengths, None, None), batch, training=True).backward()
    before = copy.deepcopy(model.state_dict())
    gradients = [p.grad.clone() for p in model.parameters()]
    state = torch.get_rng_state()
    stepwise = StepwiseCopy(model)
    stepwise.update(model)
    through_time(stepwise, task, batch)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert all(map(torch.equal, gradients, (p.grad for p in model.parameters())))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert batch.x.dtype == torch.int64


def test_an_update_takes_over_what_the_training_has_come_to(make, make_batch):
    model, task = make("lstm", "many_to_one", 1, False)
    stepwise = StepwiseCopy(model)
    before = through_time(stepwise, task, make_batch("many_to_one"))[0].norms
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)
    assert np.array_equal(through_time(stepwise, task, make_batch("many_to_one"))[0].norms, before)
    stepwise.update(model)
    after = through_time(stepwise, task, make_batch("many_to_one"))[0].norms
    fresh = through_time(StepwiseCopy(model), task, make_batch("many_to_one"))[0].norms
    assert np.array_equal(after, fresh)
    assert not np.allclose(after, before)


def test_examples_are_spread_over_the_split():
    assert evenly_spread(4, 100) == [0, 25, 50, 75]
    assert evenly_spread(4, 2) == [0, 1]
    assert evenly_spread(0, 9) == []


def test_gradients_far_below_what_float32_can_hold_are_measured(make):
    model, task = make("rnn", "many_to_one", 1, False)
    with torch.no_grad():
        model.encoder.layers[0]["forwards"].cell.weight_hidden.mul_(1e-12)
    x = torch.full((1, 7), 5)
    batch = SequenceBatch(x, torch.tensor([7]), torch.tensor([1]), None, torch.tensor([0]))
    (found,) = through_time(StepwiseCopy(model), task, batch)
    assert 0 < found.norms[0, 6] < 1e-60


@pytest.mark.gpu
def test_a_gpu_finds_what_the_cpu_finds(make, make_batch):
    for cell in ("lstm", "gru", "rnn"):
        model, task = make(cell, "encoder_decoder", 2, True)
        batch = make_batch("encoder_decoder")
        on_cpu = through_time(StepwiseCopy(model), task, batch)
        on_gpu = through_time(StepwiseCopy(model.cuda()), task, batch.to("cuda"))
        for one, other in zip(on_cpu, on_gpu, strict=True):
            np.testing.assert_allclose(one.norms, other.norms, rtol=1e-9)


def test_a_model_that_cannot_be_stepped_is_trained_without_a_look(make, make_batch, caplog):
    class Stubborn(OfOnesOwn):
        def forward(self, x, x_lengths, y, y_lengths):
            _, (h,) = self.rnn(self.embedding(x).float(), x_lengths)  # float32 whatever it is
            return self.head(h)

    _, task = make("lstm", "many_to_one", 1, False)
    probe = Probe(task, make_batch("many_to_one"), Settings(), NoTracker(Path(), Path()))
    trainer = SimpleNamespace(global_step=0, is_global_zero=True)
    module = SimpleNamespace(model=Stubborn(), device=torch.device("cpu"))
    with caplog.at_level(logging.WARNING):
        probe.on_train_start(trainer, module)
        probe.on_train_end(trainer, module)
    assert probe.snapshots == []
    (record,) = caplog.records
    assert "the gradient through time of Stubborn cannot be measured (RuntimeError: " in (
        record.getMessage()
    )


def test_between_measurements_the_copy_holds_no_weights_and_no_activations(make, make_batch):
    model, task = make("lstm", "many_to_one", 1, False)
    stepwise = StepwiseCopy(model)
    first = through_time(stepwise, task, make_batch("many_to_one"))[0].norms
    stepwise.forget()
    assert sum(part.numel() for part in stepwise.model.state_dict().values()) == 0
    assert all(not layer.loop.states and not layer.loop.before for layer in stepwise.layers)
    stepwise.update(model)
    again = through_time(stepwise, task, make_batch("many_to_one"))[0].norms
    assert np.array_equal(again, first)
