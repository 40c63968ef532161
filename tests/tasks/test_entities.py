"""Scores of spans: counted by hand, by an independent reader, and whatever the batches are."""

import re

import numpy as np
import pytest
import torch
from torch import nn

from seqpipe.data.base import FieldSpec
from seqpipe.data.tags import all_tags
from seqpipe.errors import ConfigError
from seqpipe.tasks.entity_metrics import EntityScores
from seqpipe.tasks.metrics import CLASS_METRICS
from seqpipe.tasks.tagging import Tagging

NAMES = tuple(sorted(all_tags(["LOC", "PER"], "bio")))
BIOES = tuple(sorted(all_tags(["LOC", "PER"], "bioes")))


def tagging(names=NAMES, scheme="bio", **options):
    return Tagging(y=FieldSpec("tags", len(names), names, scheme=scheme), **options)


def ids(tags, names=NAMES):
    """(B, T) ids of rows of tags, 0 where a row has ended, and the lengths."""
    rows = [[names.index(tag) for tag in row.split()] for row in tags]
    longest = max(map(len, rows))
    return [row + [0] * (longest - len(row)) for row in rows], [len(row) for row in rows]


def scores(task, batches, batch_of, stage="test"):
    """The scalars of a stage; batches: (guessed rows, true rows)."""
    metrics = task.metrics(stage)
    for guesses, truths in batches:
        guess, truth = ids(guesses, task.y.names)[0], ids(truths, task.y.names)
        logits = nn.functional.one_hot(torch.tensor(guess), task.output_size).float()
        batch = batch_of(*truth)
        metrics.update(*task.pairs(task.predict(None, logits, batch), batch))
    return {name: value.item() for name, value in task.scalars(metrics.compute()).items()}


TRUTH = ["B-PER I-PER O B-LOC", "B-LOC I-LOC", "O O O"]
GUESS = ["B-PER I-PER O B-LOC", "B-LOC O", "O B-PER O"]


def test_spans_are_right_if_their_type_and_both_ends_are(batch_of):
    found = scores(tagging(), [(GUESS, TRUTH)], batch_of)
    # guessed 4: PER right, LOC right, LOC too short, PER where there is none; true 3, found 2
    assert found["entity_precision"] == pytest.approx(2 / 4)
    assert found["entity_recall"] == pytest.approx(2 / 3)
    assert found["entity_f1"] == pytest.approx(2 * 2 / (4 + 3))
    assert found["entity_f1/PER"] == pytest.approx(2 * 1 / (2 + 1))
    assert found["entity_f1/LOC"] == pytest.approx(2 * 1 / (2 + 2))
    assert found["accuracy"] == pytest.approx(7 / 9)


def test_the_wrong_type_is_wrong_twice(batch_of):
    found = scores(tagging(), [(["B-LOC I-LOC"], ["B-PER I-PER"])], batch_of)
    assert (found["entity_f1"], found["entity_f1/LOC"], found["entity_f1/PER"]) == (0, 0, 0)


def test_spans_are_those_of_the_whole_split_not_the_mean_over_batches(batch_of):
    together = scores(tagging(), [(GUESS, TRUTH)], batch_of)
    apart = [([guess], [truth]) for guess, truth in zip(GUESS, TRUTH, strict=True)]
    assert scores(tagging(), apart, batch_of) == pytest.approx(together)
    f1 = [scores(tagging(), [case], batch_of)["entity_f1"] for case in apart]
    assert np.mean(f1) != pytest.approx(together["entity_f1"])


def test_where_nothing_is_marked_scores_are_zero_and_not_nan(batch_of):
    found = scores(tagging(), [(["O O"], ["O O"])], batch_of)
    assert found["entity_precision"] == found["entity_recall"] == found["entity_f1"] == 0


def test_padding_marks_no_spans(batch_of):
    """The padding of y is id 0, B-LOC, and a model may guess anything there."""
    guess = torch.tensor([[4, 4, 0, 2], [0, 4, 4, 4]])
    truth, lengths = torch.tensor([[4, 4, 0, 0], [0, 4, 4, 4]]), [2, 4]
    task = tagging()
    metrics = task.metrics("val")
    metrics.update(*task.pairs(guess, batch_of(truth, lengths)))
    assert NAMES[0] == "B-LOC"
    assert metrics.compute()["entity_f1"].item() == 1
    assert metrics["entities"].predicted.sum() == 1
    assert metrics.compute()["accuracy"].item() == 1


def conlleval(tags):
    """Spans by the rules of conlleval.pl's startOfChunk and endOfChunk, written out."""
    chunks = set()
    padded = ["O", *tags, "O"]
    start = None
    for place in range(1, len(padded)):
        (before, _, was), (now, _, is_) = (
            padded[place - 1].partition("-"),
            padded[place].partition("-"),
        )
        end_of_chunk = (
            (before in "BI" and now in "BSO")
            or before in ("E", "S")
            or (before != "O" and was != is_)
        )
        start_of_chunk = (
            now in ("B", "S")
            or (before in "ESO" and now in ("I", "E"))
            or (now != "O" and was != is_)
        )
        if end_of_chunk and start is not None:
            chunks.add((start, place - 1, was))
            start = None
        if start_of_chunk:
            start = place
    return chunks


@pytest.mark.parametrize(("names", "scheme"), [(NAMES, "bio"), (BIOES, "bioes")])
def test_scores_agree_with_an_independent_conlleval(names, scheme, batch_of):
    rng = np.random.default_rng(5)
    rows = [
        tuple(" ".join(rng.choice(names, size)) for _ in "gt") for size in rng.integers(1, 12, 80)
    ]
    right = guessed = true = 0
    for guess, truth in rows:
        a, b = conlleval(guess.split()), conlleval(truth.split())
        right, guessed, true = right + len(a & b), guessed + len(a), true + len(b)
    assert right > 20
    task = tagging(names, scheme)
    found = scores(
        task, [tuple(zip(*rows[:33], strict=True)), tuple(zip(*rows[33:], strict=True))], batch_of
    )
    assert found["entity_precision"] == pytest.approx(right / guessed)
    assert found["entity_recall"] == pytest.approx(right / true)
    p, r = right / guessed, right / true
    assert found["entity_f1"] == pytest.approx(2 * p * r / (p + r))


def test_spans_without_a_type_have_no_scores_by_type(batch_of):
    found = scores(tagging(("B", "I", "O")), [(["B I O"], ["B I O"])], batch_of)
    assert found["entity_f1"] == 1
    assert not [name for name in found if name.startswith("entity_f1/")]


def test_a_validation_names_what_can_be_monitored_and_types_are_for_the_test(batch_of):
    task = tagging(monitor="val/entity_f1")
    assert task.mode == "max"
    found = scores(task, [(GUESS, TRUTH)], batch_of, "val")
    assert {"loss", *found} == set(task.metric_names())
    assert "roc_auc" not in found  # unless it is monitored
    assert set(scores(task, [(GUESS, TRUTH)], batch_of, "train")) == {"accuracy"}


def test_tags_that_mark_no_spans_are_not_judged_by_them(batch_of):
    task = tagging(scheme=None)
    assert task.metric_names() == ["loss", *CLASS_METRICS]
    assert not [name for name in scores(task, [(GUESS, TRUTH)], batch_of) if "entity" in name]


def test_counts_of_several_processes_are_added():
    """What torchmetrics does with the states of two processes, done by hand."""
    one, two, both = EntityScores(NAMES), EntityScores(NAMES), EntityScores(NAMES)
    for metric, part in ((one, slice(0, 1)), (two, slice(1, 3)), (both, slice(0, 3))):
        guess, truth = torch.tensor(ids(GUESS)[0][part]), torch.tensor(ids(TRUTH)[0][part])
        metric.update(guess, truth)
    for state, reduce in one._reductions.items():
        added = reduce(torch.stack([getattr(one, state), getattr(two, state)]))
        assert torch.equal(added, getattr(both, state))


def test_runs_of_equal_tags_are_spans_where_that_is_asked_for(batch_of):
    names = ("exon", "intron", "none")
    truth = ["none exon exon intron exon none none exon"]
    guess = ["none exon exon exon exon none none exon"]
    task = tagging(names, scheme=None, spans="runs", background="none", monitor="val/entity_f1")
    found = scores(task, [(guess, truth)], batch_of)
    # true: exon 1-3, intron 3-4, exon 4-5, exon 7-8; predicted: exon 1-5, exon 7-8
    assert found["entity_precision"] == pytest.approx(1 / 2)
    assert found["entity_recall"] == pytest.approx(1 / 4)
    assert found["entity_f1"] == pytest.approx(2 / 6)
    assert found["entity_f1/exon"] == pytest.approx(2 / 5)
    assert found["entity_f1/intron"] == 0
    assert "entity_f1/none" not in found
    every = tagging(names, scheme=None, spans="runs")
    assert scores(every, [(guess, truth)], batch_of)["entity_f1/none"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spans": "runs"}, "task.spans=runs: the tags mark spans already, in the scheme bio"),
        ({"scheme": None, "background": "O"}, "no runs of tags are measured"),
        ({"scheme": None, "spans": "runs", "background": "o"}, "task.background=o: no such tag"),
    ],
)
def test_runs_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        tagging(**options)
