"""What norms by distance are taken to mean."""

import numpy as np
import pytest

from seqpipe.report.decay import decay_of, overall

FAR = np.arange(100.0)


def test_the_half_life_and_horizon_of_an_exponential_are_its_own():
    found = decay_of(0.5 ** (FAR / 5))
    assert found.half_life == pytest.approx(5)
    assert found.decay == pytest.approx(0.5**0.2)
    assert found.horizon == 34  # 0.5 ** (33 / 5) is over 1 %, 0.5 ** (34 / 5) under
    assert found.verdict == "vanishing"
    assert "from 34 of 99 steps back, half-life 5 steps" in found.words()


def test_what_comes_back_farther_away_is_not_forgotten():
    norms = 0.5**FAR
    norms[60] = 0.5
    assert decay_of(norms).horizon == 61


def test_rounding_far_below_the_peak_is_not_fitted():
    norms = np.maximum(0.1**FAR, 1e-16)
    assert decay_of(norms).decay == pytest.approx(0.1)


def test_a_gradient_that_stays_is_healthy_and_its_half_life_bounded():
    found = decay_of(np.ones(100))
    assert (found.verdict, found.horizon, found.half_life) == ("healthy", 100, 1000.0)
    assert (
        found.words()
        == "healthy: above 1 % of its peak as far as 99 steps back, no measurable decay"
    )


def test_a_gradient_that_grows_from_step_to_step_explodes():
    found = decay_of(1.1**FAR)
    assert found.verdict == "exploding"
    assert found.decay == pytest.approx(1.1)
    assert found.scalars()["verdict"] == 1.0
    assert "1.3e+04 times as large 99 steps from the loss" not in decay_of(np.ones(9)).words()
    assert "(a factor of 1.1 per step)" in found.words()


def test_growth_in_proportion_to_the_distance_is_no_explosion():
    """What mean pooling does: each earlier step has a say in one output more."""
    assert decay_of(1.0 + np.arange(1000.0)).verdict == "healthy"


def test_a_gradient_that_is_no_number_explodes():
    norms = 2.0**FAR
    norms[50:] = np.nan
    assert decay_of(norms).verdict == "exploding"
    assert "is not finite" in decay_of(norms).words()


def test_no_gradient_at_all_is_said():
    found = decay_of(np.zeros(5))
    assert (found.verdict, found.horizon) == ("vanishing", 0)
    assert found.words() == "no gradient at all: the loss does not depend on any step"


def test_two_steps_are_too_few_to_tell():
    found = decay_of(np.array([1.0, 0.5]))
    assert (found.words(), found.scalars()) == ("too short to tell: 2 steps", {})
    assert decay_of(np.array([1.0])).words() == "too short to tell: 1 step"
    assert overall([found, decay_of(np.full(3, 1e-9))]).verdict == "healthy"


@pytest.mark.parametrize("norms", [[1.0, 2.0], [1.0, 2.0, 4.0], [1.0, 2.0, 4.0, 8.0]])
def test_growth_has_no_half_life_however_short(norms):
    found = decay_of(np.array(norms))
    assert found.decay == pytest.approx(2)
    assert found.without_end


def test_all_but_nothing_a_step_away_is_the_fastest_decay_that_is_measured():
    assert decay_of(np.array([1.0, 1e-20, 0.0])).decay == pytest.approx(1e-12)


def test_a_model_explodes_where_one_layer_does_and_remembers_as_long_as_its_best():
    short, long, bad = decay_of(0.5**FAR), decay_of(0.9**FAR), decay_of(1.2**FAR)
    assert overall([short, long]) is long
    assert overall([short, bad, long]) is bad
