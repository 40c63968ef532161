"""The kernel that works for every cell."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqpipe.nn.cell import Cell, State
from seqpipe.nn.kernels.padded import PaddedKernel
from seqpipe.nn.masks import last_real_step


class StepLoop(PaddedKernel):
    """Steps the cell through time, with the input's product taken for all steps at once."""

    name, masks = "step loop", True

    def run(
        self,
        cell: Cell,
        x: Float[Tensor, "B T D"],
        lengths: Int[Tensor, " B"] | None,
        state: State,
    ) -> tuple[Float[Tensor, "B T H"], State]:
        """See `PaddedKernel`. The final state is looked up afterwards."""
        states = self.states_after(cell, x, state)
        if lengths is None:
            return torch.stack([parts[0] for parts in states], dim=1), states[-1]
        over_time = [torch.stack(part, dim=1) for part in zip(*states, strict=True)]  # (B, T, H)
        return over_time[0], tuple(last_real_step(part, lengths) for part in over_time)

    def states_after(self, cell: Cell, x: Float[Tensor, "B T D"], state: State) -> list[State]:
        """The states after each step. x: (B, T, D); state: before the first, (B, H) each."""
        step, states = cell.steps(), []
        for projected_t in cell.project(x).unbind(1):
            state = step(projected_t, state)
            states.append(state)
        return states
