"""What is not finite in the tensors of a batch: which kind, at which step, of which example."""

from typing import Any, Literal

import torch
from torch import Tensor

from seqpipe.data.base import SequenceBatch

Order = Literal["forwards", "backwards", "turned"]
"""From the first step; from the last; from the last, which stands first in the tensor."""


def tensors_in(tree: Any) -> list[Tensor]:
    """The floating tensors in a tree of containers."""
    if isinstance(tree, Tensor):
        return [tree] if tree.is_floating_point() else []
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, (list, tuple)):
        return [tensor for part in tree for tensor in tensors_in(part)]
    return []


def bad_in(values: Tensor, batch: SequenceBatch, role: str | None = None) -> Tensor:
    """True where a number is not finite; padding may hold anything.

    Args:
        values: (B, ...), or (B, T, ...) where T is that of x or y.
        batch: what it belongs to.
        role: `x` or `y`, whose steps it has; None: those it fits.
    """
    bad = ~values.isfinite()
    if values.ndim < 3 or len(values) != len(batch):
        return bad
    real = torch.zeros(bad.shape[:2], dtype=torch.bool, device=bad.device)
    timed = False
    for name in ("x", "y") if role is None else (role,):
        padded, lengths = getattr(batch, name), getattr(batch, f"{name}_lengths")
        if lengths is not None and padded is not None and padded.shape[1] == values.shape[1]:
            steps = torch.arange(values.shape[1], device=bad.device)
            real |= steps < lengths.to(bad.device).unsqueeze(1)
            timed = True
    return bad & real.view(*real.shape, *[1] * (bad.ndim - 2)) if timed else bad


def is_bad(values: Tensor, batch: SequenceBatch) -> bool:
    """Whether a number is not finite that is no padding."""
    return bool(bad_in(values, batch).any())


def rows_of(bad: Tensor) -> Tensor:
    """(B,), True where a row of (B, ...) has any."""
    return bad.flatten(1).any(dim=1) if bad.ndim > 1 else bad


def first_step(
    bad: Tensor, values: Tensor, batch: SequenceBatch, calls: int = 0, order: Order = "forwards"
) -> int | None:
    """The time step that was computed first, from 1; None where there is no time.

    Args:
        bad: where `values` are not finite.
        values: (B, T, ...), or one step's (B, ...) where the module is called for each step.
        batch: what they belong to.
        calls: how often the module was called before.
        order: in which the steps were computed, and stand in `values`.
    """
    if values.ndim >= 3 and len(values) != len(batch):
        return None
    if values.ndim < 3 or values.shape[1] == 1:
        if order == "forwards" or len(values) != len(batch):
            return calls + 1
        ends = _lengths(batch, None).to(bad.device)[rows_of(bad)]
        return max(1, int(ends.max()) - calls)
    lengths = [v.shape[1] for v in (batch.x, batch.y) if v is not None and v.ndim > 1]
    if values.shape[1] not in lengths:
        return None
    steps = torch.arange(values.shape[1], device=bad.device)
    wrong = bad.flatten(2).any(dim=2)
    ends = _lengths(batch, values.shape[1]).to(bad.device).unsqueeze(1)
    place = steps if order != "backwards" else ends - 1 - steps  # in the order of computing
    place = torch.where(wrong, place, values.shape[1])
    row = int(place.min(dim=1).values.argmin())
    first = int(place[row].min())
    return 1 + first if order == "forwards" else int(ends[row]) - first


def _lengths(batch: SequenceBatch, steps: int | None) -> Tensor:
    """(B,), of the x or y that has so many steps; None: of x."""
    for padded, lengths in ((batch.x, batch.x_lengths), (batch.y, batch.y_lengths)):
        if padded is not None and padded.ndim > 1 and steps in (None, padded.shape[1]):
            return torch.full((len(padded),), padded.shape[1]) if lengths is None else lengths
    return torch.ones(len(batch), dtype=torch.long)


def where(
    values: Tensor, batch: SequenceBatch, calls: int, order: Order = "forwards"
) -> tuple[str, int | None, Tensor]:
    """What kind of number, the first time step, and (B,) True for each example that has some."""
    bad = bad_in(values, batch)
    step, rows = first_step(bad, values, batch, calls, order), rows_of(bad)
    if len(rows) != len(batch):
        rows = torch.ones(len(batch), dtype=torch.bool)
    return word_for(values[bad]), step, rows.to(batch.index.device)


def word_for(values: Tensor) -> str:
    """`nan` where there is one, else `inf`."""
    return "nan" if bool(values.isnan().any()) else "inf"


def at(step: int | None) -> str:
    """The end of a sentence, where there is time."""
    return "" if step is None else f" at time step {step}"
