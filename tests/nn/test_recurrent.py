"""Invariances of layers and stacks: padding, splits, order of time, company."""

import copy
import itertools

import pytest
import torch
from torch.testing import assert_close

from seqpipe.nn.cells import GRU, LSTM
from seqpipe.nn.recurrent import RecurrentLayer, RecurrentStack

D, H, B, T = 3, 4, 4, 6
LENGTHS = torch.tensor([6, 2, 1, 5])
exactly = {"rtol": 0, "atol": 1e-12}


def flat(state):
    return [part for level in state for direction in level for part in direction]


@pytest.fixture(params=[False, True], ids=["forwards", "both directions"])
def bidirectional(request):
    return request.param


@pytest.fixture
def stack(make_cell, randomise, bidirectional):
    return randomise(
        RecurrentStack(D, cell=make_cell, hidden_size=H, depth=2, bidirectional=bidirectional)
    )


@pytest.mark.parametrize("poison", [1e6, torch.nan, torch.inf])
def test_padding_cannot_change_the_answer_or_get_a_gradient(stack, poison, gradients):
    x = torch.randn(B, T, D)
    padding = torch.arange(T) >= LENGTHS[:, None]
    clean = x.masked_fill(padding[..., None], 0.0).requires_grad_()
    poisoned = x.masked_fill(padding[..., None], poison).requires_grad_()
    outputs, final = stack(clean, LENGTHS)
    poisoned_outputs, poisoned_final = stack(poisoned, LENGTHS)
    assert_close(poisoned_outputs, outputs, rtol=0, atol=0)
    assert_close(poisoned_final, final, rtol=0, atol=0)
    assert outputs[padding].eq(0).all()
    slopes = gradients([outputs, *flat(final)], [clean, *stack.parameters()])
    poisoned_slopes = gradients(
        [poisoned_outputs, *flat(poisoned_final)], [poisoned, *stack.parameters()]
    )
    assert_close(poisoned_slopes, slopes, rtol=0, atol=0)
    assert poisoned_slopes[0][padding].eq(0).all()
    assert poisoned_slopes[0][~padding].ne(0).any()


def test_a_sequence_is_read_the_same_alone_and_in_a_ragged_batch(stack):
    x = torch.randn(B, T, D)
    outputs, final = stack(x, LENGTHS)
    for b, length in enumerate(LENGTHS.tolist()):
        alone, alone_final = stack(x[b : b + 1, :length])
        assert_close(outputs[b, :length], alone[0], **exactly)
        together = [part[b : b + 1] for part in flat(final)]
        assert_close(together, flat(alone_final), **exactly)


def test_a_whole_sequence_equals_two_halves_with_the_state_carried(make_cell, randomise):
    stack = randomise(RecurrentStack(D, cell=make_cell, hidden_size=H, depth=2))
    x = torch.randn(B, 7, D)
    whole, whole_final = stack(x, torch.tensor([7, 4, 6, 5]))
    first, state = stack(x[:, :3])
    second, final = stack(x[:, 3:], torch.tensor([4, 1, 3, 2]), state)
    assert_close(torch.cat([first, second], dim=1), whole, **exactly)
    assert_close(final, whole_final, **exactly)


def test_only_a_bidirectional_stack_sees_the_future(stack, bidirectional):
    x = torch.randn(1, T, D, requires_grad=True)
    outputs, _ = stack(x)
    outputs[:, 2].sum().backward()
    assert x.grad[:, :3].ne(0).any()
    assert x.grad[:, 3:].ne(0).any() == bidirectional


def test_the_backward_direction_starts_at_the_last_real_step(make_cell, randomise):
    layer = randomise(RecurrentLayer(make_cell(D, H), reverse=True))
    x = torch.randn(B, T, D)
    outputs, final = layer(x, LENGTHS)
    for b, length in enumerate(LENGTHS.tolist()):
        state = layer.cell.initial_state(1)
        for t in reversed(range(length)):
            state = layer.cell(x[b : b + 1, t], state)
            assert_close(outputs[b : b + 1, t], state[0], **exactly)
        assert_close([part[b : b + 1] for part in final], list(state), **exactly)


def test_each_layer_reads_both_directions_of_the_one_below(stack, bidirectional):
    x = torch.randn(B, T, D)
    below = x
    names = ["forwards", "backwards"] if bidirectional else ["forwards"]
    for level in stack.layers:
        assert list(level) == names
        below = torch.cat([level[name](below, LENGTHS)[0] for name in names], dim=-1)
    assert_close(stack(x, LENGTHS)[0], below, rtol=0, atol=0)
    assert stack.output_size == below.shape[-1]


def test_stepping_a_stack_equals_the_whole_sequence(make_cell, randomise):
    stack = randomise(
        RecurrentStack(D, cell=make_cell, hidden_size=H, depth=3, learn_initial_state=True)
    )
    x = torch.randn(B, T, D)
    outputs, final = stack(x)
    state = stack.initial_state(B)
    for t in range(T):
        output, state = stack.step(x[:, t], state)
        assert_close(output, outputs[:, t], **exactly)
    assert_close(state, final, **exactly)


def test_dropout_zeroes_outputs_at_depth_one_and_spares_what_recurs():
    stack = RecurrentStack(D, cell=LSTM, hidden_size=200, dropout=0.3)
    x = torch.randn(B, T, D)
    whole, final = copy.deepcopy(stack).eval()(x)
    outputs, dropped_final = stack(x)
    kept = outputs.ne(0)
    assert 0.27 < 1 - kept.double().mean() < 0.33
    assert_close(outputs[kept], (whole / 0.7)[kept], **exactly)
    assert_close(dropped_final, final, **exactly)


def test_dropout_lies_between_layers_too():
    stack = RecurrentStack(D, cell=GRU, hidden_size=200, depth=2, dropout=0.3)
    seen = []
    stack.layers[1]["forwards"].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    stack(torch.randn(B, T, D))
    assert 0.27 < seen[0].eq(0).double().mean() < 0.33


def test_dropout_acts_alike_when_stepping():
    stack = RecurrentStack(D, cell=GRU, hidden_size=500, dropout=0.3)
    x_t, state = torch.randn(B, D), stack.initial_state(B)
    output, after = stack.step(x_t, state)
    whole, whole_after = copy.deepcopy(stack).eval().step(x_t, state)
    kept = output.ne(0)
    assert 0.27 < 1 - kept.double().mean() < 0.33
    assert_close(output[kept], (whole / 0.7)[kept], **exactly)
    assert_close(after, whole_after, **exactly)


def test_a_learned_initial_state_starts_every_sequence_and_gets_a_gradient(make_cell, randomise):
    plain = randomise(RecurrentStack(D, cell=make_cell, hidden_size=H, bidirectional=True))
    learned = RecurrentStack(
        D, cell=make_cell, hidden_size=H, bidirectional=True, learn_initial_state=True
    )
    learned.load_state_dict(plain.state_dict(), strict=False)
    x = torch.randn(B, T, D)
    assert_close(learned(x, LENGTHS)[0], plain(x, LENGTHS)[0], rtol=0, atol=0)

    initial = {name: p for name, p in learned.named_parameters() if ".initial." in name}
    names = plain.cell_state_names
    assert set(initial) == {
        f"layers.0.{d}.initial.{name}" for d in ("forwards", "backwards") for name in names
    }
    with torch.no_grad():
        for parameter in initial.values():
            parameter.uniform_(-0.7, 0.7)
    outputs, final = learned(x, LENGTHS)
    given = learned.initial_state(B)
    assert_close(plain(x, LENGTHS, given), (outputs, final), rtol=0, atol=0)
    (outputs.square().sum() + final[0][0][-1].sum()).backward()
    assert all(parameter.grad.ne(0).any() for parameter in initial.values())


def test_a_given_state_replaces_the_learned_one(make_cell, randomise):
    stack = randomise(RecurrentStack(D, cell=make_cell, hidden_size=H, learn_initial_state=True))
    x = torch.randn(B, T, D)
    zeros = tuple(torch.zeros(B, H) for _ in stack.cell_state_names)
    outputs, _ = stack(x, LENGTHS, ((zeros,),))
    for part in stack.layers[0]["forwards"].initial.values():
        torch.nn.init.zeros_(part)
    assert_close(stack(x, LENGTHS)[0], outputs, **exactly)


def test_a_model_in_eval_mode_still_has_gradients(stack):
    x = torch.randn(B, T, D, requires_grad=True)
    stack.eval()(x, LENGTHS)[0].sum().backward()
    assert x.grad.ne(0).any()


def test_under_autocast_the_answer_is_near_and_states_stay_float32(stack, bidirectional):
    stack = stack.float()
    x = torch.randn(B, T, D, dtype=torch.float32)
    wanted, wanted_final = stack(x, LENGTHS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs, final = stack(x, LENGTHS)
        again, _ = stack(x, LENGTHS, final)
        outputs.float().square().sum().backward()
    assert_close(outputs.float(), wanted, rtol=0.1, atol=0.1)
    assert_close(final, wanted_final, rtol=0.1, atol=0.1)
    assert {part.dtype for part in flat(final)} == {torch.float32}
    assert again.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in stack.parameters())
    if not bidirectional:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output, state = stack.step(x[:, 0], stack.initial_state(B))
        assert_close(output.float(), wanted[:, 0], rtol=0.1, atol=0.1)
        assert {part.dtype for part in flat(state)} == {torch.float32}


def test_parameters_are_named_by_layer_and_direction():
    stack = RecurrentStack(D, cell=LSTM, hidden_size=H, depth=2, bidirectional=True)
    assert [name for name, _ in stack.named_parameters()] == [
        f"layers.{level}.{direction}.cell.{name}"
        for level, direction, name in itertools.product(
            [0, 1], ["forwards", "backwards"], ["weight_input", "weight_hidden", "bias"]
        )
    ]
