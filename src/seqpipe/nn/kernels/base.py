"""The interface of a kernel, and the one that works for every cell."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqpipe.nn.cells import Cell, State
from seqpipe.nn.masks import last_real_step


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


class StepLoop:
    """Steps the cell through time, with the input's product taken for all steps at once."""

    name = "step loop"

    def __call__(
        self,
        cell: Cell,
        x: Float[Tensor, "B T D"],
        lengths: Int[Tensor, " B"] | None,
        state: State,
    ) -> tuple[Float[Tensor, "B T H"], State]:
        """See `Kernel`. Padding is stepped through; the final state is looked up afterwards."""
        states = self.run(cell, x, state)
        if lengths is None:
            return torch.stack([parts[0] for parts in states], dim=1), states[-1]
        over_time = [torch.stack(part, dim=1) for part in zip(*states, strict=True)]  # (B, T, H)
        return over_time[0], tuple(last_real_step(part, lengths) for part in over_time)

    def run(self, cell: Cell, x: Float[Tensor, "B T D"], state: State) -> list[State]:
        """The states after each step. x: (B, T, D); state: before the first, (B, H) each."""
        step, states = cell.prepare(), []
        for projected_t in cell.project(x).unbind(1):
            state = step(projected_t, state)
            states.append(state)
        return states
