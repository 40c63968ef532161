"""What is read from the characters of a word depends on them alone."""

import pytest
import torch
from torch.testing import assert_close

from seqpipe.nn.characters import CHARACTER_WIDTH, CharacterCNN, CharacterLSTM

ENCODERS = pytest.mark.parametrize("encoder", [CharacterCNN, CharacterLSTM])
WORDS = torch.tensor([[[1, 2, 3, 0, 0, 0], [4, 0, 0, 0, 0, 0]], [[5, 4, 3, 2, 1, 6], [0] * 6]])


def made(encoder, width=4):
    torch.manual_seed(0)
    model = encoder(7, width).double()
    with torch.no_grad():
        for parameter in model.parameters():  # the vector of 0 too: it must never be read
            parameter.uniform_(-0.7, 0.7)
    return model


@ENCODERS
def test_a_word_is_read_the_same_alone_and_beside_longer_ones(encoder):
    model = made(encoder)
    together = model(WORDS)
    assert together.shape == (2, 2, 4)
    for b, t, length in ((0, 0, 3), (0, 1, 1), (1, 0, 6)):
        for room in (length, length + 2):
            alone = torch.zeros(1, 1, room, dtype=torch.int64)
            alone[0, 0, :length] = WORDS[b, t, :length]
            assert_close(model(alone)[0, 0], together[b, t], rtol=0, atol=1e-12)


@ENCODERS
def test_what_fills_up_a_word_has_no_say_and_no_gradient(encoder):
    model = made(encoder)
    words = WORDS[:1]
    before = model(words)
    before.sum().backward()
    assert not model.embedding.weight.grad[0].any()
    assert model.embedding.weight.grad[1:5].any(dim=1).all()
    with torch.no_grad():
        model.embedding.weight[0] = 1e6
    assert_close(model(words), before, rtol=0, atol=1e-12)


@ENCODERS
def test_every_character_and_their_order_change_the_word(encoder):
    model = made(encoder)
    word = model(torch.tensor([[[1, 2, 3, 4]]]))
    for other in ([1, 2, 3, 5], [5, 2, 3, 4], [4, 3, 2, 1], [1, 2, 3, 4, 4]):
        assert not torch.allclose(model(torch.tensor([[other]])), word)


@ENCODERS
def test_a_step_without_characters_gets_finite_numbers(encoder):
    assert made(encoder)(torch.zeros(2, 3, 5, dtype=torch.int64)).isfinite().all()


def test_the_cnn_is_the_largest_answer_of_each_filter_over_windows_of_three():
    model = made(CharacterCNN)
    vectors = torch.zeros(5, CHARACTER_WIDTH, dtype=torch.float64)  # zeros beyond the edges
    vectors[1:4] = model.embedding(torch.tensor([1, 2, 3]))
    answers = [
        (model.filters.weight * vectors[t : t + 3].T).sum(dim=(1, 2)) + model.filters.bias
        for t in range(3)
    ]
    wanted = torch.tanh(torch.stack(answers).amax(dim=0))
    assert_close(model(WORDS)[0, 0], wanted, rtol=0, atol=1e-12)


def test_the_lstm_ends_at_the_last_character_and_at_the_first():
    model = made(CharacterLSTM)
    outputs, _ = model.stack(model.embedding(torch.tensor([[1, 2, 3]])))
    wanted = torch.cat([outputs[0, 2, :2], outputs[0, 0, 2:]])
    assert_close(model(WORDS)[0, 0], wanted, rtol=0, atol=1e-12)
