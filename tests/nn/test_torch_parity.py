"""Our stacks against torch.nn on packed sequences: random weights, values and gradients."""

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.testing import assert_close

from seqpipe.nn.cells import GRU, LSTM, RNN, Cell
from seqpipe.nn.kernels.step_loop import StepLoop
from seqpipe.nn.recurrent import RecurrentStack

D, H, B, T = 3, 4, 5, 7
LENGTHS = torch.tensor([4, 7, 1, 6, 7])
exactly = {"rtol": 0, "atol": 1e-12}

KINDS = {
    "lstm": (nn.LSTM, {}, LSTM, {}),
    "gru": (nn.GRU, {}, GRU, {"reset_after": True}),
    "tanh": (nn.RNN, {"nonlinearity": "tanh"}, RNN, {"nonlinearity": "tanh"}),
    "relu": (nn.RNN, {"nonlinearity": "relu"}, RNN, {"nonlinearity": "relu"}),
}


def ours_from_torch(cell: Cell, theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """What our parameters are, or their gradients, by torch's of the same layer.

    `theirs`: weight_ih, weight_hh, bias_ih, bias_hh, where the biases are summed into one.
    """
    bias = theirs["bias_ih"] + theirs["bias_hh"]
    wanted = {"weight_input": theirs["weight_ih"], "weight_hidden": theirs["weight_hh"]}
    if isinstance(cell, GRU):  # torch's z keeps the old state, our u lets in the new
        sign = torch.ones(3 * H)
        sign[H : 2 * H] = -1
        wanted = {name: weight * sign[:, None] for name, weight in wanted.items()}
        bias = torch.cat([bias[: 2 * H], theirs["bias_ih"][2 * H :]]) * sign
        wanted["bias_hidden"] = theirs["bias_hh"][2 * H :]
    return wanted | {"bias": bias}


def cells_beside_torch(stack: RecurrentStack, theirs: nn.RNNBase):
    """Each of our cells, with torch's parameters of that layer and direction."""
    directions = ["", "_reverse"][: stack.directions]
    cells = [layer.cell for level in stack.layers for layer in level.values()]
    suffixes = [f"_l{k}{d}" for k, d in itertools.product(range(stack.depth), directions)]
    names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
    for cell, suffix in zip(cells, suffixes, strict=True):
        yield cell, {name: getattr(theirs, name + suffix) for name in names}


@pytest.fixture(params=list(itertools.product(KINDS, ["fused", "step loop"], [1, 3])))
def pair(request, randomise):
    """A stack of ours and torch's with the same weights; one or both directions."""
    kind, kernel, depth = request.param
    make_theirs, their_options, make_cell, options = KINDS[kind]
    bidirectional = depth == 3
    theirs = make_theirs(
        D, H, num_layers=depth, bidirectional=bidirectional, batch_first=True, **their_options
    )
    randomise(theirs)
    stack = RecurrentStack(
        D,
        cell=lambda **sizes: make_cell(**sizes, **options),
        hidden_size=H,
        depth=depth,
        bidirectional=bidirectional,
    )
    for cell, parameters in cells_beside_torch(stack, theirs):
        cell.load_state_dict(ours_from_torch(cell, parameters))
    if kernel == "step loop":
        for level in stack.layers:
            for layer in level.values():
                layer.kernel = StepLoop()
    else:
        for level in stack.layers:
            for layer in level.values():
                layer.kernel = layer.cell.kernels()["fused"]
    return stack, theirs


def run_torch(theirs, x, state):
    packed = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    outputs, final = theirs(packed, state if len(state) == 2 else state[0])
    parts = final if isinstance(final, tuple) else (final,)
    return pad_packed_sequence(outputs, batch_first=True, total_length=T)[0], parts


def test_a_stack_equals_torch_on_packed_sequences_in_values_and_gradients(pair, gradients):
    stack, theirs = pair
    x = torch.randn(B, T, D, requires_grad=True)
    parts = len(stack.cell_state_names)
    first = [
        torch.randn(stack.depth * stack.directions, B, H, requires_grad=True) for _ in range(parts)
    ]

    their_outputs, their_final = run_torch(theirs, x, tuple(first))
    N = stack.directions
    state = tuple(
        tuple(tuple(part[N * level + n] for part in first) for n in range(N))
        for level in range(stack.depth)
    )
    outputs, final = stack(x, LENGTHS, state)
    our_final = [
        torch.stack([direction[k] for level in final for direction in level]) for k in range(parts)
    ]
    assert_close(outputs, their_outputs, **exactly)
    assert_close(our_final, list(their_final), **exactly)

    inputs = 1 + parts
    their_parameters = list(theirs.parameters())
    their_gradients = gradients([their_outputs, *their_final], [x, *first, *their_parameters])
    names = [name for name, _ in stack.named_parameters()]
    ours = gradients([outputs, *our_final], [x, *first, *stack.parameters()])
    assert_close(ours[:inputs], their_gradients[:inputs], **exactly)
    by_name = dict(zip(names, ours[inputs:], strict=True))
    by_parameter = dict(zip(their_parameters, their_gradients[inputs:], strict=True))
    for (cell, parameters), prefix in zip(
        cells_beside_torch(stack, theirs), cell_prefixes(stack), strict=True
    ):
        slopes = {name: by_parameter[parameter] for name, parameter in parameters.items()}
        # The slope of a sum of two biases is the slope of either, so only one is handed on.
        slopes["bias_ih"] = slopes["bias_ih"].clone()
        hidden_slope = slopes["bias_hh"].clone()
        slopes["bias_hh"] = torch.zeros_like(hidden_slope)
        wanted = ours_from_torch(cell, slopes)
        if "bias_hidden" in wanted:
            wanted["bias_hidden"] = hidden_slope[2 * H :]
        for name, slope in wanted.items():
            assert_close(by_name[prefix + name], slope, **exactly)


def cell_prefixes(stack: RecurrentStack) -> list[str]:
    directions = ["forwards", "backwards"][: stack.directions]
    return [f"layers.{k}.{d}.cell." for k in range(stack.depth) for d in directions]


def test_a_stack_equals_torch_in_eval_mode_without_lengths(pair):
    stack, theirs = pair
    x = torch.randn(B, T, D)
    with torch.no_grad():
        assert_close(stack.eval()(x)[0], theirs.eval()(x)[0], **exactly)
