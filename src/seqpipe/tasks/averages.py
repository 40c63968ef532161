"""The average of the answers of several models: of probabilities, or of numbers."""

import functools
import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from seqpipe.data.base import FieldSpec
from seqpipe.nn.precision import exact, precise


@runtime_checkable
class Averages(Protocol):
    """A task whose answers have an average.

    Attributes:
        why_no_average: the reason why those of this one have none; "" where they have.
    """

    why_no_average: str

    def averaged(self, outputs: Sequence[Tensor]) -> Tensor:
        """Outputs as of one model whose probabilities, or numbers, are the mean of all.

        Args:
            outputs: of each model, of the same shape.
        """

    def decisions(self, outputs: Tensor) -> Tensor:
        """Classes as integers, labels as bool, or numbers in the units of the data.

        The axes of the batch and of the steps come first.
        """


class AverageOfClasses:
    """The average of the probabilities of classes, of which the most probable is decided."""

    why_no_average = ""

    def averaged(self, outputs: Sequence[Tensor]) -> Tensor:
        """Log of the mean probability; outputs: logits (..., K) of each model."""
        logs = (precise(one).log_softmax(dim=-1) for one in outputs)
        return functools.reduce(torch.logaddexp, logs) - math.log(len(outputs))

    def decisions(self, outputs: Tensor) -> Tensor:
        """The most probable class, (...)."""
        return outputs.argmax(dim=-1)


class AverageOfLabels:
    """The average of the probability of each label."""

    why_no_average = ""
    threshold: float

    def averaged(self, outputs: Sequence[Tensor]) -> Tensor:
        """Logit of the mean probability; outputs: logits (..., K) of each model."""
        log_sigmoid = torch.nn.functional.logsigmoid
        present = functools.reduce(torch.logaddexp, (log_sigmoid(precise(o)) for o in outputs))
        absent = functools.reduce(torch.logaddexp, (log_sigmoid(-precise(o)) for o in outputs))
        return present - absent

    def decisions(self, outputs: Tensor) -> Tensor:
        """True for labels at least as likely as the threshold, (..., K)."""
        return outputs.float().sigmoid() >= self.threshold


class AverageOfNumbers:
    """The average of numbers."""

    why_no_average = ""
    y: FieldSpec

    def averaged(self, outputs: Sequence[Tensor]) -> Tensor:
        """The mean; outputs: of any shape."""
        return functools.reduce(torch.add, map(precise, outputs)) / len(outputs)

    def decisions(self, outputs: Tensor) -> Tensor:
        """The numbers in the units of the data, (..., K)."""
        numbers: Tensor = self.y.in_units(exact(outputs))
        return numbers
