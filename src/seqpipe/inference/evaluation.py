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
from seqpipe.tasks.computed import class_rows
from seqpipe.tasks.metric_sums import examples_of
from seqpipe.tasks.metrics import WeightedMean
from seqpipe.tasks.ranking import Ranking, SortedScores
from seqpipe.tasks.torchmetrics_internals import set_state

_RANKED = "ranked."  # before the names of what is no sum
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
        self.ranked = _Ranked.taken_from(self.metrics)
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
            if self.ranked is not None:
                scores = self.task.scores(outputs, batch)
                self.ranked.add(answers, truths, scores, groups[examples.cpu()])
            for name, metric in cast(Any, self.metrics).items():
                terms = _terms_of_examples(metric, answers, truths, examples, len(batch))
                self._add_terms(name, terms, groups)

    def terms(self) -> dict[str, "np.ndarray[Any, Any]"]:
        """Return what the groups of examples add to each state: `metric.state` -> (groups, ...).

        And the scores whose order is measured, with their truths and groups, (N,) each.
        """
        ranked = {} if self.ranked is None else self.ranked.kept()
        return {key: held.numpy() for key, held in {**self._sums, **ranked}.items()}

    @classmethod
    def of_terms(
        cls, task: Task, terms: Sequence[Mapping[str, "np.ndarray[Any, Any]"]], examples: int
    ) -> "Evaluation":
        """Join the terms of several evaluations, without slices.

        Args:
            task: of a model whose metrics have the same states.
            terms: of each evaluation, see `terms`.
            examples: their number in all.

        Raises:
            ValueError: states that differ in name or shape.
        """
        joined = cls(task, [()] * examples)
        if len({frozenset(some) for some in terms}) > 1:
            raise ValueError("the metrics are not the same")
        for key in (key for key in terms[0] if not key.startswith(_RANKED)):
            joined._sums[key] = torch.from_numpy(np.concatenate([some[key] for some in terms]))
        groups = 0
        for some in terms:
            if joined.ranked is not None:
                joined.ranked.join(some, groups)
            groups += len(some["loss.total"])
        joined.slices_of_groups = [()] * groups
        return joined

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
        if "classes" in self.metrics:
            cast(Any, self.metrics)["classes"].per_class = False  # the slices of classes say it
        return [whole, *(self._result(name, name, resamples, confidence) for name in names)]

    def _result(self, name: str, slice: str | None, resamples: int, confidence: float) -> Measured:
        inside = np.array([slice is None or slice in some for some in self.slices_of_groups])
        members = np.flatnonzero(inside)
        examples = sum(slice is None or slice in some for some in self.slices)
        weights = torch.from_numpy(inside.astype(np.float64))
        metrics = self._compute(weights) | self._rank(weights)
        if resamples == 0 or len(members) < 2:
            return Measured(name, examples, metrics)
        drawn: dict[str, list[float]] = {}
        ranked = self.ranked.resamples(resamples) if self.ranked and slice is None else 0
        for number in range(resamples):
            drawn_now = np.zeros(len(inside))
            np.add.at(drawn_now, self.rng.choice(members, len(members)), 1.0)
            weights = torch.from_numpy(drawn_now)
            some = self._compute(weights) | (self._rank(weights) if number < ranked else {})
            for key, value in some.items():
                drawn.setdefault(key, []).append(value)
        ends = ((1 - confidence) / 2, (1 + confidence) / 2)
        low, high = (
            {k: float(np.nanquantile(values, end)) for k, values in drawn.items() if k in metrics}
            for end in ends
        )
        return Measured(name, examples, metrics, low, high)

    def class_rows(self) -> list[dict[str, Any]]:
        """A row for each class, see `seqpipe.tasks.computed.class_rows`; none of other tasks.

        Of all examples; before `results`.
        """
        self._set(torch.ones(len(self.slices_of_groups), dtype=torch.float64))
        computed = self.metrics.compute() if len(cast(Any, self.metrics)) else {}
        return list(class_rows(computed, self.task.y.names or ()))

    def _rank(self, weights: Tensor) -> dict[str, float]:
        """The metrics of the order of probabilities. weights: (groups,) float64."""
        if self.ranked is None:
            return {}
        scores = self.task.scalars(self.ranked.compute(weights))
        return {name: float(value) for name, value in scores.items()}

    def _compute(self, weights: Tensor) -> dict[str, float]:
        """Compute the metrics of a weighted sum of groups. weights: (groups,) float64."""
        self._set(weights)
        loss = self.loss.compute()
        scores = {"loss": loss, **self.task.derived(loss)}
        if len(cast(Any, self.metrics)):
            scores |= self.task.scalars(self.metrics.compute())
        return {name: float(value) for name, value in scores.items()}

    def _set(self, weights: Tensor) -> None:
        """Set the metrics to a weighted sum of groups. weights: (groups,) float64."""
        for name, metric in [("loss", self.loss), *cast(Any, self.metrics).items()]:
            metric.reset()
            state = {}
            for part, held in metric.metric_state.items():
                total = torch.tensordot(weights, self._sums[f"{name}.{part}"], dims=1)
                state[part] = total.reshape(torch.as_tensor(held).shape)
            set_state(metric, state)


class _Ranked:
    """Scores of examples, whose order is measured: kept, since no sums are enough.

    Args:
        metric: keeps them.
    """

    work = 400_000_000
    """Scores that resamples go through, after 100 of them: a few seconds."""

    def __init__(self, metric: Ranking) -> None:
        self.metric = metric
        self.groups: list[Tensor] = []
        self.sorted: SortedScores | None = None

    @classmethod
    def taken_from(cls, metrics: MetricCollection) -> "_Ranked | None":
        """The one of a `Ranking` among metrics, which is taken out; None: there is none."""
        taken = [name for name, one in cast(Any, metrics).items() if isinstance(one, Ranking)]
        if not taken:
            return None
        ranked = cls(cast(Any, metrics)[taken[0]])
        del metrics[taken[0]]
        return ranked

    def add(self, answers: Tensor, truths: Tensor, scores: Tensor | None, groups: Tensor) -> None:
        """Keep the scores of a batch. groups: (N,), whose each of N answers is."""
        self.metric.update(answers, truths, scores)
        each = groups.unsqueeze(1).expand_as(truths) if self.metric.has_steps(truths) else groups
        self.groups.append(each[self.metric.counted(truths).cpu()])

    def kept(self) -> dict[str, Tensor]:
        """The scores, their truths and their groups, (N,) each, by name."""
        scores, truths, groups = self.metric.scores, self.metric.truths, self.groups
        kept = {"scores": scores, "truths": truths, "groups": groups}
        return {_RANKED + name: torch.cat([*held]).cpu() for name, held in kept.items() if held}

    def join(self, kept: Mapping[str, "np.ndarray[Any, Any]"], first: int) -> None:
        """Keep the scores of another evaluation, whose groups are numbered from `first`."""
        held = {name: torch.from_numpy(one) for name, one in kept.items()}
        if f"{_RANKED}scores" in held:
            self.metric.scores.append(held[f"{_RANKED}scores"])
            self.metric.truths.append(held[f"{_RANKED}truths"])
        if f"{_RANKED}groups" in held:
            self.groups.append(held[f"{_RANKED}groups"] + first)

    def compute(self, weights: Tensor) -> dict[str, Tensor]:
        """The metrics, with weights of the groups, (groups,)."""
        if self.sorted is None:
            self.sorted = SortedScores(*self.metric.columns())
            self.each = torch.cat(self.groups)
        return self.sorted.compute(weights[self.each].to(self.sorted.device))

    def resamples(self, most: int) -> int:
        """The number of resamples that take a few seconds, at least 100; at most `most`."""
        assert self.sorted is not None
        scores = max(1, self.sorted.count * len(self.sorted.columns))
        return min(most, max(100, self.work // scores))


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
