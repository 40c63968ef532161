"""Any name of a class keeps a metric of its own in MLflow, and is read back as it was."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name, _validate_tag_name

from seqpipe.tracking.metric_names import LONGEST, decoded, encoded, encoded_together, tags_of_long

HARD = [
    *("<=50K", ">=50K", "=>50K", "C++", "C#", "R&D", "50%", "a:b", "A\tB", ",", ".", ":", "$", "#"),
    *("``", "''", "😀", "😢", "naïve", "naive", "日本", "x" * 300, "x" * 299, "f1/total", "loss"),
    *("..", "...", "/", "//", "a/../b", "a//b", "a/", "/a", " ", " a", "a ", "a", "A", "nan"),
    *("_", "__", "_x3C_", "_X3C_", "_x5F_x3C_", "_x-0123456789abcdef", "é", "e\u0301", "ß", "ss"),
    *("macro_f1", "\0", "\n", "[/red]", "हिन्दी", "\u202e", "Ab", "aB", "AB", "\uff41", "\ud800"),
]
NASTY = st.text(st.sampled_from([*"_x/. aAé<:5F-", "\u0301", "😀"]), min_size=1, max_size=12)


def test_names_of_classes_are_accepted_distinct_and_read_back():
    names = [f"test/f1/{name}" for name in HARD]
    recorded = encoded_together(names)
    for name, text in recorded.items():
        _validate_metric_name(text)
        assert len(text) <= LONGEST
        assert decoded(text, tags_of_long(recorded)) == name
    assert len({text.casefold() for text in recorded.values()}) == len(names)


@pytest.mark.parametrize("name", ["val/accuracy", "grad_norm/encoder.0.forwards", "test/f1/B-PER"])
def test_a_name_that_mlflow_takes_stays_as_it_is(name):
    assert encoded(name) == name
    assert encoded_together([name, "test/loss"])[name] == name


def test_only_of_names_that_differ_in_case_or_accents_these_are_escaped():
    names = ["f1/us", "f1/US", "f1/It", "f1/naïve", "f1/naive"]
    assert list(encoded_together(names).values()) == [
        *("f1/us", "f1/_x55__x53_", "f1/It", "f1/na_xEF_ve", "f1/naive"),
    ]


@given(NASTY)
def test_what_is_recorded_is_taken_by_mlflow_and_read_back(name):
    for strict in (False, True):
        text = encoded(name, strict=strict)
        _validate_metric_name(text)
        _validate_tag_name(text)
        assert decoded(text, {}) == name


@given(st.lists(NASTY, min_size=2, max_size=4, unique=True))
def test_no_two_names_are_recorded_alike_even_without_case(names):
    recorded = encoded_together(names)
    assert len({text.casefold() for text in recorded.values()}) == len(names)


@given(st.text(string.printable, min_size=230, max_size=400))
def test_a_name_that_is_too_long_is_found_by_its_digest(name):
    recorded = encoded_together([f"f1/{name}"])
    (text,) = recorded.values()
    _validate_metric_name(text)
    assert len(text) <= LONGEST
    assert decoded(text, tags_of_long(recorded)) == f"f1/{name}"
