"""The state of recurrent layers as a whole: tensors in nested tuples, whose first axis is rows."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

Tree = Any
"""A tensor, None, or a tuple of trees, of which some may be named tuples."""


def map_state(change: Callable[..., Tensor], first: Tree, *others: Tree) -> Tree:
    """Apply a function to each tensor of a state, and keep how they are nested.

    Args:
        change: called with a tensor of `first` and those at the same place of the others.
        first: a state; lists in it, as a checkpoint has them, become tuples.
        others: nested like it.
    """
    if first is None:
        return None
    if isinstance(first, Tensor):
        return change(first, *others)
    parts = [map_state(change, *held) for held in zip(first, *others, strict=True)]
    return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)


def state_of_rows(state: Tree, rows: Tensor) -> Tree:
    """The state of the rows given, (N,) places in the batch; one may be given often."""
    return map_state(lambda part: part.index_select(0, rows), state)
