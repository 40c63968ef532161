"""Tied embeddings: one matrix reads the symbols of y and writes them."""

import copy
from functools import partial

import pytest
import torch
from torch.testing import assert_close

from seqpipe.errors import ConfigError
from seqpipe.models.one_to_many import OneToMany
from seqpipe.nn.cells import LSTM
from seqpipe.nn.head import Head
from seqpipe.nn.recurrent import RecurrentStack
from seqpipe.nn.weight_decay import decayed
from seqpipe.nn.wide_linear import TiedLinear
from seqpipe.training.gradient_stats import by_name, group_of

TIED = "architecture.tie_embeddings"
SHAPES = {"one_to_many": "input", "encoder_decoder dot": "target", "one_to_many category": "input"}
WIDTHS = {
    "the width of h": ({}, 8, False),
    "a width of its own": ({"architecture.embedding_size": 5}, 5, True),
    "deep outputs": ({"architecture.head.hidden": [6, 7]}, 7, False),
    "both": ({"architecture.head.hidden": [6], "architecture.embedding_size": 5}, 5, True),
}


def logits_of(model, h, E):
    """y = E P act(...) + b, written out."""
    for layer in model.head.layers:
        h = torch.relu(h @ layer.weight.t() + layer.bias)
    if model.head.projection is not None:
        h = h @ model.head.projection.weight.t()
    return h @ E.t() + model.head.output.bias


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_output_layer_is_the_embedding(shape, width, build, ragged, answer, randomise):
    options, size, projected = WIDTHS[width]
    built = build(shape, **{TIED: True}, **options)
    model, batch = randomise(built.model), ragged(built.spec)
    E = getattr(model, SHAPES[shape]).embedding.weight
    assert E.shape == (9, size)
    assert (model.head.projection is not None) == projected
    read = []
    model.head.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    logits = answer(model, batch)
    assert_close(logits, logits_of(model, read[0], E), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_one_parameter_counted_and_saved_once(shape, build):
    plain, tied = (
        build(shape, **{TIED: on, "architecture.embedding_size": 8}).model for on in (False, True)
    )
    name = f"{SHAPES[shape]}.embedding.weight"
    gone = {key for key in plain.state_dict() if key not in tied.state_dict()}
    assert gone == {"head.output.weight"}
    assert name in tied.state_dict()
    numbers = [sum(p.numel() for p in model.parameters()) for model in (plain, tied)]
    assert numbers[0] - numbers[1] == 9 * 8
    assert group_of(next(key for key in by_name(tied) if key == name)) == SHAPES[shape]
    assert decayed(tied)[name] is False


def test_the_gradient_is_the_sum_of_both_uses(build, ragged, answer, randomise):
    options = {"architecture.embedding_size": 8}
    tied = randomise(build("one_to_many", **{TIED: True}, **options).model)
    built = build("one_to_many", **options)
    plain, batch = built.model.double(), ragged(built.spec)
    E = tied.input.embedding.weight
    plain.load_state_dict({**tied.state_dict(), "head.output.weight": E.detach()})
    for model in (tied, plain):
        answer(model, batch).square().sum().backward()
    used = plain.input.embedding.weight.grad + plain.head.output.weight.grad
    assert_close(E.grad, used, rtol=0, atol=1e-10)


def test_copies_conversions_and_loaded_weights_stay_tied(build, ragged, answer, randomise):
    built = build("one_to_many", **{TIED: True})
    model, batch = randomise(built.model), ragged(built.spec)
    other = copy.deepcopy(model)
    assert other.head.output.weight is other.input.embedding.weight
    assert other.head.output.weight is not model.head.output.weight
    fresh = build("one_to_many", **{TIED: True}).model.double()
    fresh.load_state_dict(model.state_dict())
    assert fresh.head.output.weight is fresh.input.embedding.weight
    assert_close(answer(fresh, batch), answer(model, batch), rtol=0, atol=0)
    swapped = {"input.embedding.weight": torch.zeros_like(model.input.embedding.weight)}
    found = torch.func.functional_call(model, swapped, (None, None, batch.y, batch.y_lengths))
    assert_close(found, model.head.output.bias.expand_as(found), rtol=0, atol=0)


def test_it_starts_small_enough_for_an_output_layer_and_from_vectors_as_they_are(build):
    E = build("one_to_many", **{TIED: True}).model.input.embedding.weight
    assert 0.05 < E.abs().max() <= 0.1
    vectors = torch.randn(9, 4)
    model = one_to_many(y_vectors=vectors, freeze_vectors=True)
    assert_close(model.head.output.weight.detach(), vectors, rtol=0, atol=0)
    assert not model.head.output.weight.requires_grad
    assert model.head.projection.weight.shape == (4, 8)


def test_drawn_again_the_layer_has_the_size_of_any_output_layer():
    layer = TiedLinear(torch.nn.Embedding(500, 16))
    layer.reset_parameters()
    assert 0.24 < layer.weight.abs().max() <= 0.25
    assert layer.bias.eq(0).all()


def test_samples_are_those_of_the_same_model_untied(build, randomise):
    tied = randomise(build("one_to_many", **{TIED: True}).model).eval()
    plain = build("one_to_many", **{"architecture.embedding_size": 8}).model.double().eval()
    E = tied.input.embedding.weight.detach()
    plain.load_state_dict({**tied.state_dict(), "head.output.weight": E})
    drawn = [
        model.sample(count=3, max_length=20, generator=torch.Generator().manual_seed(1))
        for model in (tied, plain)
    ]
    assert_close(*drawn, rtol=0, atol=0)


def one_to_many(head=Head, y_kind="symbols", **options):
    decoder = partial(RecurrentStack, cell=LSTM, hidden_size=8)
    return OneToMany(
        y_size=9, decoder=decoder, head=head, y_kind=y_kind, tie_embeddings=True, **options
    )


def test_a_roll_and_a_head_that_cannot_are_refused():
    with pytest.raises(ConfigError, match=r"architecture\.tie_embeddings=.*no embedding; allowed"):
        one_to_many(y_kind="roll")
    plain = partial(lambda input_size, output_size: torch.nn.Linear(input_size, output_size))
    with pytest.raises(ConfigError, match=r"architecture\.tie_embeddings=.*no method tie; allowed"):
        one_to_many(head=plain)
