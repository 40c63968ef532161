"""Baselines of any of K labels for a whole x."""

import math

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from sklearn.multiclass import OneVsRestClassifier

from seqpipe.baselines import linear
from seqpipe.baselines.frequencies import LabelFrequencies
from seqpipe.baselines.linear import LinearLabels
from seqpipe.data.fields.multilabel import MultiLabel as Labels
from seqpipe.data.fields.rolls import PianoRoll
from seqpipe.data.fields.series import Series
from seqpipe.data.fields.text import Text
from seqpipe.tasks.multi_label import MultiLabel

WORDS = {
    "comedy": ("funny", "laughs", "jokes"),
    "crime": ("murder", "police", "heist"),
    "war": ("soldiers", "battle", "trenches"),
}
NAMES = ("comedy", "crime", "film", "war")
"""The labels in their order; all examples have `film`."""


def films(count, rng):
    """Two words of each label; a fifth of them without it."""
    rows = []
    for _ in range(count):
        labels = [label for label in WORDS if rng.random() < 0.4]
        shown = [label for label in WORDS if (label in labels) != (rng.random() < 0.1)]
        words = [word for label in shown for word in rng.choice(WORDS[label], size=2)]
        text = " ".join(["a", "film", "of", *rng.permutation(words).tolist()])
        rows.append({"text": text, "labels": [*labels, "film"]})
    return rows


@pytest.fixture(scope="module")
def splits():
    rng = np.random.default_rng(0)
    return {
        name: films(count, rng) for name, count in (("train", 150), ("valid", 60), ("test", 80))
    }


@pytest.fixture(scope="module")
def film_data(data_of, splits):
    return data_of(Labels("labels"), Text("text", by="words", min_count=1), **splits)


def test_labels_of_a_whole_x_are_as_frequent_as_in_training(data_of, metrics_of):
    train = [{"text": "x", "labels": labels} for labels in (["a"], ["a", "b"], ["a"], ["c"])]
    data = data_of(Labels("labels"), Text("text"), train=train, test=train[:1])
    found = metrics_of(MultiLabel(y=data.spec.y), data)
    assert found.keys() == {"frequencies", "linear", "skipped"}
    p = [3.5 / 5, 1 - 1.5 / 5, 1 - 1.5 / 5]
    assert found["frequencies"]["loss"] == pytest.approx(-sum(map(math.log, p)), rel=1e-6)
    assert found["frequencies"]["exact_match"] == 1.0


def test_logistic_regression_of_each_label_agrees_with_scikit_learn(film_data, splits, metrics_of):
    """On the tf-idf of scikit-learn, which reads the texts; a constant label is left out of it."""
    texts = {name: [row["text"] for row in rows] for name, rows in splits.items()}
    sets = {name: [row["labels"] for row in rows] for name, rows in splits.items()}
    y = {name: np.array([[n in one for n in NAMES] for one in rows]) for name, rows in sets.items()}
    differing = [0, 1, 3]
    vectors = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\S+").fit(texts["train"])

    def chances(strength, split):
        model = OneVsRestClassifier(LogisticRegression(C=strength))
        model.fit(vectors.transform(texts["train"]), y["train"][:, differing])
        every = np.full(y[split].shape, 150.5 / 151)
        every[:, differing] = model.predict_proba(vectors.transform(texts[split]))
        return every

    def loss(p, y):
        return -np.log(np.where(y, p, 1 - p)).sum(axis=1).mean()

    strength = min((1.0, 3.0), key=lambda C: loss(chances(C, "valid"), y["valid"]))
    p = chances(strength, "test")
    for threshold in (0.5, 0.3):
        found = metrics_of(MultiLabel(y=film_data.spec.y, threshold=threshold), film_data)["linear"]
        predicted = p >= threshold
        wanted = {
            "loss": loss(p, y["test"]),
            "exact_match": (predicted == y["test"]).all(axis=1).mean(),
            "micro_f1": f1_score(y["test"], predicted, average="micro"),
            "macro_f1": f1_score(y["test"], predicted, average="macro"),
            "roc_auc": roc_auc_score(y["test"][:, differing], p[:, differing]),
            "average_precision": average_precision_score(y["test"][:, differing], p[:, differing]),
        }
        assert {name: found[name] for name in wanted} == pytest.approx(wanted, rel=1e-3)


def test_words_predict_labels_better_than_frequencies_do(film_data, metrics_of):
    task = MultiLabel(y=film_data.spec.y)
    found = metrics_of(task, film_data)
    assert set(task.metric_names()) == found["linear"].keys()
    assert found["linear"]["loss"] < 0.7 * found["frequencies"]["loss"]
    for name in ("micro_f1", "macro_f1", "exact_match", "roc_auc"):
        assert found["linear"][name] > found["frequencies"][name] + 0.2
    assert metrics_of(task, film_data) == found  # no clock, no chance


def test_a_label_that_training_always_or_never_has_keeps_its_frequency(film_data, monkeypatch):
    """Always `film`; and never `war`, where the examples that are read do not have it."""
    batch = next(iter(film_data.loader("test").here()))
    task = MultiLabel(y=film_data.spec.y)
    baseline, frequencies = LinearLabels(task), LabelFrequencies(task)
    baseline.fit(film_data)
    frequencies.fit(film_data)
    assert (baseline.probabilities(batch)[:, 2] == frequencies.probabilities(batch)[:, 2]).all()
    read = linear.Inputs.__init__

    def without_war(self, data, split):
        read(self, data, split)
        self.y[:, 3] = 0

    monkeypatch.setattr(linear.Inputs, "__init__", without_war)
    baseline.fit(film_data)
    assert (baseline.probabilities(batch)[:, 3] == 0.5 / 151).all()


def test_one_set_of_labels_leaves_nothing_to_separate(data_of, metrics_of):
    rows = [{"text": text, "labels": ["a", "b"]} for text in ("x", "y z")]
    data = data_of(Labels("labels"), Text("text"), train=rows, test=rows)
    found = metrics_of(MultiLabel(y=data.spec.y), data)
    assert found["skipped"] == {"linear": "training has one set of labels only"}


def test_labels_that_are_too_much_work_are_left_out(film_data, metrics_of, monkeypatch):
    monkeypatch.setattr(linear, "MOST_WORK", 1e3)
    reason = metrics_of(MultiLabel(y=film_data.spec.y), film_data)["skipped"]["linear"]
    assert reason.endswith(" features and 4 outputs are too much work")


def test_a_series_has_labels_by_its_moments_however_far_it_lies(data_of, metrics_of):
    """The only label follows the mean; lengths differ, and no probability rounds to 0 or 1."""
    rng = np.random.default_rng(2)

    def rows(count, shift):
        high = (rng.random(count) < 0.5).tolist()
        return [
            {
                "x": shift * one + rng.normal(size=(int(rng.integers(2, 30)), 2)),
                "labels": ["high"] if one else [],
            }
            for one in high
        ]

    splits = {"train": rows(80, 3.0), "valid": rows(30, 3.0), "test": rows(60, 1e6)}
    data = data_of(Labels("labels"), Series("x"), **splits)
    found = metrics_of(MultiLabel(y=data.spec.y), data)["linear"]
    assert found["accuracy"] > 0.95
    assert math.isfinite(found["loss"])
    first = LinearLabels(MultiLabel(y=data.spec.y))
    first.fit(data)
    chances = first.probabilities(next(iter(data.loader("test").here())))
    assert chances.dtype == torch.float64
    assert chances.max() == 1 - linear.UNSEEN


def test_notes_of_each_step_have_no_linear_model(data_of):
    rows = [{"roll": np.eye(88)[:3]}]
    data = data_of(PianoRoll("roll"), train=rows, test=rows)
    names = [baseline.name for baseline in MultiLabel(y=data.spec.y).baselines(data)]
    assert names == ["frequencies", "last_step"]
