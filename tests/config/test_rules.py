import pytest

from seqpipe.rules import (
    choice,
    either,
    flag,
    list_of,
    mapping_of,
    null,
    real,
    shown,
    text,
    whole,
)


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (whole(), [0, -5, 10**12], [1.0, True, "1", None]),
        (whole(1), [1], [0]),
        (whole(0, 3), [0, 3], [-1, 4]),
        (real("[0, 1)"), [0, 0.5, 0.999], [1, -0.001, True, float("nan"), "0.5"]),
        (real("(0, inf)"), [1e-9, 5], [0, float("inf"), -1]),
        (flag(), [True, False], [0, 1, "true", None]),
        (choice("norm", "value"), ["norm"], ["nrom", None, 1]),
        (choice("auto", -1), ["auto", -1], [1, "x", True]),
        (mapping_of(text()), [{}, {"a": "b"}], [{"a": 1}, {"a": None}, ["a"], "a"]),
        (list_of(whole(1), length=2), [[1, 2], (3, 4)], [[1], [1, 0], 1, "12"]),
        (either(whole(1), null()), [1, None], [0, "a"]),
        (text(r"\d+"), ["12"], ["12a", 12]),
    ],
)
def test_a_rule_accepts_what_it_says_and_nothing_else(rule, good, bad):
    assert [value for value in good if rule.fault(value)] == []
    assert [value for value in bad if not rule.fault(value)] == []


def test_a_value_is_shown_as_it_is_typed():
    assert shown({"a": [1, True, None, "x"]}) == "{a:[1,true,null,x]}"
