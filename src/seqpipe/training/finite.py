"""What is not finite in the tensors of a batch: which kind, at which step, of which example."""

from typing import Any

import torch
from torch import Tensor

from seqpipe.data.base import SequenceBatch


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


def first_step(bad: Tensor, values: Tensor, batch: SequenceBatch, calls: int = 0) -> int | None:
    """From 1; None where there is no time.

    Args:
        bad: where `values` are not finite.
        values: (B, T, ...), or one step's (B, ...) where the module is called for each step.
        batch: what they belong to.
        calls: how often the module was called before.
    """
    if values.ndim < 3:
        return calls + 1 if calls else None
    if len(values) != len(batch):
        return None
    lengths = [v.shape[1] for v in (batch.x, batch.y) if v is not None and v.ndim > 1]
    if values.shape[1] == 1:
        return calls + 1
    if values.shape[1] not in lengths:
        return None
    return 1 + int(bad.flatten(2).any(dim=2).any(dim=0).int().argmax())


def where(values: Tensor, batch: SequenceBatch, calls: int) -> tuple[str, int | None, Tensor]:
    """What kind of number, the first time step, and (B,) True for each example that has some."""
    bad = bad_in(values, batch)
    step, rows = first_step(bad, values, batch, calls), rows_of(bad)
    if len(rows) != len(batch):
        rows = torch.ones(len(batch), dtype=torch.bool)
    return word_for(values[bad]), step, rows.to(batch.index.device)


def word_for(values: Tensor) -> str:
    """`nan` where there is one, else `inf`."""
    return "nan" if bool(values.isnan().any()) else "inf"


def at(step: int | None) -> str:
    """The end of a sentence, where there is time."""
    return "" if step is None else f" at time step {step}"
