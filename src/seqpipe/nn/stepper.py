"""Single steps of a recurrent stack, prepared once for a whole sequence of them: for decoding.

Shapes: B sequences, D = input_size, H = hidden_size, G gates, V symbols.
"""

import copy
from typing import cast

import torch
from torch import Tensor, nn

from seqpipe.nn.cell import Cell
from seqpipe.nn.dropout import Dropout
from seqpipe.nn.packed import MANY_STEPS, transposed
from seqpipe.nn.recurrent import RecurrentStack, StackState, recurrent_layers

FEW_ROWS = 8
"""A product of this many rows takes about as long as that of one: it waits for the weights."""


class Stepper:
    """Steps a stack as `RecurrentStack.step` does, without gradient and with less work a step.

    Checks and the layout of the weights are done once. Where there are few symbols, so is the
    product of each symbol's vector with the weights on x: a step then only looks it up.

    The weights are read when it is made: make one for each sequence, and forget it afterwards.

    Args:
        stack: of one direction.
        vectors: (V, D) of each symbol, where inputs are symbols; None: inputs are vectors.
        rows: B.
        steps: to be taken at most.
    """

    def __init__(
        self, stack: RecurrentStack, vectors: Tensor | None, *, rows: int, steps: int
    ) -> None:
        assert stack.directions == 1, "a backward direction has no single step"
        cells = [layer.cell.drawn(rows) for layer in recurrent_layers(stack).values()]
        repays = rows == 1 and steps >= MANY_STEPS
        twins = [_for_one_row(cell) for cell in cells] if repays else cells
        self._levels = [(cell, cell.steps()) for cell in twins]
        drops = [cast(Dropout, drop).over_steps() for drop in stack.drops]
        self._drops = drops if stack.training else None
        self._vectors, self._projected = vectors, None
        repeats = vectors is not None and len(vectors) <= min(rows, FEW_ROWS) * steps
        if vectors is not None and repeats and not stack.training:
            self._projected = cells[0].project(vectors)  # (V, G*H)

    def __call__(self, x_t: Tensor, state: StackState) -> tuple[Tensor, StackState]:
        """One time step of every layer.

        Args:
            x_t: (B,) ids where there are `vectors`, else (B, D).
            state: of every layer, (B, H) for each part.

        Returns:
            output of the top layer (B, H); the next state.
        """
        if self._projected is not None:
            projected = self._projected.index_select(0, x_t)
        else:
            read = x_t if self._vectors is None else self._vectors.index_select(0, x_t)
            projected = self._levels[0][0].project(self._drop(0, read))
        output, after = x_t, []
        for level, (cell, step) in enumerate(self._levels):
            if level > 0:
                projected = cell.project(output)
            next_state = step(projected, state[level][0])
            output = self._drop(level + 1, next_state[0])
            after.append((next_state,))
        return output, tuple(after)

    def _drop(self, place: int, values: Tensor) -> Tensor:
        return values if self._drops is None else self._drops[place](values)


def _for_one_row(cell: Cell) -> Cell:
    """The cell with its two matrices transposed in memory; their values and shapes are the same.

    Autocast keeps its copies of true parameters only, and would convert these at each step.
    """
    if cell.weight_hidden.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return cell
    twin = copy.copy(cell)
    twin._parameters = dict(cell._parameters)
    for name in ("weight_input", "weight_hidden"):
        weight = transposed(getattr(cell, name))
        twin._parameters[name] = nn.Parameter(weight, requires_grad=False)
    return twin
