"""Precision, recall and F1 of the spans that tags mark."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from seqpipe.data.tags import Span, spans, types
from seqpipe.tasks.metric_sums import ByExample, added_up

IGNORED = -1
"""Stands in the truth where a sequence has no step."""


class EntityScores(ByExample):
    """Precision, recall and F1 of spans; one is right if its type and both its ends are.

    Counted over the whole split and all types (micro), as by conlleval. Tags that break the
    scheme, as a model may, are read as conlleval reads them. Where sequences are cut in pieces
    (`data.window`), a span that is cut counts as one span in each piece.

    Computes `entity_precision`, `entity_recall`, `entity_f1`, () each, and
    `entity_f1_per_type` (types,), in the order of `types`. What has no spans to be divided by is 0.

    Args:
        names: of the tags, by id.
        find: the spans that tags mark; None: those of any scheme, see `seqpipe.data.tags.spans`.
        kinds: the types of spans; None: those of the tags.
        kwargs: of torchmetrics' Metric.

    Source: conlleval.pl (Tjong Kim Sang & Buchholz 2000).
    """

    right: Tensor
    predicted: Tensor
    true: Tensor

    def __init__(
        self,
        names: tuple[str, ...],
        find: Callable[[Sequence[str]], list[Span]] | None = None,
        kinds: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.names, self.types = names, types(names) if kinds is None else list(kinds)
        self.find = spans if find is None else find
        for state in ("right", "predicted", "true"):
            zeros = torch.zeros(len(self.types), dtype=torch.int64)
            self.add_state(state, zeros, dist_reduce_fx="sum")

    def of_examples(
        self, predictions: Tensor, truths: Tensor, examples: Tensor, count: int
    ) -> dict[str, Tensor]:
        """See `ByExample`; predictions, truths: (B, T) ids, in truths IGNORED from the end on."""
        lengths = (truths != IGNORED).sum(dim=1).tolist()
        rows = zip(predictions.tolist(), truths.tolist(), lengths, strict=True)
        right, predicted, true = [], [], []
        for guess, truth, length in rows:
            guessed = set(self.find([self.names[id_] for id_ in guess[:length]]))
            real = set(self.find([self.names[id_] for id_ in truth[:length]]))
            right.append(self._by_type(guessed & real))
            predicted.append(self._by_type(guessed))
            true.append(self._by_type(real))
        states = {"right": right, "predicted": predicted, "true": true}
        return {
            name: added_up(torch.tensor(rows, device=examples.device), examples, count)
            for name, rows in states.items()
        }

    def _by_type(self, found: set[Span]) -> list[int]:
        counts = Counter(span.type for span in found)
        return [counts[type_] for type_ in self.types]

    def compute(self) -> dict[str, Tensor]:
        """The scores; F1 is twice the right spans over predicted and true ones together."""
        right, predicted, true = self.right.sum(), self.predicted.sum(), self.true.sum()
        return {
            "entity_precision": right / predicted.clamp(min=1),
            "entity_recall": right / true.clamp(min=1),
            "entity_f1": 2 * right / (predicted + true).clamp(min=1),
            "entity_f1_per_type": 2 * self.right / (self.predicted + self.true).clamp(min=1),
        }
