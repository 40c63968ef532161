import pytest
import torch
from torch.testing import assert_close

from seqpipe.nn.head import FeedForward, Head


def test_a_head_without_hidden_layers_is_one_linear_map_at_every_step(randomise):
    head = randomise(Head(3, 2))
    x = torch.randn(4, 5, 3)
    by_step = [x[:, t] @ head.output.weight.T + head.output.bias for t in range(5)]
    assert_close(head(x), torch.stack(by_step, dim=1))


@pytest.mark.parametrize(("activation", "g"), [("relu", torch.relu), ("tanh", torch.tanh)])
def test_a_deep_head_applies_its_layers_in_order(randomise, activation, g):
    head = randomise(Head(3, 2, hidden=[6, 4], activation=activation))
    x = torch.randn(5, 3)
    first, second = head.layers
    z = g(x @ first.weight.T + first.bias)
    z = g(z @ second.weight.T + second.bias)
    assert_close(head(x), z @ head.output.weight.T + head.output.bias)


def test_a_feed_forward_network_applies_tanh_in_every_layer(randomise):
    network = randomise(FeedForward(3, hidden_size=4, depth=2))
    x = torch.randn(5, 3)
    first, second = network.layers
    z = torch.tanh(x @ first.weight.T + first.bias)
    assert_close(network(x), torch.tanh(z @ second.weight.T + second.bias))
    assert network.output_size == 4


def test_dropout_of_a_network_is_on_every_layer_in_training_only():
    network = FeedForward(3, hidden_size=400, depth=1, dropout=0.25)
    x = torch.randn(20, 3)
    dropped = network(x).eq(0).double().mean()
    assert 0.22 < dropped < 0.28
    assert network.eval()(x).ne(0).all()


def test_dropout_of_a_head_is_on_its_hidden_layers_and_not_on_its_output():
    head = Head(3, 50, hidden=[400], dropout=0.25, activation="tanh")
    x = torch.randn(20, 3)
    seen = []
    head.output.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    assert head(x).ne(0).all()
    assert head.eval()(x).ne(0).all()
    assert 0.22 < seen[0].eq(0).double().mean() < 0.28
    assert seen[1].ne(0).all()
