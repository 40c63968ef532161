"""What evaluate measures is what the test of the training logged, whole and in parts."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch.testing import assert_close
from torchmetrics import MeanSquaredError, Metric

from seqpipe.inference.evaluation import Evaluation, _terms_of_examples, length_slices
from seqpipe.tasks.metric_sums import examples_of
from seqpipe.tasks.metrics import WeightedMean
from seqpipe.training.carried_state import Carried, answer


@torch.inference_mode()
def logged(made) -> dict[str, float]:
    """The metrics of the test step, batch by batch."""
    data, model, task = made.data, made.model.network, made.model.task
    metrics, mean, carried = task.metrics("test"), WeightedMean(), Carried()
    for batch in data.loader("test"):
        outputs = answer(model, batch, carried)
        mean.update(task.loss(outputs, batch, training=False), task.units(batch))
        if len(metrics):
            predictions = task.predict(model, outputs, batch)
            metrics.update(*task.pairs(predictions, batch), scores=task.scores(outputs, batch))
    loss = mean.compute()
    told = {"loss": loss, **task.derived(loss)}
    if len(metrics):
        told |= task.scalars(metrics.compute())
    return {name: float(value) for name, value in told.items()}


@torch.inference_mode()
def evaluation(made, cells=None) -> Evaluation:
    data, carried = made.data, Carried()
    count = data.sizes["test"]
    found = Evaluation(made.model.task, cells or [()] * count)
    for batch in data.loader("test", shuffle=False):
        found.add(made.model.network, batch, answer(made.model.network, batch, carried))
    return found


def test_an_evaluation_is_the_test_of_the_training(any_kind):
    (whole,) = evaluation(any_kind).results(0, 0.95)
    expected = logged(any_kind)
    assert whole.metrics.keys() == expected.keys()
    for name, value in expected.items():
        assert whole.metrics[name] == pytest.approx(value, rel=2e-5, abs=1e-6), name


@torch.inference_mode()
def test_what_each_example_adds_is_what_it_would_add_alone(any_kind):
    """Loss and metrics of a batch are taken apart without going through it row by row."""
    data, network, task = any_kind.data, any_kind.model.network, any_kind.model.task
    batch = next(iter(data.loader("test")))
    outputs = answer(network, batch, Carried())
    losses, units = task.losses(outputs, batch)
    predictions, metrics = task.predict(network, outputs, batch), task.metrics("test")
    answers, truths = task.pairs(predictions, batch)
    of = examples_of(len(truths), batch)
    for row in range(min(len(batch), 6)):
        alone = batch.row(row)
        mean = task.loss(outputs[row : row + 1], alone, training=False)
        assert units[row] == task.units(alone)
        assert_close(losses[row], mean * task.units(alone), rtol=1e-5, atol=1e-6)
        own = predictions
        own = tuple(p[row : row + 1] for p in own) if isinstance(own, tuple) else own[row : row + 1]
        for name, metric in metrics.items():
            if name in ("confusion", "ranking"):  # not part of an evaluation, or no sums
                continue
            metric.reset()
            # torchmetrics' own update, where there is one
            metric.update(*task.pairs(own, alone))
            added = metric.of_examples(answers, truths, of, len(batch))
            assert added.keys() == metric.metric_state.keys()
            for state, value in metric.metric_state.items():
                assert_close(
                    added[state][row].double(), value.double().reshape_as(added[state][row])
                )


class Lengths(Metric):
    """A metric of somebody else's, of lists."""

    def __init__(self):
        super().__init__()
        self.add_state("steps", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, predictions, truths):
        self.steps += sum(map(len, predictions)) - sum(map(len, truths))

    def compute(self):
        return self.steps


def test_a_metric_that_knows_whole_batches_only_is_asked_example_by_example():
    metric = MeanSquaredError()
    answers, truths = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 0.0, 0.0])
    added = _terms_of_examples(metric, answers, truths, torch.tensor([0, 1, 1]), 2)
    assert added["sum_squared_error"].flatten().tolist() == [0.0, 13.0]
    assert added["total"].tolist() == [1, 2]
    added = _terms_of_examples(Lengths(), [[1], [2, 3, 4]], [[1], [2]], torch.arange(2), 2)
    assert added["steps"].tolist() == [0, 2]


def test_slices_part_the_examples_and_add_up(made):
    there = made("category of text")
    lengths = there.data.columns("test").x.lengths.tolist()
    cells = [(name,) for name in length_slices(lengths, parts=2)]
    whole, *slices = evaluation(there, cells).results(0, 0.95)
    assert len(slices) == 2
    assert sum(one.examples for one in slices) == whole.examples == len(lengths)
    for name in ("loss", "accuracy"):
        mean = sum(one.metrics[name] * one.examples for one in slices) / whole.examples
        assert whole.metrics[name] == pytest.approx(mean, rel=1e-5)
    alone = [n for n, cell in enumerate(cells) if cell == (slices[0].slice,)]
    batch = there.data.batch("test", alone)
    with torch.inference_mode():
        outputs = answer(there.model.network, batch, Carried())
        expected = there.model.task.loss(outputs, batch, training=False)
    assert slices[0].metrics["loss"] == pytest.approx(float(expected), rel=1e-5)


def test_slices_of_classes_that_only_partly_are_numbers_are_all_measured(made):
    there = made("category of text")
    names = ("class 10", "class other", "class 9", "class -1", "class x²", "class ", "class 1-b")
    _, *slices = evaluation(there, [names] * there.data.sizes["test"]).results(0, 0.95)
    by_number = ["class 9", "class 10"]
    assert sorted(one.slice for one in slices) == sorted(names)
    assert [one.slice for one in slices if one.slice in by_number] == by_number


@pytest.mark.parametrize("parts", [1, 2, 4])
@pytest.mark.parametrize("lengths", [[1], [3, 3, 3], [1, 2, 9, 9], [5, 1, 2, 8, 1, 1, 40]])
def test_each_length_is_in_one_part(lengths, parts):
    names = length_slices(lengths, parts)
    for length, name in zip(lengths, names, strict=True):
        if name:
            low, high = map(int, name.removeprefix("length ").split("-"))
            assert low <= length <= high
        else:
            assert len(set(names)) == 1
    assert len(set(names)) <= parts
    by_length = {}
    for length, name in zip(lengths, names, strict=True):
        assert by_length.setdefault(length, name) == name


def test_an_interval_of_the_bootstrap_is_that_of_scipy(made):
    there = made("category of a vector", "data.source.test=0.3")
    found = evaluation(there)
    (whole,) = found.results(1000, 0.9)
    with torch.inference_mode():
        hits = []
        for batch in there.data.loader("test"):
            outputs = answer(there.model.network, batch, Carried())
            hits += (outputs.argmax(dim=-1) == batch.y).tolist()
    assert 0.02 < np.mean(hits) < 0.98
    assert len(hits) > 500
    theirs = stats.bootstrap(
        (np.array(hits, dtype=float),),
        np.mean,
        n_resamples=4000,
        confidence_level=0.9,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    step = 2.01 / len(hits)  # the accuracy of so few moves in steps
    assert whole.low["accuracy"] == pytest.approx(theirs.low, abs=step)
    assert whole.high["accuracy"] == pytest.approx(theirs.high, abs=step)
    assert whole.low["accuracy"] < whole.metrics["accuracy"] < whole.high["accuracy"]
    again = evaluation(there).results(1000, 0.9)[0]
    assert (again.low, again.high) == (whole.low, whole.high)  # of the same seed


def test_an_interval_is_wider_where_one_wants_to_be_surer(made):
    there = made("number")
    ends = [evaluation(there).results(500, confidence)[0] for confidence in (0.5, 0.95)]
    assert ends[1].low["mse"] < ends[0].low["mse"] < ends[0].metrics["mse"]
    assert ends[1].high["mse"] > ends[0].high["mse"] > ends[0].metrics["mse"]
