"""Baselines of sequences that are generated: the most frequent one, x again, the nearest x."""

from abc import abstractmethod
from collections import Counter

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from seqpipe.baselines.base import Answers, Baseline
from seqpipe.baselines.features import NGrams, features_of, stacked
from seqpipe.baselines.linear import Inputs, whole_words
from seqpipe.data.base import FieldSpec, SequenceBatch
from seqpipe.data.columns import Array
from seqpipe.data.dataset import SequenceData
from seqpipe.data.vocabulary import EOS, SPECIALS, UNK


class Sequences(Baseline):
    """The base of baselines that answer with a sequence of symbols, without a probability."""

    def answers(self, batch: SequenceBatch) -> Answers:
        """See `Baseline`; predictions are ids (B, T), <EOS> from the end on, and lengths (B,)."""
        rows = self.written(batch)
        ended = [torch.cat([row, row.new_tensor([EOS])]) for row in rows]
        ids = pad_sequence(ended, batch_first=True, padding_value=EOS)
        return Answers((ids, torch.tensor([len(row) for row in rows])), None)

    @abstractmethod
    def written(self, batch: SequenceBatch) -> list[Tensor]:
        """Return the symbols of each answer without <EOS>, (T,) each."""


class MostFrequent(Sequences):
    """The y that training has most often; the first of equally frequent ones."""

    phrase = "the most frequent y of training"

    def __init__(self) -> None:
        super().__init__("most_frequent")

    def fit(self, data: SequenceData) -> None:
        """Count whole sequences."""
        column = data.columns("train").y
        counts = Counter(_symbols(column.array(place)).tobytes() for place in range(len(column)))
        ((raw, _),) = counts.most_common(1)
        self._answer = torch.from_numpy(np.frombuffer(raw, dtype=np.int64).copy())

    def written(self, batch: SequenceBatch) -> list[Tensor]:
        """See `Sequences`."""
        return [self._answer] * len(batch)


class Copy(Sequences):
    """x again, symbol by symbol; a symbol that y does not have is left out.

    Args:
        x: whose symbols are copied.
        y: whose symbols are written.
    """

    phrase = "x again"

    def __init__(self, x: FieldSpec, y: FieldSpec) -> None:
        super().__init__("copy")
        ids = {name: id_ for id_, name in enumerate(y.names or ()) if id_ >= len(SPECIALS)}
        names = enumerate(x.names or ())
        self._ids = torch.tensor(
            [ids.get(name, UNK) if id_ >= len(SPECIALS) else UNK for id_, name in names]
        )

    @property
    def is_possible(self) -> bool:
        """True if x and y share half of the symbols of x, or more."""
        own = self._ids[len(SPECIALS) :]
        return len(own) > 0 and float((own != UNK).float().mean()) >= 0.5

    def fit(self, data: SequenceData) -> None:
        """Nothing to learn."""

    def written(self, batch: SequenceBatch) -> list[Tensor]:
        """See `Sequences`."""
        assert batch.x is not None and batch.x_lengths is not None
        rows = zip(self._ids[batch.x], batch.x_lengths.tolist(), strict=True)
        return [row[:length][row[:length] != UNK] for row, length in rows]


class Nearest(Sequences):
    """The y of the training example whose x is most alike: the same x, if training has it.

    Alike is the cosine of tf-idf weights of n-grams, as a translation memory searches.
    """

    phrase = "the y of the most similar x in training"

    def __init__(self) -> None:
        super().__init__("nearest")

    def fit(self, data: SequenceData) -> None:
        """Keep the training examples and their features."""
        column = data.columns("train").x
        assert data.spec.x is not None and column is not None
        self._spec, train = data.spec.x, Inputs(data, "train")
        (self._features, *_) = features_of(self._spec, column)
        assert isinstance(self._features, NGrams)
        self._features.fit(train.blocks)
        self._rows = stacked(self._features.matrix(*block) for block in train.blocks).T.tocsr()
        y = data.columns("train").y
        self._answers = [_symbols(y.array(int(place))) for place in train.places]

    def written(self, batch: SequenceBatch) -> list[Tensor]:
        """See `Sequences`."""
        assert batch.x is not None and batch.x_lengths is not None
        values = whole_words(batch.x.numpy(), self._spec)
        alike = self._features.matrix(values, batch.x_lengths.numpy()) @ self._rows
        places = np.asarray(alike.argmax(axis=1)).reshape(-1)
        return [torch.from_numpy(self._answers[place]) for place in places]


def _symbols(y: Array) -> Array:
    """A y as int64, without the <EOS> at its end. y: (T,)."""
    ended = len(y) > 0 and y[-1] == EOS
    return (y[:-1] if ended else y).astype(np.int64)
