"""Baselines with an answer for each step: tags and piano rolls."""

import math

import numpy as np
import pytest

from seqpipe.data.fields.labels import Tags
from seqpipe.data.fields.rolls import PianoRoll
from seqpipe.data.fields.spelling import Spelled
from seqpipe.data.fields.text import Text
from seqpipe.tasks.multi_label import MultiLabel
from seqpipe.tasks.tagging import Tagging

TRAIN = [
    {"words": ["the", "dog", "can", "run"], "tags": ["D", "N", "V", "V"]},
    {"words": ["the", "can"], "tags": ["D", "N"]},
    {"words": ["a", "can"], "tags": ["D", "N"]},
    {"words": ["cats", "sleep", "now"], "tags": ["N", "V", "A"]},
]
TEST = [
    {"words": ["the", "can"], "tags": ["D", "N"]},
    {"words": ["birds", "sleep", "now", "the"], "tags": ["N", "V", "A", "V"]},
]
"""By the most frequent tag of the word 5 of 6 are right: `birds` is unknown, and gets N."""


@pytest.mark.parametrize(
    "x",
    [
        Text("words", by="tokens", min_count=1),
        Spelled("words", min_count=1),
        Spelled("words", min_count=3),
    ],
)
@pytest.mark.parametrize("window", [None, 2])
def test_a_word_has_its_most_frequent_tag_also_if_it_is_rare(x, window, data_of, metrics_of):
    data = data_of(Tags("tags"), x, train=TRAIN, test=TEST, window=window)
    found = metrics_of(Tagging(y=data.spec.y), data)
    assert found["tag_of_symbol"]["accuracy"] == pytest.approx(5 / 6)
    assert found["majority"]["accuracy"] == pytest.approx(2 / 6)  # N


def test_the_probability_of_a_tag_is_smoothed_with_that_of_all(data_of, metrics_of):
    data = data_of(
        Tags("tags"), Text("words", by="tokens", min_count=1), train=TRAIN, test=TEST[:1]
    )
    found = metrics_of(Tagging(y=data.spec.y), data)["tag_of_symbol"]
    share = {"D": 3 / 11, "N": 4 / 11}
    the, can = (2 + share["D"]) / 3, (2 + share["N"]) / 4
    assert found["loss"] == pytest.approx(-(math.log(the) + math.log(can)) / 2)


def test_tags_that_mark_spans_have_the_f1_of_spans(data_of, metrics_of):
    train = [{"words": ["in", "Rome"], "tags": ["O", "B-PLACE"]}] * 2
    test = [{"words": ["Rome", "in"], "tags": ["B-PLACE", "O"]}]
    data = data_of(Tags("tags", scheme="bio"), Spelled("words"), train=train, test=test)
    task = Tagging(y=data.spec.y, monitor="val/accuracy")
    found = metrics_of(task, data)
    assert found["tag_of_symbol"]["entity_f1"] == 1.0
    assert task.compared == ("accuracy", "entity_f1")


ROLLS = [
    [[1, 0], [1, 0], [1, 1], [0, 1]],
    [[0, 1], [0, 1], [1, 1]],
]


@pytest.mark.parametrize("options", [{}, {"batch_size": 1}, {"batch_size": 2, "bptt": 2}])
def test_notes_follow_from_the_last_step_alone_in_any_batches_and_in_lanes(
    options, data_of, metrics_of
):
    rolls = [np.pad(roll, ((0, 0), (30, 56))) for roll in ROLLS]  # 88 keys
    rows = [{"roll": roll} for roll in rolls]
    data = data_of(PianoRoll("roll"), train=rows, test=rows, **options)
    found = metrics_of(MultiLabel(y=data.spec.y), data)
    steps = sum(map(len, rolls))
    count, on = np.zeros((2, 88)), np.zeros((2, 88))  # by the note before, and the note
    moves = [
        (note, before[note], now[note])
        for roll in rolls
        for before, now in zip([[0] * 88, *roll], roll, strict=False)
        for note in range(88)
    ]
    for note, before, now in moves:
        count[before, note] += 1
        on[before, note] += now
    given, alone = (on + 0.5) / (count + 1), (on.sum(axis=0) + 0.5) / (steps + 1)
    markov = independent = 0.0
    for note, before, now in moves:
        p, q = given[before, note], alone[note]
        markov -= math.log(p if now else 1 - p)
        independent -= math.log(q if now else 1 - q)
    assert found["last_step"]["loss"] == pytest.approx(markov / steps, rel=1e-6)
    assert found["frequencies"]["loss"] == pytest.approx(independent / steps, rel=1e-6)
