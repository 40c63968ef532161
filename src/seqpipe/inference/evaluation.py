"""Metrics of labelled examples: of all, of slices, and their confidence intervals.

Every metric of a task is a function of sums over examples. So the terms of each example are kept,
and any set of examples, a slice or a bootstrap sample, is measured by adding them up: the model
computes nothing twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from seqpipe.data.base import SequenceBatch
from seqpipe.tasks.base import Task
from seqpipe.tasks.metric_sums import examples_of
from seqpipe.tasks.metrics import WeightedMean
from seqpipe.tasks.torchmetrics_internals import set_state

MOST_GROUPS = 2_000
"""Number of sums that are kept: more examples are added up in random groups of equal size."""


@dataclass(frozen=True)
class Measured:
    """Metrics of some examples.

    Args:
        slice: `all`, or a kind and a value: `length 1-12`, `class spam`.
        examples: their number.
        metrics: name -> value.
        low: name -> lower end of the interval; empty without intervals.
        high: name -> upper end.
    """

    slice: str
    examples: int
    metrics: dict[str, float]
    low: dict[str, float] = field(default_factory=dict)
    high: dict[str, float] = field(default_factory=dict)


class Evaluation:
    """Collects the terms of examples in the loss and metrics of a task.

    Args:
        task: the task.
        slices: those of each example: ("length 1-12", "class spam"); may be empty.
        seed: of the groups and of the bootstrap.
    """

    def __init__(self, task: Task, slices: Sequence[tuple[str, ...]], seed: int = 0) -> None:
        self.task, self.slices = task, list(slices)
        chosen: dict[str, Metric | MetricCollection] = {
            name: one for name, one in task.metrics("test").items() if name != "confusion"
        }
        self.metrics = MetricCollection(chosen, compute_groups=False)
        self.loss = WeightedMean()
        self.rng = np.random.default_rng(seed)
        self.group_of, self.slices_of_groups = _group_examples(self.slices, self.rng)
        self._sums: dict[str, Tensor] = {}

    @torch.inference_mode()
    def add(self, network: nn.Module, batch: SequenceBatch, outputs: Tensor) -> None:
        """Add the examples of a batch.

        Args:
            network: in eval mode.
            batch: with its y; `index` numbers the examples.
            outputs: of the network.
        """
        groups = torch.from_numpy(self.group_of[batch.index.cpu().numpy()])
        losses, units = self.task.losses(outputs, batch)
        self._add_terms("loss", {"total": losses, "weight": units}, groups)
        if len(cast(Any, self.metrics)):
            predictions = self.task.predict(network, outputs, batch)
            answers, truths = self.task.pairs(predictions, batch)
            examples = examples_of(len(truths), batch)
            if not isinstance(truths, Tensor):
                examples = examples.cpu()
            for name, metric in cast(Any, self.metrics).items():
                terms = _terms_of_examples(metric, answers, truths, examples, len(batch))
                self._add_terms(name, terms, groups)

    def _add_terms(self, name: str, terms: Mapping[str, Tensor], groups: Tensor) -> None:
        """Add to the states of a metric the terms of each example, (B, ...), by its group."""
        for state, values in terms.items():
            key, exact = f"{name}.{state}", values.detach().to("cpu", torch.float64)
            if key not in self._sums:
                shape = (len(self.slices_of_groups), *values.shape[1:])
                self._sums[key] = torch.zeros(shape, dtype=torch.float64)
            self._sums[key].index_add_(0, groups, exact)

    def results(self, resamples: int, confidence: float) -> list[Measured]:
        """Return the metrics of all examples, then those of each slice.

        Args:
            resamples: of the bootstrap; 0: no intervals.
            confidence: of the intervals, in (0, 1).

        Source: Efron & Tibshirani (1993), "An introduction to the bootstrap", section 13.3,
        percentile intervals.
        """
        names = sorted({name for some in self.slices_of_groups for name in some}, key=_in_order)
        whole = self._result("all", None, resamples, confidence)
        if "f1_per_class" in self.metrics:
            del self.metrics["f1_per_class"]  # the slices of classes say the same
        return [whole, *(self._result(name, name, resamples, confidence) for name in names)]

    def _result(self, name: str, slice: str | None, resamples: int, confidence: float) -> Measured:
        inside = np.array([slice is None or slice in some for some in self.slices_of_groups])
        members = np.flatnonzero(inside)
        examples = sum(slice is None or slice in some for some in self.slices)
        metrics = self._compute(torch.from_numpy(inside.astype(np.float64)))
        if resamples == 0 or len(members) < 2:
            return Measured(name, examples, metrics)
        drawn: dict[str, list[float]] = {key: [] for key in metrics}
        for _ in range(resamples):
            weights = np.zeros(len(inside))
            np.add.at(weights, self.rng.choice(members, len(members)), 1.0)
            for key, value in self._compute(torch.from_numpy(weights)).items():
                drawn[key].append(value)
        ends = ((1 - confidence) / 2, (1 + confidence) / 2)
        low, high = (
            {key: float(np.nanquantile(values, end)) for key, values in drawn.items()}
            for end in ends
        )
        return Measured(name, examples, metrics, low, high)

    def _compute(self, weights: Tensor) -> dict[str, float]:
        """Compute the metrics of a weighted sum of groups. weights: (groups,) float64."""
        for name, metric in [("loss", self.loss), *cast(Any, self.metrics).items()]:
            metric.reset()
            state = {}
            for part, held in metric.metric_state.items():
                total = torch.tensordot(weights, self._sums[f"{name}.{part}"], dims=1)
                state[part] = total.reshape(torch.as_tensor(held).shape)
            set_state(metric, state)
        loss = self.loss.compute()
        scores = {"loss": loss, **self.task.derived(loss)}
        if len(cast(Any, self.metrics)):
            scores |= self.task.scalars(self.metrics.compute())
        return {name: float(value) for name, value in scores.items()}


def _in_order(name: str) -> tuple[str, list[tuple[bool, int, str]]]:
    """Sort key of a slice: its kind; then numbers, by value, before other text.

    >>> sorted(["class b", "class 10", "class 9", "class -1", "class x²"], key=_in_order)
    ['class 9', 'class 10', 'class -1', 'class b', 'class x²']
    """
    kind, _, value = name.partition(" ")
    parts = value.split("-")
    return kind, [(False, int(p), "") if p.isdecimal() else (True, 0, p) for p in parts]


def _group_examples(
    slices: Sequence[tuple[str, ...]], rng: np.random.Generator
) -> tuple["np.ndarray[Any, Any]", list[tuple[str, ...]]]:
    """Return the group of each example, and the slices of each group, which its examples share."""
    group_of = np.zeros(len(slices), dtype=np.int64)
    slices_of_groups: list[tuple[str, ...]] = []
    members: dict[tuple[str, ...], list[int]] = {}
    for number, some in enumerate(slices):
        members.setdefault(some, []).append(number)
    for some, numbers in members.items():
        count = len(numbers)
        if len(slices) > MOST_GROUPS:
            count = min(count, max(1, round(MOST_GROUPS * count / len(slices))))
        group_of[numbers] = len(slices_of_groups) + rng.permutation(np.arange(len(numbers)) % count)
        slices_of_groups += [some] * count
    return group_of, slices_of_groups


def length_slices(lengths: Sequence[int], parts: int = 4) -> list[str]:
    """Return `length 3-12` for each example, in parts of similar size; "" if there is one part.

    >>> length_slices([1, 2, 9, 9], parts=2)
    ['length 1-2', 'length 1-2', 'length 9-9', 'length 9-9']
    """
    values = np.asarray(lengths)
    borders = np.unique(np.quantile(values, np.linspace(0, 1, parts + 1)[1:-1], method="higher"))
    part = np.searchsorted(borders, values, side="right")
    names: dict[int, str] = {}
    for number in np.unique(part):
        own = values[part == number]
        names[int(number)] = f"length {own.min()}-{own.max()}"
    return [names[int(number)] if len(names) > 1 else "" for number in part]


def _terms_of_examples(
    metric: Metric, answers: Any, truths: Any, examples: Tensor, count: int
) -> dict[str, Tensor]:
    """Return the terms of each example in the states of a metric, (count, ...)."""
    of_examples = getattr(metric, "of_examples", None)
    if of_examples is not None:
        terms: dict[str, Tensor] = of_examples(answers, truths, examples, count)
        return terms
    states: dict[str, list[Tensor]] = {}
    for example in range(count):  # a metric of the user's own
        own = (examples == example).nonzero().flatten()
        metric.reset()
        if isinstance(truths, Tensor):
            metric.update(answers[own], truths[own])
        else:
            metric.update(*([side[i] for i in own.tolist()] for side in (answers, truths)))
        for state, value in metric.metric_state.items():
            assert isinstance(value, Tensor), f"{type(metric).__name__}.{state} is no sum"
            states.setdefault(state, []).append(value.detach().clone())
    return {state: torch.stack(values) for state, values in states.items()}
