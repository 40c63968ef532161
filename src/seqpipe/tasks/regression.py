"""Numbers for a whole sequence, or for each of its steps."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection

from seqpipe.baselines.base import Baseline
from seqpipe.baselines.linear import LinearNumbers
from seqpipe.baselines.numbers import Last, Mean, Present, Seasonal
from seqpipe.bounds import Monitor, checked
from seqpipe.data.base import FieldSpec, SequenceBatch
from seqpipe.data.dataset import SequenceData
from seqpipe.nn.onnx_graph import DOUBLE, FLOAT, Graph, Steps, Value
from seqpipe.nn.precision import exact, precise, widest
from seqpipe.tasks.averages import AverageOfNumbers
from seqpipe.tasks.base import Pairs, Task
from seqpipe.tasks.metric_sums import sums_by_example
from seqpipe.tasks.metrics import MeanError
from seqpipe.tasks.real_steps import mean_over_real, real_steps

_LOSSES = {"squared": nn.functional.mse_loss, "absolute": nn.functional.l1_loss}


class Regression(AverageOfNumbers, Task):
    """Numbers, measured by the mean squared and the mean absolute error.

    The loss is that of the numbers the model learns, standardised ones where the field
    standardizes; MSE and MAE are in the units of the data.

    Args:
        y: kind `number`, or `values`: numbers for each step, of which real ones count.
        loss: of an error. `squared` learns the mean of what may follow; `absolute` its median,
            which the mean absolute error rewards and a few large errors hardly move.
        monitor: see `Task`.
        mode: see `Task`.
    """

    name = "regression"
    y_kinds = ("number", "values")
    answers = ("whole", "each_step")
    remedies = (
        *("architecture.pooling=flatten", "dropout=0"),
        "data.source.relative_to_last=true",
    )

    @checked("task.")
    def __init__(
        self,
        *,
        y: FieldSpec,
        loss: Literal["squared", "absolute"] = "squared",
        monitor: Monitor = "val/mse",
        mode: Literal["min", "max"] = "min",
    ) -> None:
        super().__init__(y=y, monitor=monitor, mode=mode)
        self.squared, self._error = loss == "squared", _LOSSES[loss]

    def metric_names(self) -> list[str]:
        """Loss, MSE, MAE."""
        return ["loss", "mse", "mae"]

    def loss(self, outputs: Tensor, batch: SequenceBatch, *, training: bool) -> Tensor:
        """Outputs and y: (B, K), or (B, T, K)."""
        if batch.y_lengths is None:
            return self._error(precise(outputs), precise(batch.y))
        mask = Task.mask(batch)
        answers, y = map(precise, real_steps(mask, outputs, batch.y))
        errors = self._error(answers, y, reduction="none").mean(dim=-1)
        return mean_over_real(errors, mask)

    def losses(self, outputs: Tensor, batch: SequenceBatch) -> tuple[Tensor, Tensor]:
        """See `Task`. Outputs and y: (B, K), or (B, T, K)."""
        answers, y = _real(outputs, batch)
        errors = self._error(answers, y, reduction="none").mean(dim=-1)
        return sums_by_example(errors, batch), self.unit_counts(batch)

    def untrained_loss(self, batch: SequenceBatch) -> tuple[float, str]:
        """The loss of outputs 0: the mean of y squared, or of its magnitude."""
        y = _wide(batch)
        text = "mean of y^2" if self.squared else "mean of |y|"
        return float(self._error(torch.zeros_like(y), y)), text

    def marginal_loss(self, batch: SequenceBatch) -> tuple[float, str]:
        """The loss of the best constant of this batch, its mean or its median."""
        y = _wide(batch)
        if self.squared:
            return float(y.var(dim=0, correction=0).mean()), "variance of y"
        return float((y - y.median(dim=0).values).abs().mean()), "mean distance to the median of y"

    def predict(self, model: Any, outputs: Tensor, batch: SequenceBatch) -> Tensor:
        """The outputs are the answer, (B, K) or (B, T, K)."""
        return outputs

    def pairs(self, predictions: Tensor, batch: SequenceBatch) -> Pairs:
        """Two (N, K) in the units of the data, float64, over N examples or real steps.

        In float32 a large mean would leave no digits of the differences.
        """
        predicted, truth = map(exact, _real(predictions, batch))
        return self.y.in_units(predicted), self.y.in_units(truth)

    def baselines(self, data: SequenceData) -> Sequence[Baseline]:
        """The mean; of a series also its last value and that of a season ago; ridge regression."""
        x, baselines = data.spec.x, list[Baseline]([Mean(self)])
        is_series = x is not None and x.kind == "values"
        if self.y.has_time:
            return [*baselines, Present(self)] if is_series else baselines
        if is_series:
            baselines += [Last(self), Seasonal(self)]
        return [*baselines, LinearNumbers(self)]

    def metrics(self, stage: str) -> MetricCollection:
        """MSE and MAE."""
        return MetricCollection({"mse": MeanError(2), "mae": MeanError(1)})

    def decoded(self, predictions: Tensor, batch: SequenceBatch) -> list[tuple[Any, Any]]:
        """The numbers of each example as the field encodes them, without padding."""
        return super().decoded(predictions.float(), batch)

    def onnx(self, graph: Graph, outputs: Value, steps: Steps | None) -> None:
        """`prediction` in the data's units, in float64 where they were standardised."""
        kind = FLOAT
        outputs = self.onnx_batch_first(graph, outputs, steps)
        if self.y.mean is not None and self.y.scale is not None:
            kind = DOUBLE
            outputs = graph.op("Cast", outputs, to=DOUBLE)
            outputs = graph.op("Mul", outputs, graph.constant(self.y.scale, np.float64))
            outputs = graph.op("Add", outputs, graph.constant(self.y.mean, np.float64))
        graph.output("prediction", outputs, kind, self.onnx_axes(steps))

    def onnx_answers(self, model: Any, outputs: Tensor, batch: SequenceBatch) -> dict[str, Tensor]:
        """See `Task`."""
        return {"prediction": self.y.in_units(outputs.double())}


def _wide(batch: SequenceBatch) -> Tensor:
    """The numbers of y, (N, K), in float64 where the device has it."""
    return _real(batch.y, batch)[1].to(widest(batch.y.device))


def _real(outputs: Tensor, batch: SequenceBatch) -> tuple[Tensor, Tensor]:
    """Two (N, K), float32 at least: without padding where there are steps."""
    if batch.y_lengths is None:
        return precise(outputs), precise(batch.y)
    mask = Task.mask(batch)
    return precise(outputs[mask]), precise(batch.y[mask])
