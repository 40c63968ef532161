"""Numbers for a whole sequence."""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torchmetrics import MeanAbsoluteError, MeanSquaredError, MetricCollection

from seqpipe.data.base import FieldSpec, SequenceBatch
from seqpipe.tasks.base import Pairs, Task


class Regression(Task):
    """Mean squared error, and mean absolute error beside it, in the units of y.

    Args:
        y: kind `number`.
        monitor: see `Task`.
        mode: see `Task`.
    """

    name = "regression"
    y_kind = "number"

    def __init__(
        self,
        *,
        y: FieldSpec,
        monitor: str = "val/mse",
        mode: Literal["min", "max"] = "min",
    ) -> None:
        super().__init__(y=y, monitor=monitor, mode=mode)

    def metric_names(self) -> list[str]:
        """Loss (the MSE), MSE, MAE."""
        return ["loss", "mse", "mae"]

    def units(self, batch: SequenceBatch) -> Tensor:
        """Examples of the batch."""
        return torch.tensor(len(batch), device=batch.y.device)

    def loss(self, outputs: Tensor, batch: SequenceBatch, *, training: bool) -> Tensor:
        """outputs: (B, K), y: (B, K)."""
        return nn.functional.mse_loss(outputs.float(), batch.y.float())

    def predict(self, model: Any, outputs: Tensor, batch: SequenceBatch) -> Tensor:
        """The outputs are the answer, (B, K)."""
        return outputs

    def pairs(self, predictions: Tensor, batch: SequenceBatch) -> Pairs:
        """Two (B, K) tensors."""
        return predictions.float(), batch.y.float()

    def metrics(self, stage: str) -> MetricCollection:
        """MSE and MAE."""
        return MetricCollection({"mse": MeanSquaredError(), "mae": MeanAbsoluteError()})

    def decoded(self, predictions: Tensor, batch: SequenceBatch) -> list[tuple[Any, Any]]:
        """The K numbers of each example."""
        return list(zip(predictions.float().cpu(), batch.y.cpu(), strict=True))
