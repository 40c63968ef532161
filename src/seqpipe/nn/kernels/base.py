"""What every kernel is."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from seqpipe.nn.cells import Cell, State


@runtime_checkable
class Kernel(Protocol):
    """Runs one cell over whole sequences, with the answer of stepping the cell.

    Attributes:
        name: what to call it in a report.
    """

    name: str

    def __call__(
        self,
        cell: Cell,
        x: Float[Tensor, "B T D"],
        lengths: Int[Tensor, " B"] | None,
        state: State,
    ) -> tuple[Float[Tensor, "B T H"], State]:
        """Reads x from its first step on.

        Args:
            cell: the weights.
            x: (B, T, D), zeros at padding.
            lengths: (B,) real steps; None: all T.
            state: before the first step, (B, H) for each part.

        Returns:
            h_1..h_T (B, T, H), anything at padding; the state after each sequence's last real
            step, in the precision of `state`.
        """
        ...
