"""Every metric against a count by hand, and against a library that shares no code with it."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics
from torch import nn
from torchmetrics.classification import MulticlassAccuracy

from seqpipe.data.base import FieldSpec
from seqpipe.data.vocabulary import EOS, SPECIALS, UNK, Vocabulary
from seqpipe.tasks.classification import Classification
from seqpipe.tasks.language_modeling import LanguageModeling
from seqpipe.tasks.metrics import Accuracy, MeanError, WeightedMean
from seqpipe.tasks.ordinal import Ordinal
from seqpipe.tasks.regression import Regression
from seqpipe.tasks.sequence_metrics import ErrorRate, ExactMatch
from seqpipe.tasks.tagging import Tagging
from seqpipe.tasks.transduction import Transduction

NAMES = ("a", "b", "c", "d")


def likely(ids, size=4):
    """Logits whose argmax is `ids`."""
    return nn.functional.one_hot(torch.as_tensor(ids), size).float()


def scalars_of(task, logits, batch, stage="test"):
    metrics = task.metrics(stage)
    pairs = task.pairs(task.predict(None, logits, batch), batch)
    scores = {} if (found := task.scores(logits, batch)) is None else {"scores": found}
    metrics.update(*pairs, **scores)
    computed = metrics.compute()
    return {name: value.item() for name, value in task.scalars(computed).items()}, computed


def test_classification_counted_by_hand(batch_of):
    task = Classification(y=FieldSpec("category", 4, NAMES))
    batch = batch_of([0, 0, 0, 1, 1, 2])
    scalars, computed = scalars_of(task, likely([0, 0, 1, 1, 1, 1]), batch)
    # class a: precision 2/2, recall 2/3 -> 0.8; b: 2/4, 2/2 -> 2/3; c: 0; d does not occur
    assert scalars == pytest.approx(
        {
            "accuracy": 4 / 6,
            "macro_f1": (0.8 + 2 / 3 + 0) / 3,
            "macro_precision": (1 + 1 / 2 + 0) / 3,
            "macro_recall": (2 / 3 + 1 + 0) / 3,
            "balanced_accuracy": (2 / 3 + 1 + 0) / 3,
            "matthews": (4 * 6 - 2 * 3 - 4 * 2) / math.sqrt((36 - 4 - 16) * (36 - 9 - 4 - 1)),
            # a: 6 of 9 pairs in order and 3 equal; b: 4 of 8 and 4; c: all equal; d has no pair
            "roc_auc": (7.5 / 9 + 6 / 8 + 1 / 2) / 3,
            "average_precision": ((2 / 3 * 1 + 1 / 3 * 3 / 6) + 2 / 4 + 1 / 6) / 3,
            "f1/a": 0.8,
            "f1/b": 2 / 3,
            "f1/c": 0.0,
            "f1/d": 0.0,
            "precision/a": 1.0,
            "precision/b": 1 / 2,
            "recall/a": 2 / 3,
            "recall/b": 1.0,
            "recall/c": 0.0,
        }
    )
    assert computed["confusion"].tolist() == [
        [2, 1, 0, 0],
        [0, 2, 0, 0],
        [0, 1, 0, 0],
        [0, 0, 0, 0],
    ]


def test_classification_agrees_with_scikit_learn(batch_of):
    rng = np.random.default_rng(0)
    truth, guess = rng.choice(4, 300, p=[0.6, 0.25, 0.1, 0.05]), rng.integers(0, 4, 300)
    task = Classification(y=FieldSpec("category", 4, NAMES))
    scalars, computed = scalars_of(task, likely(guess), batch_of(truth))
    assert scalars["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(truth, guess))
    f1 = sklearn_metrics.f1_score
    assert scalars["macro_f1"] == pytest.approx(f1(truth, guess, average="macro"))
    per_class = f1(truth, guess, average=None)
    assert [scalars[f"f1/{name}"] for name in NAMES] == pytest.approx(list(per_class))
    wanted = sklearn_metrics.confusion_matrix(truth, guess)
    assert np.array_equal(computed["confusion"].numpy(), wanted)


def test_tagging_counts_real_steps_only(batch_of):
    rng = np.random.default_rng(1)
    lengths = np.array([9, 3, 1, 6])
    truth, guess = rng.integers(0, 4, (4, 9)), rng.integers(0, 4, (4, 9))
    mask = np.arange(9) < lengths[:, None]
    task = Tagging(y=FieldSpec("tags", 4, NAMES))
    scalars, _ = scalars_of(task, likely(guess), batch_of(truth, lengths))
    real = truth[mask], guess[mask]
    assert scalars["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(*real))
    f1 = sklearn_metrics.f1_score
    assert scalars["macro_f1"] == pytest.approx(f1(*real, average="macro"))
    per_class = list(f1(*real, average=None))
    assert [scalars[f"f1/{name}"] for name in NAMES] == pytest.approx(per_class)


def test_regression_agrees_with_scikit_learn(batch_of):
    rng = np.random.default_rng(2)
    truth, guess = rng.normal(size=(2, 50, 3)).astype(np.float32)
    task = Regression(y=FieldSpec("number", 3))
    batch = batch_of(truth)
    scalars, _ = scalars_of(task, torch.tensor(guess), batch)
    mse = sklearn_metrics.mean_squared_error(truth, guess)
    assert scalars["mse"] == pytest.approx(mse, rel=1e-6)
    mae = sklearn_metrics.mean_absolute_error(truth, guess)
    assert scalars["mae"] == pytest.approx(mae, rel=1e-6)
    loss = task.loss(torch.tensor(guess), batch, training=True)
    assert loss.item() == pytest.approx(mse, rel=1e-6)


def test_a_regression_is_judged_in_the_units_of_the_data(batch_of):
    rng = np.random.default_rng(4)
    truth, guess = rng.normal(size=(2, 50, 2)).astype(np.float32)
    mean, scale = np.array([100.0, -5.0]), np.array([20.0, 0.5])
    task = Regression(y=FieldSpec("number", 2, mean=tuple(mean), scale=tuple(scale)))
    scalars, _ = scalars_of(task, torch.tensor(guess), batch_of(truth))
    real, answered = truth * scale + mean, guess * scale + mean
    wanted = sklearn_metrics.mean_absolute_error(real, answered)
    assert scalars["mae"] == pytest.approx(wanted, rel=1e-5)
    wanted = sklearn_metrics.mean_squared_error(real, answered)
    assert scalars["mse"] == pytest.approx(wanted, rel=1e-5)
    loss = task.loss(torch.tensor(guess), batch_of(truth), training=True)
    assert loss.item() == pytest.approx(((truth - guess) ** 2).mean(), rel=1e-5)


def test_a_regression_of_each_step_counts_real_steps_only(batch_of):
    truth, guess = torch.tensor([[[1.0], [2.0]], [[3.0], [1e6]]]), torch.zeros(2, 2, 1)
    task, batch = Regression(y=FieldSpec("values", 1)), batch_of(truth, [2, 1])
    scalars, _ = scalars_of(task, guess, batch)
    assert scalars == pytest.approx({"mse": (1 + 4 + 9) / 3, "mae": 2.0})
    assert task.loss(guess, batch, training=True).item() == pytest.approx(14 / 3)
    assert task.units(batch) == 3
    shown = task.decoded(guess, batch)
    assert [t.tolist() for _, t in shown] == [[[1.0], [2.0]], [[3.0]]]
    assert [len(p) for p, _ in shown] == [2, 1]


def test_a_language_model_is_judged_in_nats_bits_and_perplexity(batch_of):
    task = LanguageModeling(y=FieldSpec("symbols", 4, unit="characters"))
    probabilities = torch.tensor([[0.5, 0.25, 0.125, 0.125]])
    logits = probabilities.log().expand(2, 3, 4)
    batch = batch_of([[0, 1, 2], [0, 3, 3]], [3, 1])  # the last two 3 are padding
    loss = task.loss(logits, batch, training=False)
    bits = (1 + 2 + 3 + 1) / 4
    assert loss.item() == pytest.approx(bits * math.log(2))
    derived = task.derived(loss)
    assert derived["bits_per_character"].item() == pytest.approx(bits)
    assert derived["perplexity"].item() == pytest.approx(math.exp(loss.item()))
    assert derived["perplexity"].item() == pytest.approx(2**bits)
    scalars, _ = scalars_of(task, logits, batch)
    assert scalars == {"accuracy": 0.5}  # the likeliest is always symbol 0: two of four


@pytest.mark.parametrize("unit", ["words", "subwords", "tokens", None])
def test_words_and_their_pieces_have_no_bits_per_character(unit):
    task = LanguageModeling(y=FieldSpec("symbols", 4, unit=unit))
    assert set(task.derived(torch.tensor(1.0))) == {"perplexity"}
    assert task.metric_names() == ["loss", "accuracy", "perplexity"]


def test_the_bits_of_a_byte_are_named_so():
    task = LanguageModeling(y=FieldSpec("symbols", 260, unit="bytes"))
    derived = task.derived(torch.tensor(math.log(2) * 3))
    assert derived["bits_per_byte"].item() == pytest.approx(3.0)
    assert task.metric_names() == ["loss", "accuracy", "perplexity", "bits_per_byte"]


def edit_distance(a, b):
    """Levenshtein's distance, from its definition."""
    if not a or not b:
        return len(a) + len(b)
    rows = [[i + j for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            rows[i][j] = min(
                rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + (a[i - 1] != b[j - 1])
            )
    return rows[-1][-1]


def test_the_error_rate_agrees_with_a_plain_edit_distance():
    rng = np.random.default_rng(3)
    pairs = [tuple(rng.integers(0, 3, rng.integers(0, 9)).tolist() for _ in "pt") for _ in "x" * 60]
    metric = ErrorRate()
    for half in (pairs[:13], pairs[13:]):
        metric.update([p for p, _ in half], [t for _, t in half])
    edits, symbols = sum(edit_distance(p, t) for p, t in pairs), sum(len(t) for _, t in pairs)
    assert 0 < edits / symbols
    assert metric.compute().item() == pytest.approx(edits / symbols)


def test_exact_match_counts_sequences_that_are_right_in_every_symbol():
    metric = ExactMatch()
    metric.update([[1, 2], [1, 2], []], [[1, 2], [1, 3], []])
    metric.update([[1, 2, 3]], [[1, 2]])
    assert metric.compute().item() == 0.5


def test_a_mean_of_means_is_weighted_and_hides_nothing():
    metric = WeightedMean()
    metric.update(torch.tensor(1.0), torch.tensor(3))
    metric.update(torch.tensor(5.0), torch.tensor(1))
    assert metric.compute() == 2.0
    metric.update(torch.tensor(math.nan), torch.tensor(1))
    assert metric.compute().isnan()


def test_a_million_batches_do_not_wear_a_mean_down():
    metric = WeightedMean()
    metric.update(torch.tensor(1.0), torch.tensor(2**24))  # a float32 sum would stay here
    for _ in range(1000):
        metric.update(torch.tensor(2.0), torch.tensor(1))
    wanted = (2**24 + 2 * 1000) / (2**24 + 1000)
    assert metric.compute().item() == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("power", [1, 2])
def test_a_million_errors_do_not_wear_a_mean_error_down(power):
    metric = MeanError(power)
    metric.update(torch.full((1, 1), 4096.0), torch.zeros(1, 1))
    many = torch.full((1000, 1), 1e-3)
    for _ in range(1000):
        metric.update(many, torch.zeros(1000, 1))
    wanted = (4096.0**power + 1e6 * 1e-3**power) / (1e6 + 1)
    assert metric.compute().item() == pytest.approx(wanted, rel=1e-6)


def test_two_mean_errors_of_a_perfect_start_stay_two():
    task = Regression(y=FieldSpec("number", 1))
    metrics = task.metrics("val")
    metrics.update(torch.zeros(3, 1), torch.zeros(3, 1))
    metrics.update(torch.full((3, 1), 3.0), torch.zeros(3, 1))
    assert {k: v.item() for k, v in metrics.compute().items()} == {"mse": 4.5, "mae": 1.5}


@pytest.mark.parametrize("make", [WeightedMean, partial(MeanError, 1), partial(MeanError, 2)])
@pytest.mark.parametrize("change", ["half", "to half", "a device without float64"])
def test_sums_stay_in_float64_whatever_becomes_of_the_model(make, change):
    def without_float64(held):
        if held.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return held

    model = torch.nn.ModuleDict({"net": torch.nn.Linear(2, 2), "metric": make()})
    if change == "half":
        model.half()
    elif change == "to half":
        model.to(dtype=torch.float16)
    else:
        model["metric"]._apply(without_float64)
    metric = model["metric"]
    sums = {k: v for k, v in metric.metric_state.items() if k != "count"}
    assert sums
    assert {value.dtype for value in sums.values()} == {torch.float64}
    shape = () if isinstance(metric, WeightedMean) else (1,)
    metric.update(torch.full(shape, 2.0), torch.ones(shape))
    metric.reset()
    metric.update(torch.full(shape, 3.0), torch.ones(shape))
    wanted = {"WeightedMean": 3.0, "MeanError": 2.0 ** getattr(metric, "power", 1)}
    assert metric.compute().item() == wanted[type(metric).__name__]


@pytest.mark.parametrize("task", ["adding", "ordinal", "classification"])
def test_every_sum_of_numbers_that_a_task_keeps_is_in_float64(task):
    made = {
        "adding": lambda: Regression(y=FieldSpec("number", 1)),
        "ordinal": lambda: Ordinal(y=FieldSpec("ordinal", 3, tuple("abc"))),
        "classification": lambda: Classification(y=FieldSpec("category", 3, tuple("abc"))),
    }[task]()
    for stage in ("train", "val", "test"):
        for name, metric in made.metrics(stage).items():
            for state, value in metric.metric_state.items():
                if name == "ranking":  # keeps scores, and adds up in float64
                    continue
                exact = not value.is_floating_point() or value.dtype == torch.float64
                assert exact, f"{stage} {name}.{state} is {value.dtype}"


class Parrot:
    """A model that decodes what it was told to."""

    def __init__(self, ids):
        self.ids = torch.tensor(ids)

    def greedy(self, x, x_lengths, max_length):
        self.asked = max_length
        return self.ids, None


def test_transduction_is_judged_by_what_is_decoded_before_the_end(batch_of):
    task = Transduction(y=FieldSpec("symbols", 9), longest_y=4)
    truth = [[5, 6, 7, EOS], [5, 6, EOS, 0], [8, EOS, 0, 0], [5, 5, EOS, 0]]
    batch = batch_of(truth, [4, 3, 2, 3])
    parrot = Parrot([[5, 6, 7, EOS], [5, 6, EOS, 8], [EOS, 8, EOS, 8], [5, 5, 5, 5]])
    predictions = task.predict(parrot, torch.zeros(0), batch)
    assert parrot.asked == 4 + 10
    metrics = task.metrics("test")
    metrics.update(*task.pairs(predictions, batch))
    computed = {name: value.item() for name, value in metrics.compute().items()}
    # right, right (what follows <EOS> is nothing), one missing, two too many
    assert computed == pytest.approx(
        {"exact_match": 2 / 4, "error_rate": (1 + 2) / (3 + 2 + 1 + 2)}
    )
    assert len(task.metrics("train")) == 0  # training never decodes


def test_the_longest_answer_can_be_chosen(batch_of):
    task = Transduction(y=FieldSpec("symbols", 9), longest_y=4, max_length=7)
    parrot = Parrot([[5, EOS]])
    task.predict(parrot, torch.zeros(0), batch_of([[5, EOS]], [2]))
    assert parrot.asked == 7


def symbols_of(*names, text=None):
    return FieldSpec("symbols", 4 + len(names), (*SPECIALS, *names), unit="words", text=text)


def test_unknown_written_for_an_unknown_symbol_is_an_error(batch_of):
    """The second truth holds two words that are not in the vocabulary, the third one."""
    task = Transduction(y=symbols_of("a", "b"), longest_y=3)
    truths = batch_of([[4, 5, EOS, 0], [UNK, 4, UNK, EOS], [UNK, EOS, 0, 0]], [3, 4, 2])
    written = torch.tensor([[4, 5, EOS, 0], [UNK, 4, UNK, EOS], [4, EOS, 0, 0]])
    metrics = task.metrics("val")
    metrics.update(*task.pairs((written, None), truths))
    computed = {name: value.item() for name, value in metrics.compute().items()}
    assert computed == pytest.approx({"exact_match": 1 / 3, "error_rate": (0 + 2 + 1) / 6})


def test_unknown_written_for_a_known_symbol_is_an_error_as_before(batch_of):
    task = Transduction(y=symbols_of("a", "b"), longest_y=3)
    metrics = task.metrics("val")
    written = torch.tensor([[UNK, 5, EOS]])
    metrics.update(*task.pairs((written, None), batch_of([[4, 5, EOS]], [3])))
    assert metrics.compute()["error_rate"].item() == pytest.approx(1 / 2)


def test_symbols_that_spell_the_same_text_are_the_same(batch_of):
    """Subwords: `ab` may be written as one symbol or as two."""
    names = ("a", "b", "ab")
    y = symbols_of(*names, text=lambda ids: "".join(names[id_ - 4] for id_ in ids))
    task = Transduction(y=y, longest_y=3)
    metrics = task.metrics("val")
    truths = batch_of([[6, 4, EOS], [6, 4, EOS]], [3, 3])
    written = torch.tensor([[4, 5, 4, EOS], [4, 4, 4, EOS]])
    metrics.update(*task.pairs((written, None), truths))
    computed = {name: value.item() for name, value in metrics.compute().items()}
    # as texts: abaa and aaa for aba
    rates = {"character_error_rate": 1 / 6, "word_error_rate": 1 / 2}
    assert computed == pytest.approx({"exact_match": 1 / 2, "error_rate": 2 / 4, **rates})


@pytest.mark.parametrize(
    ("unknown", "accuracy"), [(None, 1 / 3), ("<unk>", 2 / 3), ("<UNK>", 2 / 3)]
)
def test_a_language_model_is_right_about_unknown_only_where_the_text_says_so(
    batch_of, unknown, accuracy
):
    """Of three next symbols one is known and right, one unknown, one wrong."""
    names = Vocabulary(["a", "b"], unknown=unknown).names
    cut = None if unknown is None else str.split
    task = LanguageModeling(y=FieldSpec("symbols", 6, names, unit="words", cut=cut))
    batch = batch_of([[4, UNK, 5]], [3])
    scalars, _ = scalars_of(task, likely([[4, UNK, 4]], 6), batch)
    assert scalars == pytest.approx({"accuracy": accuracy})


@pytest.mark.parametrize("ignored", [None, -1])
@pytest.mark.parametrize("shape", [(7,), (4, 5)])
def test_accuracy_keeps_the_sums_of_torchmetrics(ignored, shape):
    ours = Accuracy(3, average="micro", validate_args=False, ignore_index=ignored)
    theirs = MulticlassAccuracy(3, average="micro", validate_args=False, ignore_index=ignored)
    for _ in range(3):
        truths = torch.randint(0, 3, shape)
        if ignored is not None:
            truths[..., -1] = ignored
        predictions = torch.randint(0, 3, shape)
        ours.update(predictions, truths)
        theirs.update(predictions, truths)
        for name, state in theirs.metric_state.items():
            assert torch.equal(ours.metric_state[name], state), name
    assert ours.compute() == theirs.compute()
    ours.reset()
    assert all(state.eq(0).all() for state in ours.metric_state.values())
