"""Dropout of whole words: the same ones in a whole batch, and none in eval mode."""

import pytest
import torch
from torch.testing import assert_close

from seqpipe.errors import ConfigError
from seqpipe.models.inputs import InputLayer

V, D, P = 400, 5, 0.4


def dropped_words(layer, ids):
    """The vectors of a batch, and the factor 0 or 1 / (1 - p) that each word had in it."""
    torch.manual_seed(1)
    vectors = layer(ids)
    torch.manual_seed(1)
    factors = torch.nn.functional.dropout(torch.ones(V, 1), P)
    return vectors, factors


def test_a_dropped_word_is_zero_wherever_it_occurs_and_the_others_grow():
    layer, ids = InputLayer("symbols", V, embedding_size=D, embedding_dropout=P), torch.arange(V)
    ids = torch.stack([ids, ids.flip(0)])
    vectors, factors = dropped_words(layer, ids)
    rows = layer.embedding.weight * factors  # the paper's formula: rows of the matrix
    assert_close(vectors, rows[ids], rtol=0, atol=0)
    assert 0.33 < factors.eq(0).double().mean() < 0.47
    assert set(factors.unique().tolist()) == {0.0, torch.tensor(1 / 0.6).item()}
    vectors.sum().backward()
    assert layer.embedding.weight.grad.eq(0).all(dim=1).equal(factors[:, 0].eq(0))


def test_each_batch_drops_other_words():
    layer, ids = InputLayer("symbols", V, embedding_size=D, embedding_dropout=P), torch.arange(V)
    assert not layer(ids[None]).eq(0).equal(layer(ids[None]).eq(0))


def test_of_a_spelled_word_the_vector_is_dropped_and_not_its_characters():
    layer = InputLayer("spelled", V, alphabet=6, embedding_size=D, embedding_dropout=P)
    ids = torch.cat([torch.arange(V)[:, None], torch.randint(1, 6, (V, 3))], dim=1)[None]
    vectors, factors = dropped_words(layer, ids)
    assert_close(vectors[0, :, :D], layer.embedding.weight * factors, rtol=0, atol=0)
    assert_close(vectors[..., D:], layer.characters(ids[..., 1:]), rtol=0, atol=0)


@pytest.mark.parametrize(("rate", "training"), [(0.0, True), (P, False)])
def test_off_or_in_eval_mode_it_draws_nothing(rate, training):
    layer = InputLayer("symbols", V, embedding_dropout=rate).train(training)
    before, ids = torch.get_rng_state(), torch.arange(V)[None]
    assert_close(layer(ids)[0], layer.embedding.weight, rtol=0, atol=0)
    assert layer.vectors is layer.embedding.weight
    assert torch.get_rng_state().equal(before)


def test_prepared_steps_in_training_lack_words_too():
    layer = InputLayer("symbols", V, embedding_size=D, embedding_dropout=P)
    vectors, _ = dropped_words(layer, torch.arange(V)[None])
    torch.manual_seed(1)
    assert_close(layer.vectors, vectors[0], rtol=0, atol=0)


TEXTS = [
    ("many_to_one text", ["input"]),
    ("many_to_many text", ["input"]),
    ("many_to_many spelled", ["input"]),
    ("one_to_many", ["input"]),
    ("encoder_decoder dot", ["input", "target"]),
    ("encoder_decoder values", ["target"]),
]


@pytest.mark.parametrize(("shape", "layers"), TEXTS)
def test_every_architecture_with_an_embedding_takes_it(shape, layers, build, ragged, answer):
    built = build(shape, **{"architecture.embedding_dropout": 0.5})
    model, batch = built.model.train(), ragged(built.spec)
    found = [n for n, m in model.named_children() if isinstance(m, InputLayer) and m.row_dropout.p]
    assert found == layers
    answers = {tuple(answer(model, batch).flatten().tolist()) for _ in range(5)}
    assert len(answers) > 1
    assert answer(model.eval(), batch).equal(answer(model, batch))


def test_a_decoder_stepped_in_training_lacks_the_same_words_at_all_steps(build, ragged, randomise):
    built = build("encoder_decoder none", **{"architecture.embedding_dropout": 0.5})
    model, batch = randomise(built.model).train(), ragged(built.spec)
    _, state = model._encode(batch.x, batch.x_lengths)
    torch.manual_seed(1)
    whole = model.head(model._forced(None, state, batch.y, batch.y_lengths)[0])
    torch.manual_seed(1)
    stepped = model._forced_in_part(None, state, batch.y, share=1 - 1e-12)
    real = torch.arange(batch.y.shape[1]) < batch.y_lengths[:, None]
    assert_close(stepped[real], whole[real], rtol=0, atol=1e-12)


def test_numbers_have_no_words_to_drop():
    with pytest.raises(ConfigError, match=r"architecture\.embedding_dropout=0\.1: .*; allowed: 0"):
        InputLayer("values", 6, embedding_dropout=0.1)
