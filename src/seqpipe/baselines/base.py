"""The base of all baselines: fitted on the training split, asked like a model."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from seqpipe.data.base import FieldSpec, SequenceBatch
from seqpipe.data.dataset import SequenceData


class Skipped(Exception):
    """A baseline that these data do not allow, or not cheaply; its text is the reason."""


@dataclass(frozen=True)
class Answers:
    """The answers of a baseline to a batch.

    Args:
        predictions: as `Task.predict` returns them.
        loss: mean over what the task counts, a scalar; None if the baseline has no probabilities.
        scores: as `Task.scores` returns them.
    """

    predictions: Any
    loss: Tensor | None
    scores: Tensor | None = None


class Baseline(ABC):
    """A simple model of a task: the most frequent answer, a linear model, the last value again.

    Args:
        name: in the metrics, as in `baseline/<name>/accuracy`.

    Attributes:
        phrase: what it does, for the report; known after `fit`.
    """

    phrase: str

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def fit(self, data: SequenceData) -> None:
        """Learn from the training split; the validation split may choose between variants.

        Raises:
            Skipped: it cannot be learned from these data, or takes too long.
        """

    @abstractmethod
    def answers(self, batch: SequenceBatch) -> Answers:
        """Answer a batch on the CPU; y is read only where a model would read it, too."""


class Judge(Protocol):
    """The part of a task that turns the outputs of a model into answers and a loss."""

    y: FieldSpec

    def loss(self, outputs: Tensor, batch: SequenceBatch, *, training: bool) -> Tensor:
        """Return the mean loss, a scalar."""

    def predict(self, model: Any, outputs: Tensor, batch: SequenceBatch) -> Any:
        """Return the answers."""

    def scores(self, outputs: Tensor, batch: SequenceBatch) -> Tensor | None:
        """Return the probabilities of the answers, as metrics take them."""


class ProbabilityJudge(Judge, Protocol):
    """The same of a task whose outputs follow from probabilities."""

    def outputs_of(self, probabilities: Tensor) -> Tensor:
        """Return the outputs of a model with these probabilities."""


class ByOutputs(Baseline):
    """A baseline that gives what a model gives; the task makes answers and a loss of it.

    Args:
        task: the task.
        name: see `Baseline`.
    """

    def __init__(self, task: Judge, name: str) -> None:
        super().__init__(name)
        self.task = task

    @abstractmethod
    def outputs(self, batch: SequenceBatch) -> Tensor:
        """Return outputs as a model's, (B, K) or (B, T, K) float64."""

    def answers(self, batch: SequenceBatch) -> Answers:
        """See `Baseline`."""
        outputs = self.outputs(batch)
        loss = self.task.loss(outputs, batch, training=False)
        scores = self.task.scores(outputs, batch)
        return Answers(self.task.predict(None, outputs, batch), loss, scores)


class ByProbability(ByOutputs):
    """A baseline that gives probabilities.

    Args:
        task: the task.
        name: see `Baseline`.
    """

    task: ProbabilityJudge

    def __init__(self, task: ProbabilityJudge, name: str) -> None:
        super().__init__(task, name)

    @abstractmethod
    def probabilities(self, batch: SequenceBatch) -> Tensor:
        """Return p of each class or label, (B, K) or (B, T, K) float64, each above 0."""

    def outputs(self, batch: SequenceBatch) -> Tensor:
        """See `ByOutputs`."""
        return self.task.outputs_of(self.probabilities(batch))
