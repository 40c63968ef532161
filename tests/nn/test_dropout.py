"""Dropout of a stack: its places, and masks that stay for a whole sequence."""

import copy

import pytest
import torch
from torch.testing import assert_close

from seqpipe.errors import ConfigError
from seqpipe.nn.cells import GRU, LSTM
from seqpipe.nn.recurrent import RecurrentStack
from seqpipe.nn.stepper import Stepper

D, H, B, T = 3, 200, 4, 6
LENGTHS = torch.tensor([6, 2, 1, 5])
exactly = {"rtol": 0, "atol": 1e-12}
BOTH = pytest.mark.parametrize("bidirectional", [False, True], ids=["forwards", "both"])


def stack_of(depth=1, input_size=D, **options):
    return RecurrentStack(
        input_size, cell=options.pop("cell", LSTM), hidden_size=H, depth=depth, **options
    )


def share_of_zeros(values):
    return values.eq(0).double().mean().item()


def inputs_of(stack):
    """What each layer reads, in the order in which they are run."""
    seen = []
    for level in stack.layers:
        level["forwards"].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    return seen


@BOTH
def test_locked_dropout_is_one_mask_for_all_steps_of_each_sequence(bidirectional):
    stack = stack_of(dropout=0.3, locked_dropout=True, bidirectional=bidirectional)
    x = torch.randn(B, T, D)
    whole, final = copy.deepcopy(stack).eval()(x, LENGTHS)
    torch.manual_seed(1)
    outputs, dropped_final = stack(x, LENGTHS)
    torch.manual_seed(1)
    mask = torch.nn.functional.dropout(torch.ones(B, 1, stack.output_size), 0.3)
    assert set(mask.unique().tolist()) == {0.0, 1 / 0.7}
    assert_close(outputs, whole * mask, **exactly)
    assert not mask[0].equal(mask[1])
    assert_close(dropped_final, final, **exactly)


def test_each_batch_draws_masks_of_its_own():
    stack, x = stack_of(dropout=0.3, locked_dropout=True), torch.randn(B, T, D)
    assert not stack(x)[0].eq(0).equal(stack(x)[0].eq(0))


def test_the_gradient_passes_where_the_mask_does():
    stack = stack_of(input_size=50, input_dropout=0.5, dropout=0.0, locked_dropout=True)
    read, x = inputs_of(stack), torch.randn(B, T, 50, requires_grad=True)
    outputs, _ = stack(x, LENGTHS)
    outputs.square().sum().backward()
    kept = read[0].ne(0)
    assert kept.equal(kept[:, :1].expand_as(kept))
    real = torch.arange(T) < LENGTHS[:, None]
    assert x.grad.ne(0).equal(kept & real[..., None])


@pytest.mark.parametrize("locked", [False, True])
def test_each_place_has_its_rate(locked):
    rates = {"input_dropout": 0.6, "dropout": 0.3, "output_dropout": 0.1}
    stack = stack_of(depth=3, input_size=300, locked_dropout=locked, **rates)
    read = inputs_of(stack)
    outputs, _ = stack(torch.randn(40, 5, 300))
    shares = [share_of_zeros(values) for values in (*read, outputs)]
    assert shares == pytest.approx([0.6, 0.3, 0.3, 0.1], abs=0.03)


def test_without_a_rate_of_its_own_the_last_layer_drops_as_the_others():
    plain, same = stack_of(dropout=0.3), stack_of(dropout=0.1, output_dropout=0.3)
    same.load_state_dict(plain.state_dict())
    x = torch.randn(B, T, D)
    answers = []
    for stack in (plain, same):
        torch.manual_seed(1)
        answers.append(stack(x)[0])
    assert_close(*answers, rtol=0, atol=0)


def test_options_that_are_off_draw_no_numbers():
    stack, x = stack_of(dropout=0.0), torch.randn(B, T, D)
    before = torch.get_rng_state()
    stack(x)
    assert torch.get_rng_state().equal(before)


def test_in_eval_mode_nothing_is_dropped():
    rates = {"input_dropout": 0.6, "dropout": 0.3, "locked_dropout": True}
    stack, plain = stack_of(**rates).eval(), stack_of().eval()
    plain.load_state_dict(stack.state_dict())
    x = torch.randn(B, T, D)
    assert_close(stack(x, LENGTHS), plain(x, LENGTHS), rtol=0, atol=0)


@pytest.mark.parametrize("poison", [1e6, torch.nan, torch.inf])
def test_padding_cannot_pass_a_dropped_input(poison):
    stack = stack_of(input_dropout=0.4, locked_dropout=True)
    x = torch.randn(B, T, D)
    padding = (torch.arange(T) >= LENGTHS[:, None])[..., None]
    results = []
    for value in (0.0, poison):
        torch.manual_seed(1)
        read = x.masked_fill(padding, value).requires_grad_()
        outputs, _ = stack(read, LENGTHS)
        outputs.square().sum().backward()
        results.append((outputs, read.grad.masked_fill(padding, 0.0)))
    assert_close(*results, rtol=0, atol=0)


def test_steps_of_a_sequence_share_the_masks_of_the_whole_one():
    rates = {"input_dropout": 0.3, "dropout": 0.4, "output_dropout": 0.5, "locked_dropout": True}
    stack, x = stack_of(depth=2, cell=GRU, input_size=20, **rates), torch.randn(B, T, 20)
    torch.manual_seed(1)
    wanted, _ = stack(x)
    torch.manual_seed(1)
    step, state, outputs = stack.steps(B), stack.initial_state(B), []
    for t in range(T):
        output, state = step(x[:, t], state)
        outputs.append(output)
    assert_close(torch.stack(outputs, dim=1), wanted, **exactly)


@torch.no_grad()
def test_prepared_steps_share_the_masks_too():
    rates = {"input_dropout": 0.3, "dropout": 0.4, "locked_dropout": True}
    stack, vectors = stack_of(depth=2, **rates), torch.randn(7, D)
    ids = torch.randint(7, (B, T))
    torch.manual_seed(1)
    wanted, _ = stack(vectors[ids])
    torch.manual_seed(1)
    step, state, outputs = Stepper(stack, vectors, rows=B, steps=T), stack.initial_state(B), []
    for t in range(T):
        output, state = step(ids[:, t], state)
        outputs.append(output)
    assert_close(torch.stack(outputs, dim=1), wanted, **exactly)


@pytest.mark.parametrize(
    "rates", [{}, {"dropout": 0.3, "output_dropout": 0.0}], ids=["no rates", "between no layers"]
)
def test_locking_nothing_is_refused(rates):
    with pytest.raises(ConfigError, match=r"locked_dropout=.*: nothing is dropped"):
        stack_of(locked_dropout=True, **rates)
    stack_of(depth=2, locked_dropout=True, dropout=0.3, output_dropout=0.0)
