"""Baselines of language models: symbols alone, and given the symbol before."""

import numpy as np
import torch
from torch import Tensor

from seqpipe.baselines.base import Answers, Baseline
from seqpipe.baselines.frequencies import NEVER
from seqpipe.baselines.previous import Previous, all_steps, with_previous
from seqpipe.data.base import SequenceBatch
from seqpipe.data.columns import Array, Integers
from seqpipe.data.dataset import SequenceData
from seqpipe.data.vocabulary import BOS, PAD
from seqpipe.nn.masks import length_mask

STRENGTHS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Strengths of the unigram in a bigram, which the validation split chooses from."""


class Unigram(Baseline):
    """Each symbol is as likely as it is frequent in training; `<PAD>` and `<BOS>` never occur.

    Args:
        size: V, number of symbols.
        name: see `Baseline`.
    """

    phrase = "each symbol as frequent as in training"

    def __init__(self, size: int, name: str = "unigram") -> None:
        super().__init__(name)
        self.size = size

    def fit(self, data: SequenceData) -> None:
        """Count the symbols."""
        steps, _ = all_steps(data.columns("train").y)
        counts = np.maximum(np.bincount(steps, minlength=self.size), NEVER)
        counts[[PAD, BOS]] = 0
        self.shares = counts / counts.sum()
        self.commonest = int(self.shares.argmax())

    def answers(self, batch: SequenceBatch) -> Answers:
        """See `Baseline`."""
        y = batch.y[_real(batch)].numpy()
        return _answers(batch, np.full(y.shape, self.commonest), self.shares[y])


class Bigram(Unigram):
    """p(b | a) = w(a) n(a, b) / n(a) + (1 - w(a)) p(b), interpolated with the unigram.

    The weight w(a) = n(a) / (n(a) + s r(a)) grows with how often a occurs, and falls with the
    number r(a) of different symbols that follow it; the strength s is what validates best.

    Source: Jelinek & Mercer (1980), "Interpolated estimation of Markov source parameters"; the
        weights of Witten & Bell (1991), method C, which has s = 1.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size, "bigram")
        self._previous = Previous()

    def fit(self, data: SequenceData) -> None:
        """Count the pairs in training, and choose the strength on the validation split."""
        super().fit(data)
        steps, starts = all_steps(data.columns("train").y)
        before = with_previous(steps, starts, BOS)
        self._pairs, counts = np.unique(self._cells(before, steps), return_counts=True)
        total = np.bincount(before, minlength=self.size)
        first = self._pairs // self.size
        self._given = counts / total[first]
        followers = np.bincount(first, minlength=self.size)
        steps, starts = all_steps(data.columns("valid").y)
        before, nats = with_previous(steps, starts, BOS), list[float]()
        weights = [total / np.maximum(total + s * followers, NEVER) for s in STRENGTHS]
        for self._weights in weights:
            nats.append(-np.log(self._chances(before, steps)).mean())
        best = int(np.argmin(nats))
        self._weights = weights[best]
        self._next = self._most_likely()
        self.phrase = f"each symbol given the one before, interpolated (s = {STRENGTHS[best]:g})"

    def answers(self, batch: SequenceBatch) -> Answers:
        """See `Baseline`."""
        mask = _real(batch)
        before = self._previous.of(batch, first=torch.tensor(BOS))[mask].numpy()
        y = batch.y[mask].numpy()
        return _answers(batch, self._next[before], self._chances(before, y))

    def _chances(self, before: Array, steps: Array) -> Array:
        """Probability of each step given the one before."""
        weights = self._weights[before]
        chances: Array = weights * self._bigram(before, steps) + (1 - weights) * self.shares[steps]
        return chances

    def _cells(self, before: Array, steps: Array) -> Integers:
        """A number for each pair of symbols."""
        return before.astype(np.int64) * self.size + steps

    def _bigram(self, before: Array, steps: Array) -> Array:
        """n(a, b) / n(a) of each pair, 0 where training does not have it."""
        cells = self._cells(before, steps)
        places = np.searchsorted(self._pairs, cells).clip(max=len(self._pairs) - 1)
        found: Array = np.where(self._pairs[places] == cells, self._given[places], 0.0)
        return found

    def _most_likely(self) -> Integers:
        """The most likely symbol after each: one that followed it, or the commonest of all."""
        before, after = self._pairs // self.size, self._pairs % self.size
        weights = self._weights[before]
        chances = weights * self._given + (1 - weights) * self.shares[after]
        order = np.argsort(chances, kind="stable")  # the best is written last
        best = np.zeros(self.size)
        best[before[order]] = chances[order]
        following = np.full(self.size, self.commonest)
        following[before[order]] = after[order]
        floor = (1 - self._weights) * self.shares[self.commonest]
        return np.where(best > floor, following, self.commonest)


def _real(batch: SequenceBatch) -> Tensor:
    assert batch.y_lengths is not None
    return length_mask(batch.y_lengths, batch.y.shape[1])


def _answers(batch: SequenceBatch, chosen: Array, chances: Array) -> Answers:
    """Answers of N real steps. chosen: (N,) ids; chances: (N,) p of the true symbols."""
    predictions = torch.full_like(batch.y, PAD)
    predictions[_real(batch)] = torch.from_numpy(chosen).to(batch.y.dtype)
    return Answers(predictions, torch.tensor(-np.log(chances).mean()))
