"""Subject and results of the pre-flight checks, and the comparison of two outputs."""

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
"""Difference that counts as equal, as a share of the largest answer: float32 keeps 1e-6 of it."""


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Args:
        name: of the check.
        result: `failed` refuses the run, a `warning` does not; `not checked` where the check
            could not run on this model.
        detail: numbers, or what is wrong and where.
    """

    name: str
    result: Result
    detail: str


class Place(NamedTuple):
    """The place of a difference, counted from 0, and its size; step is None without a time axis."""

    example: int
    step: int | None
    amount: float

    def __str__(self) -> str:
        step = "" if self.step is None else f", time step {self.step + 1}"
        return f"example {self.example + 1} of the batch{step}, by {self.amount:.2g}"


@dataclass(frozen=True)
class Subject:
    """A copy of a model for experiments, with a batch of training examples.

    Args:
        model: a copy, on the CPU; changes to it do not reach the training.
        task: computes the loss.
        spec: of the data.
        batch: of the training split, on the CPU.
    """

    model: nn.Module
    task: Task
    spec: SequenceSpec
    batch: SequenceBatch

    @torch.no_grad()
    def answer(self, batch: SequenceBatch, *, seed: int = 0) -> Tensor:
        """The outputs in evaluation mode, with the same random state for the same seed."""
        torch.manual_seed(seed)
        outputs: Tensor = self.model.eval()(batch.x, batch.x_lengths, batch.y, batch.y_lengths)
        return outputs

    def traced(self, batch: SequenceBatch) -> tuple[Tensor, Trace]:
        """The outputs of the model and of every part."""
        with traced(self.model) as trace:
            return self.answer(batch), trace

    def loss(self, outputs: Tensor, batch: SequenceBatch) -> float:
        """The loss as in evaluation."""
        return float(self.task.loss(outputs, batch, training=False))

    def in_double(self) -> "Subject":
        """The same in float64, to distinguish a fault from rounding; unchanged if that fails."""
        batch = in_precision(self.batch, torch.float64)
        wide = replace(self, model=copy.deepcopy(self.model).double(), batch=batch)
        try:
            wide.answer(batch)
        except RuntimeError:  # float32 is written somewhere inside
            return self
        return wide


def lengths_for(output: Tensor, batch: SequenceBatch) -> Tensor | None:
    """Real steps of a part's output, (B,); None where it has no time axis.

    output: (B, T, ...), with the T of x or of y.
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
        lengths: (B,) real steps; others are ignored.
        last: the last time step to compare, from 0; None: all.
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
    apart, sizes = _distances(rows.flatten(2), other_rows.flatten(2))
    apart = apart.masked_fill(~mask, 0.0)
    largest = float(sizes[mask].max())
    wrong = apart > TOLERANCE * max(largest, 1e-2)
    if not wrong.any():
        return None
    step = int(wrong.any(dim=0).nonzero()[0])
    example = int(wrong[:, step].nonzero()[0])
    return Place(example, None if lengths is None else step, float(apart[example, step]))


def _distances(rows: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """The largest difference at each step, and the largest number of `rows`: (B, T) float64 each.

    Of one example after the other: answers over a large vocabulary are large in float64.
    """
    apart, sizes = torch.empty(2, *rows.shape[:2], dtype=torch.float64)
    for number, (row, other) in enumerate(zip(rows, others, strict=True)):
        a, b = row.double(), other.double()
        differ = (a - b).abs_().nan_to_num_(nan=torch.inf, posinf=torch.inf)
        differ.masked_fill_((a == b) | (a.isnan() & b.isnan()), 0.0)
        apart[number] = differ.amax(dim=-1)
        sizes[number] = a.abs().nan_to_num_(0.0, 0.0, 0.0).amax(dim=-1)
    return apart, sizes


def part_that_differs(
    first: Trace, other: Trace, batch: SequenceBatch, last: int | None = None
) -> tuple[str, Place] | None:
    """The first part to finish whose output differs at a real step, and where.

    Args:
        first: of the original batch.
        other: of `batch`.
        batch: the changed one; decides which outputs have which time axis.
        last: see `difference`; parts without a time axis are then skipped.
    """
    known = dict(other.called_once())
    for name, output in first.called_once():
        if name not in known or output.ndim != known[name].ndim:
            continue
        lengths = lengths_for(known[name], batch)
        if lengths is None and (last is not None or len(output) != len(batch)):
            continue
        place = difference(output, known[name], lengths, last)
        if place is not None:
            return name, place
    return None
