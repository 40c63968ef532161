"""Baselines that ignore x: how frequent each class, tag, label or note is."""

import numpy as np
import torch
from torch import Tensor

from seqpipe.baselines.base import ByProbability, ProbabilityJudge
from seqpipe.data.base import SequenceBatch
from seqpipe.data.columns import Array, Integers
from seqpipe.data.dataset import SequenceData

NEVER = 0.5
"""The count of a class that training does not have: its probability must not be 0."""


def shares(counts: Integers) -> Tensor:
    """Return the share of each class, (K,) float64. counts: (K,) in the training split."""
    smoothed = np.maximum(counts, NEVER)
    return torch.from_numpy(smoothed / smoothed.sum())


def training_counts(data: SequenceData) -> Integers:
    """Return how often each class, tag or symbol of y occurs in the training split, (K,)."""
    return data.counts("y")["train"]


class Frequencies(ByProbability):
    """Every example or step has the classes as likely as they are frequent in training.

    The answer is then the most frequent class; that of an ordinal task its median.

    Args:
        task: the task.
        name: `majority`, or `median`.
    """

    phrase = "classes as frequent as in training, whatever x is"

    def __init__(self, task: ProbabilityJudge, name: str = "majority") -> None:
        super().__init__(task, name)

    def fit(self, data: SequenceData) -> None:
        """Count the classes."""
        self._shares = shares(training_counts(data))

    def probabilities(self, batch: SequenceBatch) -> Tensor:
        """Return (B, K), or (B, T_y, K) where y has steps."""
        return self._shares.expand(*batch.y.shape, -1)


class LabelFrequencies(ByProbability):
    """Each label or note is as likely as it is frequent in training, whatever the others are."""

    phrase = "each label as frequent as in training, whatever the others are"

    def __init__(self, task: ProbabilityJudge) -> None:
        super().__init__(task, "frequencies")

    def fit(self, data: SequenceData) -> None:
        """Count the labels."""
        column = data.columns("train").y
        on = sum(chunk.values.sum(axis=0, dtype=np.float64) for chunk in column.chunks)
        count = sum(len(chunk.values) for chunk in column.chunks)
        self._shares = label_shares(np.asarray(on), count)

    def probabilities(self, batch: SequenceBatch) -> Tensor:
        """Return (B, K), or (B, T_y, K) where y has steps."""
        return self._shares.expand(batch.y.shape)


def label_shares(on: Array, count: Array | float) -> Tensor:
    """Return p of each label, (K,) float64, never 0 or 1.

    Args:
        on: (K,) how often each is there.
        count: of how many steps or examples.
    """
    return torch.from_numpy((on + NEVER) / (np.asarray(count) + 2 * NEVER))
