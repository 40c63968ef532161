"""A first loss is held against what a healthy model of that width may say."""

from functools import partial

import pytest
import torch
from torch import nn

from seqpipe.data.base import FieldSpec, SequenceBatch, SequenceSpec
from seqpipe.data.sources.generated import Adding
from seqpipe.diagnostics import output_checks
from seqpipe.diagnostics.output_checks import (
    DRAWN,
    DRAWN_BELOW_A_CRF,
    last_layer,
    losses_of_new_layers,
)
from seqpipe.diagnostics.preflight_context import Subject
from seqpipe.models.many_to_many import ManyToMany
from seqpipe.models.many_to_one import ManyToOne
from seqpipe.nn.cells import GRU, LSTM, RNN
from seqpipe.nn.crf import CRFHead
from seqpipe.nn.head import Head
from seqpipe.nn.recurrent import RecurrentStack
from seqpipe.tasks.classification import Classification
from seqpipe.tasks.regression import Regression
from seqpipe.tasks.tagging import Tagging

N, T = 32, 10


@pytest.fixture
def subject():
    """subject(cell, hidden_size, seed, classes): an untrained model on the adding data."""
    records = list(Adding(length=T, train=N, valid=1, test=1).read().train)
    x = torch.tensor([record["series"].tolist() for record in records])
    y = torch.tensor([[float(record["sum"])] for record in records])

    def make(cell=RNN, hidden_size=8, seed=0, classes=None):
        torch.manual_seed(seed)
        size = classes or 1
        encoder = partial(RecurrentStack, cell=cell, hidden_size=hidden_size)
        model = ManyToOne(x_kind="values", x_size=2, output_size=size, encoder=encoder, head=Head)
        field = FieldSpec("category" if classes else "number", size)
        task = (Classification if classes else Regression)(y=field)
        truth = (y[:, 0] * 2).long() % classes if classes else y
        batch = SequenceBatch(x, torch.full((N,), T), truth, None, torch.arange(N))
        return Subject(model, task, SequenceSpec(FieldSpec("values", 2), field), batch)

    return make


def first_loss(subject):
    return output_checks.first_loss(
        subject, subject.loss(subject.answer(subject.batch), subject.batch)
    )


@pytest.mark.parametrize("classes", [None, 2])
@pytest.mark.parametrize("cell", [RNN, GRU, LSTM])
def test_a_narrow_model_that_is_healthy_is_not_warned_of(subject, cell, classes):
    found = [first_loss(subject(cell, 8, seed, classes)).result for seed in range(20)]
    assert found.count("passed") >= 19


def test_what_a_narrow_model_may_say_is_told(subject):
    """Of these seeds some lie beyond the plain expectation."""
    told = [first_loss(subject(RNN, 8, seed)).detail for seed in range(20)]
    words = f"{DRAWN:,} other initialisations of the last layer give "
    drawn = [text for text in told if words in text]
    assert 3 <= len(drawn) < 20


@pytest.mark.parametrize("classes", [None, 2])
@pytest.mark.parametrize("hidden_size", [8, 64])
def test_a_head_ten_times_out_of_scale_is_told_whatever_its_loss(subject, hidden_size, classes):
    for seed in range(20):
        scaled = subject(GRU, hidden_size, seed, classes)
        with torch.no_grad():
            scaled.model.head.output.weight.mul_(10)
        check = first_loss(scaled)
        assert check.result == "warning"
        assert "times as long as torch's" in check.detail
        assert "check the scale of the head's initial weights" in check.detail


def test_answers_that_are_louder_than_any_fresh_layer_are_told(subject):
    loud = subject(RNN, 64, seed=1)
    loud.batch.y.add_(30)
    for parameter in loud.model.encoder.parameters():
        parameter.data.mul_(3)
    with torch.no_grad():
        loud.model.head.output.bias.fill_(-30)
    check = first_loss(loud)
    assert check.result == "warning"
    assert "over 1.5 times the expectation" in check.detail


def test_the_last_layer_is_the_one_whose_word_is_the_answer(subject):
    healthy = subject(RNN, 8)
    last = last_layer(healthy)
    assert last.layer is healthy.model.head.output
    assert last.inputs.shape == (N, 8)
    assert 0 < last.length <= 3**0.5
    losses = losses_of_new_layers(healthy, last)
    assert len(set(losses)) == len(losses) == DRAWN
    healthy.model.head.register_forward_hook(lambda head, args, y: y + 1)
    assert last_layer(healthy) is None


@pytest.fixture
def crf(subject):
    """crf(hidden_size, seed): a CRF that finds the steps with large numbers."""

    def make(hidden_size=8, seed=0):
        batch = subject(RNN).batch
        torch.manual_seed(seed)
        encoder = partial(RecurrentStack, cell=RNN, hidden_size=hidden_size)
        model = ManyToMany(x_kind="values", x_size=2, output_size=3, encoder=encoder, head=CRFHead)
        field, y = FieldSpec("tags", 3), (batch.x[..., 0] * 3).long().clamp(0, 2)
        batch = SequenceBatch(batch.x, batch.x_lengths, y, batch.x_lengths, batch.index)
        spec = SequenceSpec(FieldSpec("values", 2), field)
        return Subject(model, Tagging(y=field, crf=True), spec, batch)

    return make


def test_the_last_layer_below_a_crf_is_drawn_anew_too(crf):
    healthy = crf()
    last = last_layer(healthy)
    assert last.layer is healthy.model.head.output
    said = last.potentials(last.layer(last.inputs))
    answer = healthy.answer(healthy.batch)
    assert torch.equal(said, answer)
    losses = losses_of_new_layers(healthy, last)
    assert len(set(losses)) == len(losses) == DRAWN_BELOW_A_CRF
    with torch.no_grad():
        healthy.model.head.transitions.normal_(std=3.0)  # has its say in every one of them
        torch.manual_seed(0)
        potentials = last.potentials(nn.Linear(8, 3)(last.inputs))
    assert losses_of_new_layers(healthy, last)[0] == healthy.loss(potentials, healthy.batch)


def test_a_crf_that_is_healthy_is_not_warned_of_and_one_out_of_scale_is(crf):
    found = [first_loss(crf(8, seed)).result for seed in range(10)]
    assert found.count("passed") >= 9
    scaled = crf()
    with torch.no_grad():
        scaled.model.head.output.weight.mul_(10)
    check = first_loss(scaled)
    assert check.result == "warning"
    assert "times as long as torch's" in check.detail


def test_drawing_anew_changes_nothing_of_the_model(subject):
    healthy = subject(RNN, 8)
    before = nn.utils.parameters_to_vector(healthy.model.parameters()).clone()
    losses_of_new_layers(healthy, last_layer(healthy))
    assert torch.equal(nn.utils.parameters_to_vector(healthy.model.parameters()), before)
