"""The input layer: what x becomes before a stack reads it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from seqpipe.build import build_model
from seqpipe.data.base import SequenceSpec
from seqpipe.errors import ConfigError
from seqpipe.models.inputs import InputLayer
from seqpipe.nn.characters import CharacterCNN, CharacterLSTM

X = torch.tensor([[[4, 1, 2, 0], [1, 3, 4, 5]], [[1, 3, 4, 4], [5, 2, 0, 0]]])


def test_a_spelled_word_is_its_own_vector_beside_what_its_characters_say():
    layer = InputLayer("spelled", 6, alphabet=6, embedding_size=3, characters_size=4)
    vectors = layer(X)
    assert vectors.shape == (2, 2, 3 + 4) == (2, 2, layer.output_size)
    assert_close(vectors[..., :3], layer.embedding(X[..., 0]), rtol=0, atol=0)
    assert_close(vectors[..., 3:], layer.characters(X[..., 1:]), rtol=0, atol=0)


def test_unknown_words_differ_by_their_characters():
    layer = InputLayer("spelled", 6, alphabet=6)
    unknown, other = layer(X)[0, 1], layer(X)[1, 0]  # both <UNK>
    assert_close(unknown[:6], other[:6], rtol=0, atol=0)
    assert not torch.allclose(unknown[6:], other[6:])


@pytest.mark.parametrize(
    ("characters", "encoder"),
    [(None, CharacterCNN), ("cnn", CharacterCNN), ("lstm", CharacterLSTM)],
)
def test_characters_are_read_as_it_was_chosen_and_by_a_cnn_where_nobody_chose(characters, encoder):
    layer = InputLayer("spelled", 6, alphabet=6, characters=characters)
    assert type(layer.characters) is encoder
    assert layer.output_size == 6 + 50


VECTORS = torch.full((6, 3), torch.nan).index_put(
    (torch.tensor([4, 5]),), torch.tensor([[0.1, -0.2, 0.3], [0.2, 0.1, -0.3]])
)


@pytest.mark.parametrize("embedding_size", [None, 3])
def test_an_embedding_starts_from_its_vectors_and_the_others_are_as_large(embedding_size):
    layer = InputLayer("symbols", 6, embedding_size=embedding_size, vectors=VECTORS)
    weight = layer.embedding.weight
    assert layer.output_size == 3
    assert_close(weight[4:], VECTORS[4:], rtol=0, atol=0)
    assert weight.isfinite().all()
    assert weight.requires_grad
    many = torch.cat([VECTORS[4:], torch.full((10_000, 3), torch.nan)])
    drawn = InputLayer("symbols", 10_002, vectors=many).embedding.weight[2:]
    assert_close(drawn.square().mean(), VECTORS[4:].square().mean(), rtol=0.05, atol=0)
    assert len(drawn.unique()) > 10_000


def test_frozen_vectors_get_no_gradient_and_characters_do():
    layer = InputLayer("spelled", 6, alphabet=6, vectors=VECTORS, freeze_vectors=True)
    layer(X).sum().backward()
    assert layer.embedding.weight.grad is None
    assert all(p.grad is not None for p in layer.characters.parameters())


UNSPELLED = "x does not hold the characters of words; allowed: null, or a Spelled x"
REFUSED = {
    "architecture.embedding_size=8: the vectors are 3 wide; allowed:"
    " architecture.embedding_size=null or 3": (
        "symbols",
        {"vectors": VECTORS, "embedding_size": 8},
    ),
    "architecture.freeze_vectors=true: random vectors would never be trained; allowed: false, or"
    " data.x.vectors=FILE": ("symbols", {"freeze_vectors": True}),
    f"architecture.characters=lstm: {UNSPELLED}": ("symbols", {"characters": "lstm"}),
    f"architecture.characters_size=8: {UNSPELLED}": ("values", {"characters_size": 8}),
    "architecture.embedding_size=8: each step is a row of numbers, without an embedding; allowed:"
    " null": ("values", {"embedding_size": 8}),
    "data.x: a vector is no sequence to read step by step; allowed: symbols, spelled or values": (
        "vector",
        {},
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_x_has_no_use_for_is_refused(message):
    kind, options = REFUSED[message]
    with pytest.raises(ConfigError) as error:
        InputLayer(kind, 6, **options)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("shape", "tables"),
    [
        ("many_to_one text", {"x": "input"}),
        ("many_to_many spelled", {"x": "input"}),
        ("one_to_many", {"y": "input"}),
        ("encoder_decoder additive", {"x": "input", "y": "target"}),
        ("encoder_decoder spelled", {"y": "target"}),
    ],
)
def test_vectors_of_the_data_reach_the_embedding_of_every_architecture(
    build, ragged, answer, shape, tables
):
    vectors = np.full((9, 5), np.nan, dtype=np.float32)
    vectors[6] = np.arange(5)
    vectors.flags.writeable = False  # as those of mapped memory are
    built = build(shape)
    spec = SequenceSpec(
        *(
            replace(field, vectors=vectors) if role in tables else field
            for role, field in (("x", built.spec.x), ("y", built.spec.y))
        )
    )
    built.cfg.architecture.freeze_vectors = True
    model = build_model(built.cfg, spec)
    for table in tables.values():
        assert getattr(model, table).embedding.weight[6].tolist() == [0, 1, 2, 3, 4]
    batch = ragged(spec)
    built.task.loss(answer(model, batch), batch, training=True).backward()
    frozen = [name for name, p in model.named_parameters() if p.grad is None]
    assert frozen == [f"{table}.embedding.weight" for table in tables.values()]


def test_vectors_that_an_architecture_does_not_read_are_refused(build):
    built = build("many_to_one last")
    vectors = np.zeros((4, 5), dtype=np.float32)
    spec = SequenceSpec(built.spec.x, replace(built.spec.y, vectors=vectors))
    with pytest.raises(ConfigError) as error:
        build_model(built.cfg, spec)
    assert str(error.value) == (
        "data.y.vectors: the architecture does not read y; allowed: data.y.vectors=null"
    )
