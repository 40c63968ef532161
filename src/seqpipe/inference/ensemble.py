"""Several trained models of the same data that answer as one: the average of what they predict."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from seqpipe.data.base import Field
from seqpipe.inference.model import Model
from seqpipe.models.architecture import Carries
from seqpipe.nn.masks import length_mask
from seqpipe.nn.nested_state import Tree
from seqpipe.rules import shown
from seqpipe.tasks.averages import Averages

_OF_THE_TRAINING = ("batch_size", "batch_tokens", "num_workers", "seed", "cache")
"""Keys of data that no answer depends on."""


class Ensemble(nn.Module):
    """Networks in the place of one: outputs whose probabilities are the mean of theirs.

    Args:
        task: that all were trained for.
        networks: in eval mode, on one device.

    Attributes:
        longest_x: most steps of x that they read; None where there is no limit.
        has_numbers: True if answers are numbers, and not decisions.
    """

    def __init__(self, task: Averages, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.task, self.members = task, nn.ModuleList(networks)
        self.longest_x: Any = getattr(networks[0], "longest_x", None)
        self.has_numbers = False
        self._lock = threading.Lock()  # several threads may compute batches
        self._equal, self._decisions = [0.0] * len(networks), 0

    def forward(
        self,
        x: Tensor | None,
        x_lengths: Tensor | None,
        y: Tensor | None = None,
        y_lengths: Tensor | None = None,
    ) -> Tensor:
        """Outputs of the task, as of each network; the arguments are theirs."""
        return self._averaged([one(x, x_lengths, y, y_lengths) for one in self.members], y_lengths)

    def start(self, count: int) -> Tree:
        """The state of each network before the first step of `count` sequences."""
        return tuple(_carrying(one).start(count) for one in self.members)

    def carry(
        self,
        x: Tensor | None,
        x_lengths: Tensor | None,
        y: Tensor,
        y_lengths: Tensor,
        state: Tree,
    ) -> tuple[Tensor, Tree]:
        """Outputs of a piece of long sequences, and the state of each network after it."""
        parts = [
            _carrying(one).carry(x, x_lengths, y, y_lengths, own)
            for one, own in zip(self.members, state, strict=True)
        ]
        averaged = self._averaged([outputs for outputs, _ in parts], y_lengths)
        return averaged, tuple(after for _, after in parts)

    def agreement(self) -> list[float]:
        """How far each network agrees with all of them together, over all answers so far.

        The share of equal decisions; of numbers the mean distance, in the units of the data.
        """
        return [value / max(1, self._decisions) for value in self._equal]

    def _averaged(self, outputs: Sequence[Tensor], y_lengths: Tensor | None) -> Tensor:
        averaged = self.task.averaged(outputs)
        mask = None if y_lengths is None else length_mask(y_lengths, averaged.shape[1])
        whole = self.task.decisions(averaged)
        own = [self.task.decisions(one) for one in outputs]
        if mask is not None:
            whole, own = whole[mask], [one[mask] for one in own]
        self.has_numbers = whole.is_floating_point()
        compared = [_equality(one, whole) for one in own]
        with self._lock:
            self._decisions += whole.numel()
            self._equal = [a + b for a, b in zip(self._equal, compared, strict=True)]
        return averaged


def _equality(one: Tensor, whole: Tensor) -> float:
    """The number of equal decisions, or the sum of distances."""
    if one.is_floating_point():
        return float((one - whole).abs().double().sum())
    return float((one == whole).sum())


def _carrying(network: nn.Module) -> Carries:
    assert isinstance(network, Carries), "a network of a task with lanes"
    return network


def ensemble_of(models: Sequence[Model]) -> Model:
    """A model whose answers are the average of those of several models.

    Args:
        models: on one device, for which `why_no_ensemble` finds nothing.
    """
    first = models[0]
    task: Any = first.task
    network = Ensemble(task, [one.network for one in models])
    parts = (first.config, first.x, first.y, first.spec, first.task, network, first.facts)
    return Model(*parts)


def why_no_ensemble(models: Sequence[Model], names: Sequence[str]) -> str:
    """The reason why the answers of some models have no average; empty if they have.

    Args:
        models: of the ensemble.
        names: of the models, for the reason.
    """
    first = models[0]
    if len(models) < 2:
        return f"{names[0]} is the only model"
    for other, name in zip(models[1:], names[1:], strict=True):
        if reason := _difference(first, other):
            return f"{names[0]} and {name} differ in {reason}"
    task: Any = first.task
    if isinstance(task, Averages):
        return task.why_no_average and f"task={first.task.name}: {task.why_no_average}"
    return f"task={first.task.name}: what it writes has no average"


def _difference(one: Model, other: Model) -> str:
    """The first thing in which the data or the tasks of two models differ; empty if nothing."""
    if one.task.name != other.task.name:
        return f"their tasks, {one.task.name} and {other.task.name}"
    if key := _different_key(one, other):
        parts = key.split(".")[1:]
        values = (shown(_value(model.config["data"], parts)) for model in (one, other))
        return f"their data, {key}={' and '.join(values)}"
    if (split := _different_split(one, other)) is not None:
        return f"the records of their {split} split"
    for role in ("y", "x"):
        fields = [getattr(model, role) for model in (one, other)]
        if not _same_field(*fields):
            words = {"y": "labels, or the scale of their numbers", "x": "vocabulary or scale"}
            return f"their {words[role]}"
    return ""


def _different_split(one: Model, other: Model) -> str | None:
    """The first split whose records differ; None if none does."""
    digests = [model.facts.get("digests", {}) for model in (one, other)]
    splits = ("train", "valid", "test")
    return next((name for name in splits if digests[0].get(name) != digests[1].get(name)), None)


def _different_key(one: Model, other: Model) -> str:
    """The first key of data with another value that answers depend on."""
    ignored = {f"data.{name}" for name in _OF_THE_TRAINING}
    if _different_split(one, other) is None:  # the seed of shares that are not drawn
        ignored |= {"data.source.seed", "data.source.source.seed"}
    ignored |= {f"data.{r}.{name}" for r, field in (("x", one.x), ("y", one.y)) if field
                for name in field.augmentations}  # fmt: skip
    return next(_different_keys(one.config["data"], other.config["data"], "data", ignored), "")


def _different_keys(one: Any, other: Any, key: str, ignored: set[str]) -> Any:
    if key in ignored or one == other:
        return
    if isinstance(one, dict) and isinstance(other, dict):
        for name in {**one, **other}:
            yield from _different_keys(one.get(name), other.get(name), f"{key}.{name}", ignored)
        return
    yield key


def _value(node: Any, parts: Sequence[str]) -> Any:
    for part in parts:
        node = node.get(part) if isinstance(node, dict) else None
    return node


def _same_field(one: Field | None, other: Field | None) -> bool:
    if one is None or other is None:
        return one is other
    return _same(one.state(), other.state()) and _same(one.weights(), other.weights())


def _same(one: Any, other: Any) -> bool:
    """True if two states are equal: arrays and tensors in nested containers, NaN equal to NaN."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        one, other = one.cpu().numpy(), other.cpu().numpy()
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        one, other = np.asarray(one), np.asarray(other)
        floats = one.dtype.kind in "fc" and other.dtype.kind in "fc"
        return np.array_equal(one, other, equal_nan=floats)
    return bool(one == other)
