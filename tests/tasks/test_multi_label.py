"""Multi-label loss and metrics against counts by hand and against scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics

from seqpipe.data.base import FieldSpec
from seqpipe.tasks.multi_label import MultiLabel

ROLL, LABELS = FieldSpec("roll", 3, ("C4", "D4", "E4")), FieldSpec("multi_label", 3, tuple("abc"))


def logit(probability):
    return math.log(probability / (1 - probability))


def scalars_of(task, logits, batch, stage="test"):
    metrics = task.metrics(stage)
    pairs = task.pairs(task.predict(None, logits, batch), batch)
    metrics.update(*pairs, scores=task.scores(logits, batch))
    return {name: value.item() for name, value in task.scalars(metrics.compute()).items()}


def test_the_loss_is_summed_over_the_notes_and_meant_over_real_steps(batch_of):
    p = torch.tensor([0.5, 0.25, 0.9])
    logits = p.logit().expand(2, 3, 3)
    y = torch.zeros(2, 3, 3)
    y[0, 0] = torch.tensor([1.0, 1.0, 0.0])
    y[1, 1:] = 1e6  # padding
    batch = batch_of(y, [3, 1])
    first = -math.log(0.5) - math.log(0.25) - math.log(0.1)
    silent = -math.log(0.5) - math.log(0.75) - math.log(0.1)
    task = MultiLabel(y=ROLL)
    assert task.loss(logits, batch, training=True).item() == pytest.approx((first + 3 * silent) / 4)
    assert task.units(batch).item() == 4


def test_the_loss_of_whole_sequences_is_meant_over_examples(batch_of):
    batch = batch_of([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    task = MultiLabel(y=LABELS)
    logits = torch.tensor([0.5, 0.25, 0.9]).logit().expand(2, 3)
    wanted = (-math.log(0.5 * 0.75 * 0.1) - math.log(0.5 * 0.25 * 0.9)) / 2
    assert task.loss(logits, batch, training=False).item() == pytest.approx(wanted)
    assert task.units(batch).item() == 2


def test_the_loss_is_float32_and_finite_however_sure_the_model_is(batch_of):
    batch = batch_of([[1.0, 0.0, 1.0]])
    logits = torch.tensor([[-300.0, 300.0, 300.0]], dtype=torch.bfloat16)
    loss = MultiLabel(y=LABELS).loss(logits, batch, training=True)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(600, rel=0.01)


def test_scores_counted_by_hand(batch_of):
    batch = batch_of([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    guess = torch.tensor([[1, 0, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0]])
    logits = guess * 4.0 - 2.0
    # a: TP 2, FP 1; b: TP 1, FN 1; c: neither there nor predicted
    wanted = {
        "accuracy": 3 / 5,
        "micro_f1": 6 / 8,
        "macro_f1": (4 / 5 + 2 / 3) / 2,
        "macro_precision": (2 / 3 + 1) / 2,
        "macro_recall": (1 + 1 / 2) / 2,
        "exact_match": 2 / 4,
        # a: 2 of 4 pairs in order and 2 equal; b: 2 of 4 and 2; c is never there
        "roc_auc": (3 / 4 + 3 / 4) / 2,
        "average_precision": (2 / 3 + (1 / 2 + 1 / 2 * 2 / 4)) / 2,
    }
    each = {"f1/a": 4 / 5, "f1/b": 2 / 3, "f1/c": 0.0}
    each |= {"precision/a": 2 / 3, "precision/b": 1.0, "recall/a": 1.0, "recall/b": 1 / 2}
    task = MultiLabel(y=LABELS)
    assert scalars_of(task, logits, batch) == pytest.approx({**wanted, **each})
    assert scalars_of(task, logits, batch, "val") == pytest.approx(wanted)
    assert len(task.metrics("train")) == 0


def test_scores_of_a_roll_go_over_real_steps_and_agree_with_scikit_learn(batch_of):
    rng = np.random.default_rng(0)
    lengths = np.array([9, 3, 1, 6])
    truth, guess = rng.random((2, 4, 9, 3)) < 0.4
    batch = batch_of(truth.astype(np.float32), lengths)
    scalars = scalars_of(MultiLabel(y=ROLL), torch.tensor(guess * 2.0 - 1.0), batch)
    mask = np.arange(9) < lengths[:, None]
    real = truth[mask], guess[mask]
    hits, wrong = (real[0] & real[1]).sum(), (real[0] ^ real[1]).sum()
    assert scalars == pytest.approx(
        {
            "accuracy": hits / (hits + wrong),
            "micro_f1": sklearn_metrics.f1_score(*real, average="micro"),
            "macro_f1": sklearn_metrics.f1_score(*real, average="macro"),
            "macro_precision": sklearn_metrics.precision_score(*real, average="macro"),
            "macro_recall": sklearn_metrics.recall_score(*real, average="macro"),
            "exact_match": sklearn_metrics.accuracy_score(*real),
        }
    )
    jaccard = sklearn_metrics.jaccard_score(*(a.ravel() for a in real))
    assert scalars["accuracy"] == pytest.approx(jaccard)


def test_scores_of_silence_are_0_and_not_missing(batch_of):
    batch = batch_of(torch.zeros(2, 3))
    scalars = scalars_of(MultiLabel(y=LABELS), torch.full((2, 3), -9.0), batch, "val")
    zero = ("accuracy", "micro_f1", "macro_f1", "macro_precision", "macro_recall")
    assert scalars == {**dict.fromkeys(zero, 0.0), "exact_match": 1.0}


def test_a_label_is_predicted_from_the_threshold_on(batch_of):
    logits = torch.tensor([[logit(0.29), logit(0.31), logit(0.6)]])
    batch = batch_of([[0.0, 1.0, 1.0]])
    low, usual = MultiLabel(y=LABELS, threshold=0.3), MultiLabel(y=LABELS)
    assert low.predict(None, logits, batch).tolist() == [[False, True, True]]
    assert usual.predict(None, logits, batch).tolist() == [[False, False, True]]
    assert usual.predict(None, torch.zeros(1, 3), batch).all()
    assert scalars_of(low, logits, batch)["exact_match"] == 1.0


def test_examples_to_read_have_no_padding(batch_of):
    y = torch.ones(2, 3, 3)
    batch = batch_of(y, [3, 1])
    shown = MultiLabel(y=ROLL).decoded(y.bool(), batch)
    assert [(len(p), len(t)) for p, t in shown] == [(3, 3), (1, 1)]
    rows = MultiLabel(y=LABELS).decoded(y[:, 0].bool(), batch_of(y[:, 0]))
    assert [(p.tolist(), t.tolist()) for p, t in rows] == [([True] * 3, [1.0] * 3)] * 2
