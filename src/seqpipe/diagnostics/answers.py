"""Checks of what an untrained model answers: finite, no better or worse than it should, honest."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from seqpipe.data.base import SequenceBatch
from seqpipe.diagnostics.disturbing import MORE, other_from, poisoned
from seqpipe.diagnostics.fresh import last_layer, losses_of_fresh
from seqpipe.diagnostics.subject import (
    Check,
    Place,
    Subject,
    difference,
    lengths_for,
    part_that_differs,
)
from seqpipe.diagnostics.tracing import Trace
from seqpipe.models.many_to_many import ManyToMany
from seqpipe.nn.masks import length_mask
from seqpipe.tasks.base import StepTask

TOO_MUCH, TOO_LITTLE = 1.5, 0.5
"""A first loss between these, times what is expected, is looked at no further."""

TOO_LONG = 3.0
"""Weights of a last layer are told of when they are longer than that, see `Last.length`."""


def finite(subject: Subject, loss: float, trace: Trace) -> Check:
    """The first loss is a number; else the first part that said something else, and where."""
    name = "finite loss"
    if math.isfinite(loss):
        return Check(name, "passed", f"{loss:.4g}")
    batch, told = subject.batch, f"the first loss is {loss}"
    for part, output in trace.outputs.items():
        lengths = lengths_for(output, batch) if trace.calls[part] == 1 else None
        place = _not_finite(output, lengths, len(batch))
        if place is not None:
            where = f"{part} is the first part whose answer is not finite, {place}"
            return Check(name, "failed", f"{told}: {where}{_not_finite_parameter(subject, part)}")
    return Check(name, "failed", f"{told}: every part answers finite numbers, the loss is not")


def _not_finite(output: Tensor, lengths: Tensor | None, rows: int) -> str | None:
    wrong = ~output.isfinite()
    if lengths is not None:
        real = length_mask(lengths, output.shape[1])
        wrong &= real.view(*real.shape, *[1] * (output.ndim - 2))
    if not wrong.any():
        return None
    first = wrong.nonzero()[0].tolist()
    step = "" if lengths is None else f", time step {first[1] + 1}"
    return f"example {first[0] + 1} of the batch{step}" if len(output) == rows else "its answer"


def _not_finite_parameter(subject: Subject, part: str) -> str:
    """Said where a parameter, in the part or before it, is what is not finite."""
    names = [n for n, p in subject.model.named_parameters() if not p.isfinite().all()]
    inside = [name for name in names if name.startswith(f"{part}.")] or names
    return f"; {inside[0]} holds numbers that are not finite" if inside else ""


def first_loss(subject: Subject, loss: float) -> Check:
    """The first loss against that of a model that says nothing, and of one that knows y alone.

    A narrow model says something from its first step on, so one that is far from the expectation
    is held against last layers drawn anew, too. Some that are out of scale come near it by chance:
    their weights give them away.
    """
    name = "loss at initialisation"
    expected = subject.task.untrained_loss(subject.batch)
    if expected is None:
        return Check(name, "does not apply", f"{loss:.4g}; no expectation for this task")
    value, words = expected
    told = f"{loss:.4g}, expected {words} = {value:.4g}"
    marginal = subject.task.marginal_loss(subject.batch)
    if marginal is not None:
        told += f", {marginal[1]} {marginal[0]:.4g}"
    last = last_layer(subject)
    too_long = last is not None and last.length > TOO_LONG
    near = value == 0 or TOO_LITTLE * value <= loss <= TOO_MUCH * value
    if near and not too_long:
        return Check(name, "passed", told)
    if last is not None and not too_long:
        others = losses_of_fresh(subject, last)
        low, high = min(others), max(others)
        told += f", {len(others):,} last layers drawn anew say {low:.4g} to {high:.4g}"
        if low <= loss <= high:
            return Check(name, "passed", told)
    wrong = []
    if not near:
        bound = f"over {TOO_MUCH}" if loss > value else f"under {TOO_LITTLE}"
        wrong.append(f"{bound} times the expectation")
    if last is not None and too_long:
        wrong.append(f"the last layer's weights are {last.length:.3g} times as long as torch's")
    look = (
        "look at the scale of the head's first weights and of x and y"
        if loss > value or too_long
        else "the model may read the answer, or x and y may hold it"
    )
    return Check(name, "warning", f"{told}: {'; '.join([*wrong, look])}")


def padding(subject: Subject, outputs: Tensor) -> Check:
    """Answers at real steps and the loss, with more padding that holds poison.

    What differs in float32 must differ in float64, too: longer batches round differently.
    """
    name, batch = "padding", subject.batch
    if batch.x_lengths is None and batch.y_lengths is None:
        return Check(name, "does not apply", "nothing has a time axis, nothing is padded")
    if not _repeats(subject, outputs):
        text = "the model answers the same batch differently each time"
        return Check(name, "not checked", text)
    for tried in _twice(subject):
        answers, clean = tried.traced(tried.batch)
        bad = poisoned(tried.batch, tried.spec)
        others, changed = tried.traced(bad)
        fault = _padding_fault(tried, answers, others, bad)
        if fault is None:
            return Check(name, "passed", f"{MORE} more padded steps of poison change nothing")
    assert fault is not None, "the loop ended without one"
    told = _named(part_that_differs(clean, changed, bad), fault)
    return Check(name, "failed", f"{MORE} more padded steps change the answer: {told}")


def _repeats(subject: Subject, outputs: Tensor) -> bool:
    """Whether the answer is the same whatever chance draws."""
    batch = subject.batch
    with torch.no_grad():
        torch.manual_seed(1)
        again = subject.model.eval()(batch.x, batch.x_lengths, batch.y, batch.y_lengths)
    return bool(torch.equal(outputs.nan_to_num(), again.nan_to_num()))


def _padding_fault(
    subject: Subject, answers: Tensor, others: Tensor, bad: SequenceBatch
) -> Place | str | None:
    """Where the answers to a batch and its poisoned twin differ; in words where only losses do."""
    place = difference(answers, others, lengths_for(others, bad))
    if place is not None:
        return place
    loss, other = subject.loss(answers, subject.batch), subject.loss(others, bad)
    close = math.isclose(loss, other, rel_tol=1e-4, abs_tol=1e-6)
    return None if close else f"the loss, {other:.4g} in place of {loss:.4g}"


def _named(part: tuple[str, Place] | None, fault: Place | str) -> str:
    if part is not None:
        return f"{part[0]} is the first part that differs, {part[1]}"
    if isinstance(fault, str):
        return f"no part and no answer at a real step differs, but {fault}"
    return f"no part differs but what the model makes of them does, {fault}"


def causality(subject: Subject, outputs: Tensor) -> Check:
    """Answers up to a time step, with other inputs after it, wherever they may not matter.

    Where y is what the model reads and writes, step t may read y_1..y_{t-1}. Where each step of x
    has an answer, step t of a one-directional model may read x_1..x_t.
    """
    name, batch = "causality", subject.batch
    reads_y = _reads_its_answer(subject)
    if batch.y_lengths is None:
        return Check(name, "does not apply", "one answer for all steps")
    if not reads_y:
        if not isinstance(subject.model, ManyToMany):
            return Check(name, "does not apply", f"{type(subject.model).__name__} promises none")
        if subject.model.encoder.directions > 1:
            return Check(name, "does not apply", "reads both ways")
    values = batch.y if reads_y else batch.x
    assert values is not None
    T = values.shape[1]
    starts = sorted({0, T // 2} if reads_y else {1, (T + 1) // 2})
    starts = [start for start in starts if start < T]
    if not starts:
        return Check(name, "does not apply", "all sequences have one step")
    if not _repeats(subject, outputs):
        return Check(name, "not checked", "the model answers the same batch differently each time")
    role = "y" if reads_y else "x"
    for start in starts:
        fault = _peeks(subject, role, start, last=start if reads_y else start - 1)
        if fault is not None:
            return Check(name, "failed", fault)
    what = "y_t and later ones" if reads_y else "x after step t"
    return Check(name, "passed", f"other {what} change no answer up to t")


def _reads_its_answer(subject: Subject) -> bool:
    spec, task = subject.spec, subject.task
    alone = spec.y.has_time and not (spec.x is not None and spec.x.has_time)
    return alone or (spec.y.kind == "symbols" and isinstance(task, StepTask))


def _peeks(subject: Subject, role: str, start: int, last: int) -> str | None:
    """Where answers up to time step `last` depend on x or y from `start` on (both from 0)."""
    for tried in _twice(subject):
        outputs, clean = tried.traced(tried.batch)
        other = _with_another_future(tried, role, start)
        answers, changed = tried.traced(other)
        fault = difference(outputs, answers, lengths_for(outputs, other), last)
        if fault is None:
            return None
    assert fault is not None, "the loop ended without one"
    told = _named(part_that_differs(clean, changed, other, last), fault)
    return f"the answer at time step {1 + (fault.step or 0)} depends on what comes later: {told}"


def _twice(subject: Subject) -> Iterator[Subject]:
    """Once more in float64, where that is asked for: a fault is no rounding."""
    yield subject
    yield subject.in_double()


def _with_another_future(subject: Subject, role: str, start: int) -> SequenceBatch:
    values, field = getattr(subject.batch, role), getattr(subject.spec, role)
    changed: dict[str, Any] = {role: other_from(values, start, field)}
    return replace(subject.batch, **changed)
