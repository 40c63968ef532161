"""The input layer: what x becomes before a stack reads it."""

import pytest
import torch
from torch.testing import assert_close

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


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (
            "symbols",
            {"characters": "lstm"},
            "architecture.characters=lstm: x is symbols, without the characters of words; "
            "architecture.characters=null, or a Spelled x",
        ),
        (
            "values",
            {"characters_size": 8},
            "architecture.characters_size=8: x is values, without the characters of words; "
            "architecture.characters_size=null, or a Spelled x",
        ),
        (
            "vector",
            {},
            "data.x: a vector is no sequence to read step by step; symbols, spelled or values",
        ),
    ],
)
def test_what_x_has_no_use_for_is_refused(kind, options, message):
    with pytest.raises(ConfigError) as error:
        InputLayer(kind, 6, **options)
    assert str(error.value) == message
