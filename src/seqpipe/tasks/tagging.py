"""One of K tags for each step."""

from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics import MetricCollection

from seqpipe.data.base import FieldSpec, SequenceBatch
from seqpipe.data.tags import types
from seqpipe.tasks.base import Pairs, StepTask, class_scalars
from seqpipe.tasks.entities import IGNORED, EntityScores
from seqpipe.tasks.metrics import class_metrics
from seqpipe.tasks.weights import ClassWeights, weights_of


class Tagging(StepTask):
    """Cross entropy in nats per real step; accuracy, macro-F1 and F1 of each tag, over real steps.

    Where the tags mark spans (`y.scheme`), also precision, recall and F1 of spans: see
    `EntityScores`. Class weights change the training loss only: losses of validation and test
    count every step alike.

    Args:
        y: kind `tags`.
        label_smoothing: mass spread over all tags in the training loss, in [0, 1).
        class_weights: `balanced` or `sqrt`, see `weights_of`; None: every step weighs the same.
        monitor: see `Task`.
        mode: see `Task`.
    """

    name = "tagging"
    y_kind = "tags"

    def __init__(
        self,
        *,
        y: FieldSpec,
        label_smoothing: float = 0.0,
        class_weights: ClassWeights | None = None,
        monitor: str = "val/accuracy",
        mode: Literal["min", "max"] = "max",
    ) -> None:
        self.span_names = y.names if y.scheme is not None and y.names is not None else ()
        super().__init__(y=y, monitor=monitor, mode=mode)
        self.label_smoothing = label_smoothing
        self.weights = weights_of(class_weights, y)

    def metric_names(self) -> list[str]:
        """Loss, accuracy, macro-F1; precision, recall and F1 of spans."""
        names = ["loss", "accuracy", "macro_f1"]
        spans = ["entity_precision", "entity_recall", "entity_f1"]
        return [*names, *spans] if self.span_names else names

    def pairs(self, predictions: Any, batch: SequenceBatch) -> Pairs:
        """Predictions and truth, (B, T_y) ids each, IGNORED in the truth where a step is none."""
        return predictions, torch.where(self.mask(batch), batch.y, IGNORED)

    def metrics(self, stage: str) -> MetricCollection:
        """Accuracy while training; all of them, and the confusion matrix, in the test."""
        metrics = class_metrics(self.output_size, stage, ignored=IGNORED)
        if self.span_names and stage != "train":
            metrics.add_metrics({"entities": EntityScores(self.span_names)})
        return metrics

    def scalars(self, computed: dict[str, Tensor]) -> dict[str, Tensor]:
        """Accuracy, macro-F1, `f1/<tag>`; scores of spans, and `entity_f1/<type>` of the test."""
        scalars = class_scalars(computed, self.y.names or ())
        if "f1_per_class" in computed and "entity_f1_per_type" in computed:  # in the test only
            f1 = computed["entity_f1_per_type"].reshape(-1)  # torchmetrics makes a scalar of one
            per_type = zip(types(self.span_names), f1, strict=True)
            scalars |= {f"entity_f1/{type_}": value for type_, value in per_type if type_}
        return scalars
