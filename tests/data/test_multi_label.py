"""The field of several labels an example."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqpipe.data.base import FieldSpec
from seqpipe.data.fields.multilabel import MultiLabel
from seqpipe.errors import DataError


def fitted(values, **options):
    field = MultiLabel("y", **options)
    field.fit([{"y": value} for value in values])
    return field


def test_labels_stand_in_lists_or_in_text_and_are_sorted():
    field = fitted([["rock", "live"], "jazz| live", "", [], "pop|"])
    assert field.spec == FieldSpec("multi_label", 4, ("jazz", "live", "pop", "rock"))
    assert field.encode({"y": "rock|jazz"}).tolist() == [1, 0, 0, 1]
    assert field.encode({"y": ["live", "live"]}).tolist() == [0, 1, 0, 0]
    assert field.encode({"y": ""}).tolist() == [0, 0, 0, 0]
    assert field.encode({"y": []}).dtype == torch.uint8
    assert field.decode([1, 0, 0, 1]) == "jazz|rock"
    assert field.decode([0, 0, 0, 0]) == ""
    assert field.describe({}) == "any of 4 labels (jazz, live, pop, rock)"
    assert fitted(["b,a"], separator=",").decode([1, 1]) == "a,b"
    assert fitted([[10, 9], [1]]).spec.names == ("1", "9", "10")


@given(st.lists(st.sets(st.text("abc de"), max_size=4), min_size=1, max_size=6))
def test_labels_come_back(examples):
    examples = [{label.strip() for label in labels} - {""} for labels in examples]
    if not set.union(*examples):
        return
    field = fitted([sorted(labels) for labels in examples])
    other = MultiLabel("y")
    other.restore(field.state())
    for labels in examples:
        encoded = field.encode({"y": list(labels)})
        shown = field.decode(encoded)
        assert {label for label in shown.split("|") if label} == labels
        assert torch.equal(other.encode({"y": shown}), encoded)


def test_a_training_split_without_labels_is_refused():
    with pytest.raises(DataError) as error:
        fitted(["", []])
    assert (
        str(error.value) == "y: no example has a label; allowed: at least one example with a label"
    )


def test_labels_that_hold_the_separator_are_shown_as_a_list():
    field = fitted([["R&B|Soul", "pop"]])
    assert field.names == ("R&B|Soul", "pop")
    assert field.decode([1, 1]) == '["R&B|Soul", "pop"]'
    assert field.decode([0, 1]) == "pop"


def test_labels_of_a_text_may_hold_blanks_and_other_signs():
    field = fitted(["new wave|rock, hard", "rock, hard"])
    assert field.names == ("new wave", "rock, hard")
    assert field.notes("data.y") == []


def test_a_separator_that_is_not_that_of_the_texts_is_warned_about():
    (note,) = fitted(["a;b", "b", "a"]).notes("data.y")
    assert note.startswith("data.y.separator=|: 1 labels look like several, as 'a;b', and each is")
    assert note.endswith("allowed: +data.y.separator=';' if they are")
    assert fitted(["a;b", "b", "a"], separator=";").notes("data.y") == []
