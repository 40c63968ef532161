"""Series in units of their own, as differences, and around a point."""

import numpy as np
import pytest
import torch

from seqpipe.data.fields.series import Series, point_of_each
from seqpipe.errors import ConfigError

DRAW = np.random.default_rng(0)
SERIES = [DRAW.normal(3, 2, (T, 4)) for T in (9, 5, 1)]
RECORDS = [{"x": one} for one in SERIES]


def encoded(**options):
    field = Series("x", **options)
    field.fit(RECORDS)
    return [field.encode(record).numpy() for record in RECORDS]


def test_a_series_is_standardized_by_its_own_steps():
    for raw, values in zip(SERIES, encoded(standardize="example"), strict=True):
        deviation = raw.std(axis=0)
        expected = (raw - raw.mean(axis=0)) / np.where(deviation > 1e-9, deviation, 1)
        np.testing.assert_allclose(values, expected, atol=1e-6)


def test_a_standardized_series_has_no_level_and_no_size():
    field = Series("x", standardize="example")
    field.fit(RECORDS)
    one, other = (field.encode({"x": scale * SERIES[0] + 100}) for scale in (1.0, 7.0))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    constant = field.encode({"x": np.full((3, 4), 5.5)})
    assert not constant.any()


def test_the_spec_has_units_only_where_they_are_those_of_the_training_split():
    for standardize, known in ((True, True), ("example", False), (False, False)):
        field = Series("x", standardize=standardize)
        field.fit(RECORDS)
        assert (field.spec.mean is not None) == known


@pytest.mark.parametrize("standardize", [False, True])
def test_differences_are_of_neighbours_and_the_first_is_zero(standardize):
    differences = [np.concatenate([0 * one[:1], one[1:] - one[:-1]]) for one in SERIES]
    every = np.concatenate(differences)
    for expected, values in zip(
        differences, encoded(difference=True, standardize=standardize), strict=True
    ):
        if standardize:
            expected = (expected - every.mean(axis=0)) / every.std(axis=0)
        np.testing.assert_allclose(values, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("reference", "subtracted"),
    [
        ([0, 1], [0, 1, 0, 1]),  # points follow each other: x1 y1 x2 y2
        ([2, 3], [2, 3, 2, 3]),
        ([0, 2], [0, 0, 2, 2]),  # coordinates do: x1 x2 y1 y2
        ([1, 3], [1, 1, 3, 3]),
        ([2], [2, 2, 2, 2]),
    ],
)
def test_the_coordinates_of_a_point_are_subtracted_from_those_of_every_point(reference, subtracted):
    for raw, values in zip(SERIES, encoded(reference=reference), strict=True):
        np.testing.assert_allclose(values, raw - raw[:, subtracted], atol=1e-6)
        assert not values[:, reference].any()


def test_the_reference_comes_before_the_difference_and_the_scale_last():
    options = {"reference": [0, 1], "difference": True, "standardize": "example"}
    for raw, values in zip(SERIES, encoded(**options), strict=True):
        centred = raw - raw[:, [0, 1, 0, 1]]
        changes = np.diff(centred, axis=0, prepend=centred[:1])
        deviation = changes.std(axis=0)
        expected = (changes - changes.mean(axis=0)) / np.where(deviation > 1e-9, deviation, 1)
        np.testing.assert_allclose(values, expected, atol=1e-5)


@pytest.mark.parametrize("reference", [[], [4], [0, 3], [1, 2], [0, 1, 2], [3, 2]])
def test_a_reference_that_is_no_point_is_refused(reference):
    with pytest.raises(ConfigError) as refused:
        encoded(reference=reference)
    shown = ",".join(map(str, reference))
    assert refused.value.problems == [
        f"data.x.reference=[{shown}]: no point of 4 channels; allowed: null, [0] for one "
        "coordinate a point, [0,1] for x1, y1, x2, y2, ..."
    ]


@pytest.mark.parametrize(("reference", "width"), [([0, 1], 2), ([1, 0], 2), ([0], 1)])
def test_a_reference_that_leaves_nothing_to_read_is_refused(reference, width):
    records = [{"x": one[:, :width]} for one in SERIES]
    with pytest.raises(ConfigError) as refused:
        Series("x", reference=reference).fit(records)
    assert refused.value.problems == [
        f"data.x.reference=[{','.join(map(str, reference))}]: x has {width} channel"
        f"{'s' if width > 1 else ''}, these alone, and relative to themselves all are 0; allowed: "
        "null, or the channels of one point of several"
    ]


def test_points_in_space_are_found_in_either_layout():
    assert point_of_each([3, 4, 5], 9) == [3, 4, 5] * 3
    assert point_of_each([1, 4, 7], 9) == [1] * 3 + [4] * 3 + [7] * 3
