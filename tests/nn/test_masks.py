import torch
from hypothesis import given
from hypothesis import strategies as st

from seqpipe.nn.masks import (
    check_lengths,
    last_real_step,
    length_mask,
    reverse_within_length,
)


def test_a_mask_is_true_at_real_steps():
    mask = length_mask(torch.tensor([1, 3]), 4)
    assert mask.tolist() == [[True, False, False, False], [True, True, True, False]]


def test_the_last_real_step_is_not_the_last_column():
    outputs = torch.arange(12.0).view(2, 3, 2)
    last = last_real_step(outputs, torch.tensor([1, 3]))
    assert last.tolist() == [[0.0, 1.0], [10.0, 11.0]]


@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5), extra=st.integers(0, 3))
def test_reversing_turns_each_sequence_alone_and_twice_is_nothing(lengths, extra):
    T = max(lengths) + extra
    x = torch.arange(len(lengths) * T * 2.0).view(len(lengths), T, 2)
    turned = reverse_within_length(x, torch.tensor(lengths))
    for row, before, length in zip(turned, x, lengths, strict=True):
        assert row[:length].tolist() == before[:length].tolist()[::-1]
        assert row[length:].tolist() == before[length:].tolist()
    assert torch.equal(reverse_within_length(turned, torch.tensor(lengths)), x)


def test_without_lengths_every_step_is_real():
    x = torch.randn(2, 3, 4)
    full = torch.tensor([3, 3])
    assert torch.equal(reverse_within_length(x, None), reverse_within_length(x, full))
    assert check_lengths(full, x) is None
    shorter = torch.tensor([3, 2])
    assert torch.equal(check_lengths(shorter, x), shorter)
