"""One of K tags for each step."""

from typing import Literal

from torch import Tensor
from torchmetrics import MetricCollection

from seqpipe.data.base import FieldSpec
from seqpipe.tasks.base import StepTask, class_scalars
from seqpipe.tasks.metrics import class_metrics


class Tagging(StepTask):
    """Cross entropy in nats per real step; accuracy, macro-F1 and F1 of each tag, over real steps.

    Args:
        y: kind `tags`.
        label_smoothing: mass spread over all tags in the training loss, in [0, 1).
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
        monitor: str = "val/accuracy",
        mode: Literal["min", "max"] = "max",
    ) -> None:
        super().__init__(y=y, monitor=monitor, mode=mode)
        self.label_smoothing = label_smoothing

    def metric_names(self) -> list[str]:
        """Loss, accuracy, macro-F1."""
        return ["loss", "accuracy", "macro_f1"]

    def metrics(self, stage: str) -> MetricCollection:
        """Accuracy while training; all of them, and the confusion matrix, in the test."""
        return class_metrics(self.output_size, stage)

    def scalars(self, computed: dict[str, Tensor]) -> dict[str, Tensor]:
        """Accuracy, macro-F1 and `f1/<tag>`."""
        return class_scalars(computed, self.y.names or ())
