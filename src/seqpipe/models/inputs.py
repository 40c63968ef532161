"""From what a batch holds to what a recurrent stack reads: (B, T, D) floats."""

from torch import Tensor, nn

from seqpipe.errors import ConfigError, ShapeError

WIDEST_DEFAULT = 128  # of an embedding whose width nobody chose


class InputLayer(nn.Module):
    """Symbols become vectors, values pass as they are.

    An embedding is the lecture's one-hot x<t> times a matrix, without building the one-hot.

    Args:
        kind: `symbols`, ids (B, T), or `values`, floats (B, T, D).
        size: V for symbols, D for values.
        embedding_size: width of a symbol's vector; None: the smaller of V and 128.
            Values are not embedded, so for them it must be None.

    Attributes:
        output_size: width of what comes out.

    Raises:
        ConfigError: `embedding_size` is given for values.
    """

    def __init__(self, kind: str, size: int, *, embedding_size: int | None = None) -> None:
        super().__init__()
        self.kind, self.size = kind, size
        self.embedding: nn.Embedding | None = None
        if kind == "symbols":
            width = min(size, WIDEST_DEFAULT) if embedding_size is None else embedding_size
            self.embedding = nn.Embedding(size, width)
            self.output_size = width
        elif kind == "values":
            if embedding_size is not None:
                raise ConfigError(
                    f"architecture.embedding_size={embedding_size}: x is a series of {size} numbers"
                    " a step, which is not embedded; architecture.embedding_size=null"
                )
            self.output_size = size
        else:
            raise ConfigError(
                f"data.x: a {kind} is no sequence to read step by step; symbols or values"
            )

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T) ids or (B, T, D) floats. Returns (B, T, output_size)."""
        if self.embedding is not None:
            vectors: Tensor = self.embedding(x)
            return vectors
        if x.ndim != 3 or x.shape[-1] != self.size:
            raise ShapeError(f"x has shape {tuple(x.shape)}; expected (B, T_x, {self.size}).")
        return x
