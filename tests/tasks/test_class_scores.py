"""Scores of classes against scikit-learn, which shares no code with them."""

import logging

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics
from torch import nn

from seqpipe.data.base import FieldSpec
from seqpipe.errors import ConfigError
from seqpipe.tasks.class_counts import ClassCounts
from seqpipe.tasks.classification import Classification
from seqpipe.tasks.computed import class_rows, warn_of_undefined
from seqpipe.tasks.multi_label import MultiLabel
from seqpipe.tasks.ordinal import Ordinal
from seqpipe.tasks.ranking import SortedScores
from seqpipe.tasks.tagging import Tagging

NAMES = ("a", "b", "c", "d")
MORE = ("macro_precision", "macro_recall", "balanced_accuracy", "matthews")


def computed_of(task, parts, stage="test"):
    metrics = task.metrics(stage)
    for logits, batch in parts:
        pairs = task.pairs(task.predict(None, logits, batch), batch)
        metrics.update(*pairs, scores=task.scores(logits, batch))
    return metrics.compute()


def scalars_of(task, logits, batch, stage="test"):
    computed = computed_of(task, [(logits, batch)], stage)
    return {name: value.item() for name, value in task.scalars(computed).items()}


def wanted_of(truth, guess, chances, names):
    """The scores as scikit-learn has them; K is that of names."""
    options = {"average": "macro", "zero_division": 0}
    wanted = {
        "macro_precision": sklearn_metrics.precision_score(truth, guess, **options),
        "macro_recall": sklearn_metrics.recall_score(truth, guess, **options),
        "matthews": sklearn_metrics.matthews_corrcoef(truth, guess),
        "balanced_accuracy": sklearn_metrics.balanced_accuracy_score(truth, guess),
    }
    columns = [1] if len(names) == 2 else [k for k in range(len(names)) if (truth == k).any()]
    for name, score in (
        ("roc_auc", sklearn_metrics.roc_auc_score),
        ("average_precision", sklearn_metrics.average_precision_score),
    ):
        wanted[name] = np.mean([score(truth == k, chances[:, k]) for k in columns])
    return wanted


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
@pytest.mark.parametrize(("K", "met"), [(2, 2), (4, 4), (4, 3)], ids=["two", "four", "absent"])
def test_scores_agree_with_scikit_learn(batch_of, K, met):
    rng = np.random.default_rng(K + met)
    truth = rng.integers(0, met, (2, 300)).min(axis=0)  # some classes are rare
    logits = rng.normal(size=(300, K)).round(1)  # some are equal
    logits[np.arange(300), truth] += 1
    chances = torch.tensor(logits).softmax(dim=-1).float().numpy()
    guess = logits.argmax(axis=1)
    task = Classification(y=FieldSpec("category", K, NAMES[:K]))
    parts = [
        (torch.tensor(logits[part]), batch_of(truth[part]))
        for part in (slice(0, 1), slice(1, 90), slice(90, 300))
    ]
    found = {name: value.item() for name, value in task.scalars(computed_of(task, parts)).items()}
    for name, value in wanted_of(truth, guess, chances, NAMES[:K]).items():
        assert found[name] == pytest.approx(value, abs=1e-6), name
    if K == 2:
        recalls = sklearn_metrics.recall_score(truth, guess, average=None)
        assert [found["specificity"], found["sensitivity"]] == pytest.approx(list(recalls))
    else:
        assert "sensitivity" not in found


def test_tags_are_scored_over_real_steps_whatever_the_padding_holds(batch_of):
    rng = np.random.default_rng(1)
    lengths = np.array([9, 3, 1, 6])
    mask = np.arange(9) < lengths[:, None]
    truth, logits = rng.integers(0, 4, (4, 9)), rng.normal(size=(4, 9, 4))
    poisoned = np.where(mask[..., None], logits, [1e6, 0, 0, 0])
    task = Tagging(y=FieldSpec("tags", 4, NAMES), monitor="val/roc_auc")
    for stage in ("val", "test"):
        found = scalars_of(task, torch.tensor(poisoned), batch_of(truth, lengths), stage)
        chances = torch.tensor(logits[mask]).softmax(dim=-1).numpy()
        wanted = wanted_of(truth[mask], logits[mask].argmax(axis=-1), chances, NAMES)
        for name, value in wanted.items():
            assert found[name] == pytest.approx(value, abs=1e-6), name


def test_tags_are_ranked_in_the_test_and_where_that_is_monitored(batch_of):
    y, batch = FieldSpec("tags", 2, NAMES[:2]), batch_of([[0, 1, 0]], [3])
    logits = torch.zeros(1, 3, 2)
    plain, asked = Tagging(y=y), Tagging(y=y, monitor="val/average_precision")
    for task, ranked in ((plain, False), (asked, True)):
        assert ("roc_auc" in task.metric_names()) is ranked
        assert ("roc_auc" in scalars_of(task, logits, batch, "val")) is ranked
        assert "roc_auc" in scalars_of(task, logits, batch, "test")


def test_all_that_can_be_monitored_of_tags_is_listed():
    y = FieldSpec("tags", 2, NAMES[:2])
    with pytest.raises(ConfigError) as refused:
        Tagging(y=y, monitor="val/f1")
    _, _, listed = str(refused.value).partition("no such metric; allowed: ")
    for one in listed.partition(";")[0].split(", "):
        monitor, _, needed = one.partition(" with ")
        spans = "runs" if needed == "task.spans=runs" else None
        task = Tagging(y=y, monitor=monitor, mode=Tagging.better(monitor), spans=spans)
        assert monitor.removeprefix("val/") in task.metric_names()
    assert "val/average_precision," in listed
    assert "val/entity_f1 with task.spans=runs" in listed
    with pytest.raises(ConfigError) as refused:
        Tagging(y=y, monitor="val/entity_f1")
    assert "allowed: also task.spans=runs, or val/loss, " in str(refused.value)
    assert "val/matthews, val/sensitivity, val/specificity, val/roc_auc, " in str(refused.value)


def test_a_callback_that_monitors_the_ranks_of_tags_needs_the_task_to_do_so():
    task = Tagging(y=FieldSpec("tags", 2, NAMES[:2]))
    (problem,) = task.monitor_problems("callbacks.stop", "val/roc_auc", "max")
    assert problem.startswith(
        "callbacks.stop.monitor=val/roc_auc: no such metric without task.monitor=val/roc_auc; "
        "allowed: also task.monitor=val/roc_auc, or val/loss, "
    )


def test_ordinal_classes_and_labels_are_ranked_by_their_probabilities(batch_of):
    rng = np.random.default_rng(2)
    truth, outputs = rng.integers(0, 3, 60), torch.tensor(rng.normal(size=(60, 2)))
    task = Ordinal(y=FieldSpec("ordinal", 3, ("1", "2", "3")))
    chances = task.probabilities(outputs, batch_of(truth)).float().numpy()
    auc = np.mean([sklearn_metrics.roc_auc_score(truth == k, chances[:, k]) for k in range(3)])
    assert scalars_of(task, outputs, batch_of(truth))["roc_auc"] == pytest.approx(auc, abs=1e-6)
    labels, logits = rng.random((60, 3)) < 0.3, torch.tensor(rng.normal(size=(60, 3)))
    task = MultiLabel(y=FieldSpec("multi_label", 3, NAMES[:3]))
    found = scalars_of(task, logits, batch_of(labels.astype(np.float32)))
    for name, score in (
        ("roc_auc", sklearn_metrics.roc_auc_score),
        ("average_precision", sklearn_metrics.average_precision_score),
    ):
        assert found[name] == pytest.approx(score(labels, logits.numpy(), average="macro"))


def test_the_positive_class_is_the_second_or_the_one_that_is_named(batch_of):
    y, truth = FieldSpec("category", 2, ("+", "-")), [0, 0, 0, 1]
    logits = torch.tensor([[2.0, 0], [1.0, 0], [0, 3.0], [0, 2.0]])
    found = scalars_of(Classification(y=y), logits, batch_of(truth))
    assert (found["sensitivity"], found["specificity"]) == pytest.approx((1.0, 2 / 3))
    named = scalars_of(Classification(y=y, positive="+"), logits, batch_of(truth))
    assert (named["sensitivity"], named["specificity"]) == pytest.approx((2 / 3, 1.0))
    assert named["average_precision"] != found["average_precision"]
    assert named["roc_auc"] == found["roc_auc"]
    number = FieldSpec("tags", 2, ("0", "1"))
    assert Tagging(y=number, positive=0).positive == 0


def test_a_positive_class_that_is_none_is_refused():
    y = FieldSpec("category", 2, ("ham", "spam"))
    with pytest.raises(ConfigError, match="no such class; allowed: ham or spam"):
        Classification(y=y, positive="spm")
    with pytest.raises(ConfigError, match=r"task\.positive=a: y has 4 classes, each of which"):
        Classification(y=FieldSpec("category", 4, NAMES), positive="a")


def test_what_one_class_alone_does_not_define_is_left_out_and_named(batch_of, caplog):
    y = FieldSpec("category", 2, ("ham", "spam"))
    logits, batch = torch.tensor([[1.0, 0], [0, 1.0]]), batch_of([0, 0])
    computed = computed_of(Classification(y=y), [(logits, batch)])
    found = Classification(y=y).scalars(computed)
    assert not {"roc_auc", "average_precision", "sensitivity", "recall/spam"} & set(found)
    assert found["specificity"] == found["balanced_accuracy"] == 0.5
    monitored = Classification(y=y, monitor="val/roc_auc").scalars(computed)
    assert monitored["roc_auc"].isnan()
    with caplog.at_level(logging.WARNING):
        warn_of_undefined("test", computed)
    names = "test/average_precision, test/roc_auc, test/sensitivity: not defined, and left out"
    assert names in caplog.text
    caplog.clear()
    single = computed_of(Classification(y=y), [(logits[:1], batch_of([0]))])
    warn_of_undefined("test", single)
    assert not caplog.text, "a single example has one class"


def test_rows_of_classes_have_nothing_where_nothing_is_divided_by(batch_of):
    task = Classification(y=FieldSpec("category", 3, NAMES[:3]))
    logits = nn.functional.one_hot(torch.tensor([0, 0, 1]), 3).float()
    computed = computed_of(task, [(logits, batch_of([0, 1, 1]))])
    assert list(class_rows(computed, NAMES[:3])) == [
        {"class": "a", "precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "support": 1},
        {"class": "b", "precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2},
        {"class": "c", "precision": None, "recall": None, "f1": 0.0, "support": 0},
    ]


def test_one_class_alone_is_measured(batch_of):
    task = Classification(y=FieldSpec("category", 1, ("a",)))
    found = scalars_of(task, torch.zeros(3, 1), batch_of([0, 0, 0]))
    assert found["accuracy"] == found["f1/a"] == found["recall/a"] == 1
    assert found["matthews"] == 0


def test_counts_added_at_once_are_those_of_each_example():
    rng = torch.Generator().manual_seed(0)
    guess, truth = torch.randint(0, 3, (2, 5, 7), generator=rng)
    truth[1, 3:] = truth[4, 1:] = -1
    together = ClassCounts(3, ignored=-1)
    together.update(guess, truth)
    each = together.of_examples(guess, truth, torch.arange(5), 5)
    for name, value in together.metric_state.items():
        assert torch.equal(each[name].sum(dim=0), value), name


def test_a_weight_counts_an_example_as_often():
    rng = np.random.default_rng(3)
    scores = torch.tensor(rng.normal(size=(40, 2)).round(1))
    positives = torch.tensor(rng.random((40, 2)) < 0.4)
    times = torch.tensor(rng.integers(0, 4, 40))
    weighed = SortedScores(scores, positives).compute(times.double())
    copied = SortedScores(*(one.repeat_interleave(times, dim=0) for one in (scores, positives)))
    for name, value in weighed.items():
        assert value.item() == pytest.approx(copied.compute()[name].item(), abs=1e-7), name
