"""Arguments and tensors that a part cannot take are refused by name, with what is allowed."""

import pytest
import torch

from seqpipe.errors import ConfigError, ShapeError
from seqpipe.nn.attention import Attention
from seqpipe.nn.cells import GRU, LSTM, RNN, PeepholeLSTM
from seqpipe.nn.characters import CharacterCNN, CharacterLSTM
from seqpipe.nn.ctc import prefix_beam
from seqpipe.nn.head import FeedForward, Head
from seqpipe.nn.masks import check_lengths
from seqpipe.nn.recurrent import RecurrentStack

COUNT = "out of range; allowed: an integer >= 1"
SHARE = "out of range; allowed: a number in [0, 1)"


def stack(**options):
    return RecurrentStack(3, **{"cell": LSTM, "hidden_size": 4, **options})


def searched(**options):
    return prefix_beam(torch.zeros(1, 2, 3), torch.tensor([2]), blank=0, **options)


REFUSED = {
    "cell.nonlinearity=tahn: unknown choice; allowed: tanh, relu; did you mean 'tanh'?": (
        lambda: RNN(3, 4, nonlinearity="tahn")
    ),
    "cell.output_peephole=curent: unknown choice; allowed: previous, current; did you mean"
    " 'current'?": lambda: PeepholeLSTM(3, 4, output_peephole="curent"),
    f"hidden_size=0: {COUNT}": lambda: GRU(3, 0),
    f"input_size=0: {COUNT}": lambda: LSTM(0, 4),
    f"depth=0: {COUNT}": lambda: stack(depth=0),
    f"hidden_size=-1: {COUNT}": lambda: stack(hidden_size=-1),
    f"dropout=1.0: {SHARE}": lambda: stack(dropout=1.0),
    f"dropout=-0.1: {SHARE}": lambda: FeedForward(3, hidden_size=4, dropout=-0.1),
    f"depth=-1: {COUNT}": lambda: FeedForward(3, hidden_size=4, depth=-1),
    f"hidden_size=-2: {COUNT}": lambda: FeedForward(3, hidden_size=-2),
    "architecture.head.activation=rleu: unknown choice; allowed: relu, tanh; did you mean"
    " 'relu'?": lambda: Head(3, 2, activation="rleu"),
    "architecture.head.hidden=[4,0]: out of range; allowed: a list, each an integer >= 1": (
        lambda: Head(3, 2, hidden=[4, 0])
    ),
    f"architecture.head.dropout=1.0: {SHARE}": lambda: Head(3, 2, dropout=1.0),
    "architecture.attention=dot: the decoder's outputs are 4 wide and the encoder's 8; allowed:"
    " general, additive, or architecture.decoder.hidden_size=8": (
        lambda: Attention(4, 8, kind="dot")
    ),
    "kind=aditive: unknown choice; allowed: dot, general, additive; did you mean 'additive'?": (
        lambda: Attention(4, 4, kind="aditive")
    ),
    f"output_size=0: {COUNT}": lambda: CharacterCNN(7, 0),
    "architecture.characters_size=3: the two directions of architecture.characters=lstm share it;"
    " allowed: an even number": lambda: CharacterLSTM(7, 3),
    "beam_size=0: out of range; allowed: an integer from 1 to 10000": (
        lambda: searched(beam_size=0)
    ),
    "n_best=3: out of range; allowed: an integer from 1 to 2 (which beam_size=2 finds)": (
        lambda: searched(beam_size=2, n_best=3)
    ),
}


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize("message", REFUSED)
def test_an_argument_that_a_part_cannot_take_is_refused_by_name(message):
    with pytest.raises(ConfigError) as error:
        REFUSED[message]()
    assert str(error.value) == message


X, ZERO = torch.zeros(4, 6, 3), torch.zeros(4, 4)
NO_X, INTEGERS = "expected (B, T_x, 3) with at least one step.", "expected (2,) integers."


def checked(*lengths, **options):
    return check_lengths(torch.tensor(lengths, **options), torch.zeros(2, 3, 4))


MISSHAPED = {
    f"x has shape (4, 6, 5); {NO_X}": lambda: stack()(torch.zeros(4, 6, 5)),
    f"x has shape (6, 3); {NO_X}": lambda: stack()(torch.zeros(6, 3)),
    f"x has shape (4, 0, 3); {NO_X}": lambda: stack()(torch.zeros(4, 0, 3)),
    "lengths has shape (2,), torch.int64; expected (4,) integers.": (
        lambda: stack()(X, torch.tensor([1, 2]))
    ),
    "lengths holds values from 1 to 7; x has 6 steps, so each must lie in 1..6.": (
        lambda: stack()(X, torch.tensor([1, 2, 7, 3]))
    ),
    f"lengths has shape (3,), torch.int64; {INTEGERS}": lambda: checked(1, 2, 3),
    f"lengths has shape (1, 2), torch.int64; {INTEGERS}": lambda: checked([1, 2]),
    f"lengths has shape (2,), torch.float32; {INTEGERS}": (
        lambda: checked(1.0, 2.0, dtype=torch.float32)
    ),
    "lengths holds values from 0 to 3; x has 3 steps, so each must lie in 1..3.": (
        lambda: checked(0, 3)
    ),
    "state has shapes [(4, 4)]; expected [(4, 4), (4, 4)].": lambda: stack()(
        X, None, (((ZERO,),),)
    ),
    "state has shapes [(4, 4), (1, 4)]; expected [(4, 4), (4, 4)].": (
        lambda: stack()(X, None, (((ZERO, ZERO[:1]),),))
    ),
    "state has [1] directions a layer; expected [1, 1].": (
        lambda: stack(depth=2)(X, None, (((ZERO, ZERO),),))
    ),
    "x_t has shape (4, 6, 3); expected (B, 3).": lambda: stack().step(X, (((ZERO, ZERO),),)),
    "state has [] directions a layer; expected [1].": lambda: stack().step(X[:, 0], ()),
    "RecurrentStack.step: a bidirectional stack has no single step.": (
        lambda: stack(bidirectional=True).step(X[:, 0], ())
    ),
}


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize("message", MISSHAPED)
def test_a_tensor_of_the_wrong_shape_is_named_with_what_is_wanted(message):
    with pytest.raises(ShapeError) as error:
        MISSHAPED[message]()
    assert str(error.value) == message
