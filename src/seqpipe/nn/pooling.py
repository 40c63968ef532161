"""The outputs of all steps of a sequence, summed up in one vector.

Shapes: B sequences, T steps, D numbers a step. Padding has no influence.
"""

from abc import ABC, abstractmethod

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from seqpipe.errors import ShapeError
from seqpipe.nn.onnx_graph import FLOAT, Graph, Steps, Value


class Pooling(nn.Module, ABC):
    """Turns the outputs of all steps into one vector.

    Args:
        output_size: numbers of a summary.
    """

    def __init__(self, output_size: int) -> None:
        super().__init__()
        self.output_size = output_size

    @abstractmethod
    def forward(
        self, outputs: Float[Tensor, "B T D"], real: Bool[Tensor, "B T 1"]
    ) -> Float[Tensor, "B S"]:
        """outputs: (B, T, D); real: (B, T, 1), True at real steps. Returns (B, output_size)."""

    @abstractmethod
    def onnx(self, graph: Graph, outputs: Value, steps: Steps) -> Value:
        """Writes `forward` into a graph. outputs: (T, B, D). Returns (B, output_size)."""


class MaxPooling(Pooling):
    """The greatest value of each number over the real steps, D numbers."""

    def forward(
        self, outputs: Float[Tensor, "B T D"], real: Bool[Tensor, "B T 1"]
    ) -> Float[Tensor, "B D"]:
        """See `Pooling`."""
        return outputs.masked_fill(~real, -torch.inf).amax(dim=1)

    def onnx(self, graph: Graph, outputs: Value, steps: Steps) -> Value:
        """See `Pooling`."""
        real = graph.op("Where", steps.real, outputs, graph.constant(-np.inf))
        return graph.op("ReduceMax", real, graph.integers(0), keepdims=0)


class MeanPooling(Pooling):
    """The mean of each number over the real steps, D numbers."""

    def forward(
        self, outputs: Float[Tensor, "B T D"], real: Bool[Tensor, "B T 1"]
    ) -> Float[Tensor, "B D"]:
        """See `Pooling`."""
        return outputs.masked_fill(~real, 0.0).sum(dim=1) / real.sum(dim=1)

    def onnx(self, graph: Graph, outputs: Value, steps: Steps) -> Value:
        """See `Pooling`."""
        real = graph.op("Where", steps.real, outputs, graph.constant(0.0))
        count = graph.unsqueezed(graph.op("Cast", steps.lengths, to=FLOAT), 1)
        return graph.op("Div", graph.op("ReduceSum", real, graph.integers(0), keepdims=0), count)


class Flatten(Pooling):
    """The outputs of all steps side by side, N * D numbers: each step has some of its own.

    Those of steps after the end of a shorter sequence are 0.

    Args:
        size: D.
        steps: most steps of a sequence, N.
    """

    def __init__(self, size: int, steps: int) -> None:
        super().__init__(steps * size)
        self.steps = steps

    def forward(
        self, outputs: Float[Tensor, "B T D"], real: Bool[Tensor, "B T 1"]
    ) -> Float[Tensor, "B S"]:
        """See `Pooling`.

        Raises:
            ShapeError: a sequence has more than N real steps.
        """
        T = outputs.shape[1]
        if T > self.steps and bool(real[:, self.steps :].any()):
            raise ShapeError(
                f"x has {int(real.sum(dim=1).max())} steps; architecture.pooling=flatten reads at"
                f" most {self.steps} (data.max_length)."
            )
        rows = outputs.masked_fill(~real, 0.0)[:, : self.steps]
        return nn.functional.pad(rows, (0, 0, 0, self.steps - rows.shape[1])).flatten(1)

    def onnx(self, graph: Graph, outputs: Value, steps: Steps) -> Value:
        """See `Pooling`; the graph fails for more than N real steps, in a `Gather`."""
        real = graph.op("Where", steps.real, outputs, graph.constant(0.0))
        zero, most = graph.integers(0), graph.integers(self.steps)
        whole = graph.op("Transpose", real, perm=[1, 0, 2])
        rows = graph.op("Slice", whole, zero, most, graph.integers(1))
        missing = graph.op("Sub", most, graph.size(rows, 1))
        padding = graph.side_by_side([*[zero] * 4, missing, zero], axis=0)
        shape = graph.integers(-1, self.output_size)
        flat = graph.op("Reshape", graph.op("Pad", rows, padding), shape)
        # 0 for each sequence; reading behind the end of the list is the failure that is wanted
        none = graph.op("Gather", graph.constant(np.zeros(self.steps + 1)), steps.lengths)
        return graph.op("Add", flat, graph.unsqueezed(none, 1))


def pooling_of(name: str, size: int, steps: int | None) -> Pooling:
    """The pooling of a name.

    Args:
        name: `max`, `mean` or `flatten`.
        size: D.
        steps: of `flatten`, N.
    """
    if name == "flatten":
        assert steps is not None
        return Flatten(size, steps)
    return {"max": MaxPooling, "mean": MeanPooling}[name](size)
