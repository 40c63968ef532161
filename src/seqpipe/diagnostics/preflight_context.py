"""What a pre-flight looks at, and what each of its checks came to."""

import copy
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from seqpipe.data.base import SequenceBatch, SequenceSpec
from seqpipe.diagnostics.stepwise import in_precision
from seqpipe.diagnostics.tracing import Trace, traced
from seqpipe.nn.masks import length_mask
from seqpipe.tasks.base import Task

Result = Literal["passed", "warning", "failed", "does not apply", "not checked"]
TOLERANCE = 1e-4
"""Of what counts as equal, as a share of the largest answer: float32 keeps 1e-6 of it."""


@dataclass(frozen=True)
class Check:
    """What one check came to.

    Args:
        name: what was looked at.
        result: `failed` refuses the run, a `warning` does not; `not checked` where it could not
            be, because the model is one that we do not understand.
        detail: numbers, or what is wrong and where.
    """

    name: str
    result: Result
    detail: str


class Place(NamedTuple):
    """Where two answers differ, and by how much; from 0, a step is None where there is no time."""

    example: int
    step: int | None
    amount: float

    def __str__(self) -> str:
        step = "" if self.step is None else f", time step {self.step + 1}"
        return f"example {self.example + 1} of the batch{step}, by {self.amount:.2g}"


@dataclass(frozen=True)
class Subject:
    """A model of our own to try things on, with a batch of training.

    Args:
        model: a copy, on the CPU; nothing that is done to it reaches the training.
        task: what it is for.
        spec: what its data is like.
        batch: of the training split, on the CPU.
    """

    model: nn.Module
    task: Task
    spec: SequenceSpec
    batch: SequenceBatch

    @torch.no_grad()
    def answer(self, batch: SequenceBatch) -> Tensor:
        """The outputs in evaluation; chance, where a model has some, is the same each time."""
        torch.manual_seed(0)
        outputs: Tensor = self.model.eval()(batch.x, batch.x_lengths, batch.y, batch.y_lengths)
        return outputs

    def traced(self, batch: SequenceBatch) -> tuple[Tensor, Trace]:
        """The same, and what every part answered."""
        with traced(self.model) as trace:
            return self.answer(batch), trace

    def loss(self, outputs: Tensor, batch: SequenceBatch) -> float:
        """As in evaluation."""
        return float(self.task.loss(outputs, batch, training=False))

    def in_double(self) -> "Subject":
        """The same in float64, to tell a fault from a rounding; as it is where it cannot be."""
        batch = in_precision(self.batch, torch.float64)
        wide = replace(self, model=copy.deepcopy(self.model).double(), batch=batch)
        try:
            wide.answer(batch)
        except RuntimeError:  # float32 is written somewhere inside
            return self
        return wide


def lengths_for(output: Tensor, batch: SequenceBatch) -> Tensor | None:
    """Real steps of what a part answered, (B,); None where it has no time axis.

    It is (B, T, ...) with the T of x or of y.
    """
    if output.ndim < 3 or len(output) != len(batch):
        return None
    for values, lengths in ((batch.x, batch.x_lengths), (batch.y, batch.y_lengths)):
        if values is not None and lengths is not None and output.shape[1] == values.shape[1]:
            return lengths
    return None


def difference(
    first: Tensor, other: Tensor, lengths: Tensor | None, last: int | None = None
) -> Place | None:
    """The earliest time step at which two answers differ by more than `TOLERANCE`.

    Args:
        first: (B, T, ...), or (B, ...) where `lengths` is None.
        other: the same with as many steps or more.
        lengths: (B,) real steps; no others are looked at.
        last: the last time step to look at, from 0; None: all.
    """
    if lengths is None:
        other_rows, rows = other.unsqueeze(1), first.unsqueeze(1)
        mask = torch.ones(rows.shape[:2], dtype=torch.bool)
    else:
        rows, other_rows = first, other[:, : first.shape[1]]
        mask = length_mask(lengths, rows.shape[1])
        if last is not None:
            mask = mask & (torch.arange(rows.shape[1]) <= last)
    if rows.shape != other_rows.shape or not mask.any():
        return None
    a, b = rows.flatten(2).double(), other_rows.flatten(2).double()
    apart = (a - b).abs().nan_to_num(nan=torch.inf, posinf=torch.inf)
    apart = torch.where((a == b) | (a.isnan() & b.isnan()), 0.0, apart).amax(dim=-1)
    apart = apart.masked_fill(~mask, 0.0)
    largest = float(a[mask].abs().nan_to_num(0.0, 0.0, 0.0).max())
    wrong = apart > TOLERANCE * max(largest, 1e-2)
    if not wrong.any():
        return None
    step = int(wrong.any(dim=0).nonzero()[0])
    example = int(wrong[:, step].nonzero()[0])
    return Place(example, None if lengths is None else step, float(apart[example, step]))


def part_that_differs(
    first: Trace, other: Trace, batch: SequenceBatch, last: int | None = None
) -> tuple[str, Place] | None:
    """The first part to end whose answer differs at a real step, and where.

    Args:
        first: of the batch as it is.
        other: of `batch`.
        batch: the other one; tells which answers have which time.
        last: see `difference`; parts without time are then passed over.
    """
    known = dict(other.once())
    for name, output in first.once():
        if name not in known or output.ndim != known[name].ndim:
            continue
        lengths = lengths_for(known[name], batch)
        if lengths is None and (last is not None or len(output) != len(batch)):
            continue
        place = difference(output, known[name], lengths, last)
        if place is not None:
            return name, place
    return None
