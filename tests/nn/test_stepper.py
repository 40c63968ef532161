"""A prepared step is the step of the stack."""

import pytest
import torch
from torch.testing import assert_close

from seqpipe.nn.cells import LSTM
from seqpipe.nn.recurrent import RecurrentStack
from seqpipe.nn.stepper import Stepper

V, D, H = 7, 3, 4
exactly = {"rtol": 0, "atol": 1e-12}


@pytest.fixture
def stack(make_cell, randomise):
    return randomise(RecurrentStack(D, cell=make_cell, hidden_size=H, depth=2)).eval()


def random_state(stack, rows):
    return tuple(
        tuple(tuple(torch.randn_like(part) for part in parts) for parts in layer)
        for layer in stack.initial_state(rows)
    )


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("steps", [1, 20, 50])  # fewer inputs than symbols, more; transposed
@torch.no_grad()
def test_symbols_are_stepped_as_their_vectors_are_by_the_stack(stack, rows, steps):
    vectors, kept = torch.randn(V, D), [weight.clone() for weight in stack.parameters()]
    stepper = Stepper(stack, vectors, rows=rows, steps=steps)
    state = found = random_state(stack, rows)
    for _ in range(3):
        ids = torch.randint(V, (rows,))
        output, state = stack.step(vectors[ids], state)
        prepared, found = stepper(ids, found)
        assert_close(prepared, output, **exactly)
        assert_close(found, state, **exactly)
    for weight, before in zip(stack.parameters(), kept, strict=True):
        assert weight.equal(before)
        assert weight.is_contiguous()
        assert weight.requires_grad


@pytest.mark.parametrize("rows", [1, 5])
@torch.no_grad()
def test_vectors_are_stepped_as_by_the_stack(stack, rows):
    x_t, state = torch.randn(rows, D), random_state(stack, rows)
    stepper = Stepper(stack, None, rows=rows, steps=50)
    assert_close(stepper(x_t, state), stack.step(x_t, state), **exactly)


@pytest.mark.parametrize("training", [False, True])
@torch.no_grad()
def test_dropout_acts_in_training_only(training):
    stack = RecurrentStack(D, cell=LSTM, hidden_size=50, dropout=0.5).train(training)
    stepper = Stepper(stack, None, rows=1, steps=50)
    output, _ = stepper(torch.randn(1, D), random_state(stack, 1))
    assert bool((output == 0).any()) == training


@torch.no_grad()
def test_it_reads_the_weights_when_it_is_made():
    stack = RecurrentStack(D, cell=LSTM, hidden_size=H).eval()
    x_t, state = torch.randn(1, D), random_state(stack, 1)
    for _ in range(2):
        for weight in stack.parameters():
            weight.add_(1.0)
        prepared, _ = Stepper(stack, None, rows=1, steps=50)(x_t, state)
        assert_close(prepared, stack.step(x_t, state)[0], **exactly)


@torch.no_grad()
def test_autocast_reads_the_weights_of_the_stack_itself():
    stack = RecurrentStack(D, cell=LSTM, hidden_size=H).eval()
    x_t, state = torch.randn(1, D), random_state(stack, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        prepared = Stepper(stack, None, rows=1, steps=50)(x_t, state)
        assert_close(prepared, stack.step(x_t, state), rtol=0, atol=0)
