"""Decays of teacher forcing against the published formulas, and where they act."""

import math

import pytest
import torch
from torch.testing import assert_close

from seqpipe.models.architecture import set_update
from seqpipe.models.forcing import Constant, Exponential, InverseSigmoid, Linear


def test_each_decay_is_the_published_one():
    """Bengio et al. (2015), section 2.4, by hand."""
    linear = Linear(updates=4, end=0.2)
    assert [linear(1.0, i) for i in (0, 1, 2, 4, 9)] == pytest.approx([1.0, 0.8, 0.6, 0.2, 0.2])
    exponential = Exponential(base=0.5)
    assert [exponential(0.8, i) for i in (0, 1, 3)] == pytest.approx([0.8, 0.4, 0.1])
    sigmoid = InverseSigmoid(k=10.0)
    for i in (0, 1, 17, 100):
        assert sigmoid(1.0, i) == pytest.approx(10 / (10 + math.exp(i / 10)))
        assert sigmoid(0.5, i) == pytest.approx(5 / (10 + math.exp(i / 10)))
    assert Constant()(0.3, 10**9) == 0.3


@pytest.mark.parametrize(
    "decay", [Linear(), Exponential(), InverseSigmoid(), InverseSigmoid(k=1.0), Linear(updates=1)]
)
def test_a_decay_never_rises_and_stays_a_probability_however_long_it_takes(decay):
    shares = [decay(0.9, i) for i in [*range(0, 5000, 50), 10**6, 10**9]]
    assert shares == sorted(shares, reverse=True)
    assert 0.9 >= shares[0] >= 0.9 * 0.49
    assert 0.0 <= shares[-1] < 1e-6
    assert decay.falls
    assert decay.state_dict() == {}  # nothing that a checkpoint would have to keep


def test_a_training_step_reads_the_truth_as_often_as_its_update_says(build, ragged, randomise):
    """As a model that is forced by that share from the start, with the same random numbers."""
    model, _, spec, _ = build("encoder_decoder additive")
    model.decay = Linear(updates=100)
    fixed = build("encoder_decoder additive").model
    randomise(model).train()
    fixed.double().train().load_state_dict(model.state_dict())
    batch = ragged(spec, torch.float64)
    given = (batch.x, batch.x_lengths, batch.y, batch.y_lengths)
    seen = []
    for update in (0, 50, 100, 500):
        share = max(0.0, 1 - update / 100)
        assert set_update(model, update) == {"teacher_forcing": pytest.approx(share)}
        fixed.teacher_forcing = share
        assert set_update(fixed, update) == {}  # nothing falls, so there is nothing to log
        torch.manual_seed(1)
        seen.append(model(*given))
        torch.manual_seed(1)
        assert_close(seen[-1], fixed(*given), rtol=0, atol=0)
    assert not torch.allclose(seen[0], seen[1])
    assert not torch.allclose(seen[1], seen[2])
    assert_close(seen[2], seen[3], rtol=0, atol=0)
    model.eval()
    assert_close(model(*given)[0, :3], seen[0][0, :3], rtol=0, atol=1e-12)  # always the truth
