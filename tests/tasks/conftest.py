"""Batches and logits made by hand or at random, without a model."""

from collections.abc import Callable

import pytest
import torch

from seqpipe.data.base import SequenceBatch


@pytest.fixture
def batch_of() -> Callable[..., SequenceBatch]:
    """A batch of y alone, with its lengths where it has time."""

    def make(y, lengths=None) -> SequenceBatch:
        y = torch.as_tensor(y)
        y_lengths = None if lengths is None else torch.as_tensor(lengths)
        return SequenceBatch(None, None, y, y_lengths, torch.arange(len(y)))

    return make
