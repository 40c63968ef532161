"""A sequence of another length."""

from typing import Any, Literal

from torch import Tensor
from torchmetrics import MetricCollection

from seqpipe.data.base import FieldSpec, SequenceBatch
from seqpipe.data.vocabulary import EOS
from seqpipe.tasks.base import Pairs, StepTask
from seqpipe.tasks.metrics import ErrorRate, ExactMatch

Decoded = tuple[Tensor, Tensor]


class Transduction(StepTask):
    """Cross entropy with teacher forcing; exact match and error rate on greedy decoding.

    The metrics come from decoding freely, as the model would be used: the model never sees the
    true y. Only the loss does.

    Args:
        y: kind `symbols`.
        longest_y: longest y of the training split, <EOS> included.
        label_smoothing: mass spread over all symbols in the training loss, in [0, 1).
        max_length: symbols decoded at most; None: `longest_y` and ten more.
        monitor: see `Task`.
        mode: see `Task`.
    """

    name = "transduction"
    y_kind = "symbols"

    def __init__(
        self,
        *,
        y: FieldSpec,
        longest_y: int,
        label_smoothing: float = 0.0,
        max_length: int | None = None,
        monitor: str = "val/exact_match",
        mode: Literal["min", "max"] = "max",
    ) -> None:
        super().__init__(y=y, monitor=monitor, mode=mode)
        self.label_smoothing = label_smoothing
        self.max_length = longest_y + 10 if max_length is None else max_length

    def metric_names(self) -> list[str]:
        """Loss, exact match, error rate."""
        return ["loss", "exact_match", "error_rate"]

    def predict(self, model: Any, outputs: Tensor, batch: SequenceBatch) -> Decoded:
        """Greedy decoding: ids (B, T) and lengths (B,)."""
        decoded: Decoded = model.greedy(batch.x, batch.x_lengths, self.max_length)
        return decoded

    def pairs(self, predictions: Decoded, batch: SequenceBatch) -> Pairs:
        """Two lists of id lists, <EOS> removed."""
        both = self.decoded(predictions, batch)
        return [p.tolist() for p, _ in both], [t.tolist() for _, t in both]

    def metrics(self, stage: str) -> MetricCollection:
        """Exact match and error rate; none while training, which does not decode."""
        if stage == "train":
            return MetricCollection({})
        return MetricCollection({"exact_match": ExactMatch(), "error_rate": ErrorRate()})

    def decoded(self, predictions: Any, batch: SequenceBatch) -> list[tuple[Any, Any]]:
        """Symbols before <EOS> of each example."""
        ids, _ = predictions
        assert batch.y_lengths is not None
        true_lengths = (batch.y_lengths - 1).tolist()  # y ends in <EOS>
        return [
            (_before(ids[b], EOS).cpu(), batch.y[b, :n].cpu()) for b, n in enumerate(true_lengths)
        ]


def _before(ids: Tensor, end: int) -> Tensor:
    """ids: (T,). What comes before the first `end`, all where there is none."""
    found = (ids == end).nonzero()
    return ids[: int(found[0])] if len(found) else ids
