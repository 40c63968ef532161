"""Baselines of tagging and of music: the tag of a word, the notes of the last step."""

import numpy as np
import torch
from torch import Tensor

from seqpipe.baselines.base import ByProbability, ProbabilityJudge
from seqpipe.baselines.frequencies import label_shares, shares, training_counts
from seqpipe.baselines.previous import Previous, all_steps, with_previous
from seqpipe.data.base import SequenceBatch
from seqpipe.data.columns import Array, Integers
from seqpipe.data.dataset import SequenceData


class TagOfSymbol(ByProbability):
    """The tag that a word, or another symbol of x, has most often in training.

    p(tag | word) = (n(word, tag) + p(tag)) / (n(word) + 1): a word that training does not have
    gets the most frequent tag. Of spelled words those outside the vocabulary are known, too.

    Args:
        task: the task.
        spelled: x has the characters of each word.

    Source: the baseline of Charniak et al. (1993), "Equations for part-of-speech tagging".
    """

    phrase = "the most frequent tag of each word or symbol"

    def __init__(self, task: ProbabilityJudge, *, spelled: bool) -> None:
        super().__init__(task, "tag_of_symbol")
        self.spelled = spelled

    def fit(self, data: SequenceData) -> None:
        """Count each pair of symbol and tag."""
        examples, K = data.columns("train"), self.task.y.size
        assert examples.x is not None
        (x, _), (tags, _) = all_steps(examples.x), all_steps(examples.y)
        self._known, symbols = np.unique(self._keys(x), return_inverse=True)
        count = len(self._known)
        cells = symbols.reshape(-1) * K + tags
        counts = np.bincount(cells, minlength=(count + 1) * K).reshape(count + 1, K)
        prior = shares(training_counts(data)).numpy()
        self._table = torch.from_numpy((counts + prior) / (counts.sum(axis=1, keepdims=True) + 1))

    def probabilities(self, batch: SequenceBatch) -> Tensor:
        """Return (B, T, K)."""
        assert batch.x is not None
        keys = self._keys(batch.x.numpy())
        places = np.searchsorted(self._known, keys).clip(max=len(self._known) - 1)
        unknown = len(self._known)
        return self._table[np.where(self._known[places] == keys, places, unknown)]

    def _keys(self, x: Array) -> Integers:
        """A number for each symbol; of a spelled word a hash of its id and characters."""
        ids: Integers = x.astype(np.int64)
        if not self.spelled:
            return ids
        factors = np.random.default_rng(0).integers(2**62, size=ids.shape[-1])
        hashed: Integers = (ids * factors).sum(axis=-1)  # modulo 2^64
        return hashed


class LastStep(ByProbability):
    """Each note, given whether it sounded in the step before: a Markov chain for each key.

    The first step of a piece follows silence, as it does for a model.
    """

    phrase = "each note given whether it sounded in the step before"

    def __init__(self, task: ProbabilityJudge) -> None:
        super().__init__(task, "last_step")

    def fit(self, data: SequenceData) -> None:
        """Count the transitions of each note in training."""
        now, starts = all_steps(data.columns("train").y)
        now = now.astype(bool)
        before = with_previous(now, starts, 0)
        cases = (~before, before)
        counts = np.stack([case.sum(axis=0) for case in cases])
        self._given = label_shares(np.stack([(case & now).sum(axis=0) for case in cases]), counts)
        self._previous = Previous()

    def probabilities(self, batch: SequenceBatch) -> Tensor:
        """Return (B, T_y, K)."""
        silence = batch.y.new_zeros(batch.y.shape[-1])
        sounded = self._previous.of(batch, first=silence).bool()
        return self._given[1].where(sounded, self._given[0])
