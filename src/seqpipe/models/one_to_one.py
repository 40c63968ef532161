"""One y for one x: a standard network."""

from collections.abc import Callable

from torch import Tensor

from seqpipe.models.architecture import Architecture
from seqpipe.nn.head import FeedForward, Head
from seqpipe.nn.onnx_graph import FLOAT, Graph, Steps, Value


class OneToOne(Architecture):
    """A feed-forward network: T_x = T_y = 1, nothing recurs.

    Args:
        x_kind: `vector`.
        x_size: D, width of x.
        output_size: K.
        encoder: makes the hidden layers from `input_size`.
        head: makes the output layers from `input_size` and `output_size`.

    Raises:
        ConfigError: x has a time axis.
    """

    x_kinds = ("vector", "number")
    y_kinds = ("category", "ordinal", "number", "multi_label")
    answers = "whole"
    recurrent = False

    def __init__(
        self,
        *,
        x_kind: str,
        x_size: int,
        output_size: int,
        encoder: Callable[..., FeedForward],
        head: Callable[..., Head],
    ) -> None:
        super().__init__()
        self.check_x(x_kind)
        self.x_size = x_size
        self.encoder = encoder(input_size=x_size)
        self.head = head(input_size=self.encoder.output_size, output_size=output_size)

    def forward(
        self,
        x: Tensor,
        x_lengths: Tensor | None = None,
        y: Tensor | None = None,
        y_lengths: Tensor | None = None,
    ) -> Tensor:
        """x: (B, D). Returns (B, K); lengths and y are not read."""
        outputs: Tensor = self.head(self.encoder(x))
        return outputs

    def onnx(self, graph: Graph) -> tuple[Value, Steps | None]:
        """Reads `x` (B, D). Returns (B, K)."""
        x = graph.input("x", FLOAT, ("batch", self.x_size))
        return self.head.onnx(graph, self.encoder.onnx(graph, x)), None
