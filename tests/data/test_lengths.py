"""Sequences longer than wanted are cut with their answers, dropped or refused."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqpipe.data.field_checks import check_steps
from seqpipe.data.kinds import KINDS
from seqpipe.data.truncation import MaxLength
from seqpipe.errors import ConfigError, DataError

X, Y = np.arange(10).reshape(5, 2), np.arange(5)
ONE = np.array(7)


def limit(steps, x, y, *options, **ends):
    return MaxLength(steps, None if x is None else KINDS[x], KINDS[y], *options, **ends)


def listed(example):
    return [None if values is None else values.tolist() for values in example]


@pytest.mark.parametrize("y_kind", ["tags", "roll", "values"])
@given(length=st.integers(1, 12), steps=st.integers(1, 12), keep=st.sampled_from(["first", "last"]))
def test_each_step_keeps_its_own_answer_when_it_is_cut(y_kind, length, steps, keep):
    x = np.arange(length)
    cut = limit(steps, "symbols", y_kind, keep=keep)
    kept, answers = cut(x, x * 10)
    assert len(kept) == min(length, steps)
    assert (answers == kept * 10).all()
    assert kept[0 if keep == "first" else -1] == x[0 if keep == "first" else -1]


def test_one_answer_stays_as_it_is_when_x_is_cut():
    assert listed(limit(2, "values", "category")(X, ONE)) == [[[0, 1], [2, 3]], 7]
    assert listed(limit(2, "spelled", "number", keep="last")(X, ONE)) == [[[6, 7], [8, 9]], 7]


@pytest.mark.parametrize(("x_kind", "x"), [(None, None), ("category", ONE), ("vector", X[0])])
def test_y_is_cut_alone_where_x_has_no_steps(x_kind, x):
    kept, y = limit(3, x_kind, "symbols")(x, Y)
    assert kept is x
    assert y.tolist() == [0, 1, 2]


@pytest.mark.parametrize("longer", ["truncate", "drop", "refuse"])
def test_what_is_not_longer_is_left_alone(longer):
    x, y = limit(5, "values", "tags", longer)(X, Y)
    assert x is X
    assert y is Y


def test_a_pair_is_dropped_or_refused_where_either_is_longer():
    drop = limit(4, "symbols", "symbols", "drop")
    assert drop(Y, Y[:2]) is None
    assert drop(Y[:2], Y) is None
    assert listed(drop(Y[:4], Y[:2])) == [[0, 1, 2, 3], [0, 1]]
    refuse = limit(4, "symbols", "symbols", "refuse")
    for pair, role in (((Y, Y[:2]), "x"), ((Y[:2], Y), "y")):
        with pytest.raises(DataError) as error:
            refuse(*pair)
        assert str(error.value) == (
            f"{role} has 5 steps; allowed: data.max_length=4, or data.longer=drop"
        )


def test_where_it_could_be_cut_the_refusal_says_so():
    with pytest.raises(DataError) as error:
        limit(4, "values", "category", "refuse")(X, ONE)
    assert str(error.value) == (
        "x has 5 steps; allowed: data.max_length=4, or data.longer=drop or truncate"
    )


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ("vector", "number", "data.max_length=3: neither x nor y has steps; allowed: null"),
        (
            "symbols",
            "symbols",
            "data.longer=truncate: a part of x is not answered by a part of y; "
            "allowed: drop or refuse",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_read(x, y, message):
    x, y = SimpleNamespace(kind=x), SimpleNamespace(kind=y)
    with pytest.raises(ConfigError) as error:
        check_steps(x, y, {"max_length": 3})
    assert str(error.value) == message
