"""Checks of the outputs of an untrained model: finite, near chance, independent of padding."""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seqpipe.data.base import FieldSpec, SequenceBatch, SequenceSpec
from seqpipe.data.vocabulary import EOS
from seqpipe.diagnostics.preflight_context import (
    Check,
    Place,
    Subject,
    difference,
    lengths_for,
    part_that_differs,
)
from seqpipe.models.many_to_many import ManyToMany
from seqpipe.nn.crf import CRFHead
from seqpipe.nn.masks import length_mask
from seqpipe.tasks.base import StepTask
from seqpipe.training.nonfinite_trace import Kept, find

MORE = 3  # padded steps added
POISON = 1e6  # in place of the zeros of floats


def poisoned(batch: SequenceBatch, spec: SequenceSpec) -> SequenceBatch:
    """The same examples in a longer batch, whose padding is as bad as can be.

    Padding of floats becomes `POISON`, of ids the last id there is. T_x and T_y grow by `MORE`;
    where they were different sequences and would be equally long, T_y by one more: then what is
    T_x long is known to have the time of x.
    """
    x, y = batch.x, batch.y
    if x is not None and spec.x is not None and batch.x_lengths is not None:
        x = _longer(x, batch.x_lengths, spec.x, MORE)
    if batch.y_lengths is not None:
        apart = batch.x_lengths is not None and not torch.equal(batch.x_lengths, batch.y_lengths)
        clash = apart and x is not None and x.shape[1] == y.shape[1] + MORE
        y = _longer(y, batch.y_lengths, spec.y, MORE + clash)
    return replace(batch, x=x, y=y)


def _longer(values: Tensor, lengths: Tensor, field: FieldSpec, more: int) -> Tensor:
    B, T = values.shape[:2]
    values = torch.cat([values, values.new_zeros(B, more, *values.shape[2:])], dim=1)
    real = length_mask(lengths, T + more).view(B, T + more, *[1] * (values.ndim - 2))
    return torch.where(real, values, _bad(values, field))


def _bad(values: Tensor, field: FieldSpec) -> Tensor:
    """What stands in the padding; of the shape of values."""
    if values.is_floating_point():
        return torch.full_like(values, POISON)
    bad = torch.full_like(values, field.size - 1)
    if field.is_spelled and field.characters is not None:
        bad[..., 1:] = field.characters - 1
    return bad


def other_from(values: Tensor, step: int, field: FieldSpec) -> Tensor:
    """The same up to `step`, from there on something else: (B, T, ...).

    Notes of a roll are turned over, other floats moved by 1 to 2, ids turned into the next one
    that is ordinary.
    """
    late = values[:, step:]
    if field.is_roll:
        late = 1 - late
    elif values.is_floating_point():
        late = late + 1 + torch.rand(late.shape).to(late)
    else:
        late = _next_id(late, field)
    return torch.cat([values[:, :step], late], dim=1)


def _next_id(ids: Tensor, field: FieldSpec) -> Tensor:
    lowest = EOS + 1 if field.is_text and field.size > EOS + 2 else 0
    words = ids[..., :1] if field.is_spelled else ids
    words = lowest + (words - lowest + 1).remainder(field.size - lowest)
    return torch.cat([words, ids[..., 1:]], dim=-1) if field.is_spelled else words


DRAWN, FEWEST, WORK = 1000, 10, 2e10
"""Layers drawn; of large ones fewer, as many as stay under that many multiplications."""
DRAWN_BELOW_A_CRF = 100
"""Likewise: each goes through its time steps one by one."""


class Last(NamedTuple):
    """The linear layer whose word is the model's answer.

    Args:
        layer: of the model.
        read: (..., D), what it read.
        potentials: from what a layer says to what a CRF answers; None where there is none.
    """

    layer: nn.Linear
    read: Tensor
    potentials: Callable[[Tensor], Tensor] | None = None

    @property
    def length(self) -> float:
        """Of its weights, as a share of what torch draws.

        K rows of D weights, each uniform in -1/sqrt(D)..1/sqrt(D), have a squared length of K/3 on
        average and of K at most: a fresh layer never has more than sqrt(3) = 1.73 here.
        """
        return float(self.layer.weight.detach().norm()) / math.sqrt(self.layer.out_features / 3)


def last_layer(subject: Subject) -> Last | None:
    """None where what the model answers is not what one linear layer says, or a CRF of it."""
    said: list[tuple[Last, Tensor]] = []

    def keep(layer: Any, args: tuple[Any, ...], output: Tensor) -> None:
        said.append((Last(layer, args[0]), output))

    def keep_crf(head: Any, args: tuple[Any, ...], output: Tensor) -> None:
        last = said[-1][0]
        assert last.layer is head.output, "the last to speak below a CRF"
        potentials = partial(head.potentials, lengths=args[1])
        said.append((last._replace(potentials=potentials), output))

    parts = list(subject.model.modules())
    hooks = [part.register_forward_hook(keep) for part in parts if type(part) is nn.Linear]
    hooks += [part.register_forward_hook(keep_crf) for part in parts if isinstance(part, CRFHead)]
    try:
        answer = subject.answer(subject.batch)
    finally:
        for hook in hooks:
            hook.remove()
    return next((last for last, output in reversed(said) if output is answer), None)


@torch.no_grad()
def losses_of_fresh(subject: Subject, last: Last) -> list[float]:
    """First losses of the same model below other last layers, drawn as torch draws them.

    Where the model's own was drawn so, each of the n + 1 losses is as likely as any other to be
    the largest or the smallest. So a healthy model lies outside the n others in two of n + 1
    cases, whatever its cell, its width and its task: 0.2 % for 1,000.
    """
    cost = last.read.numel() * last.layer.out_features
    most = DRAWN if last.potentials is None else DRAWN_BELOW_A_CRF
    count = int(min(most, max(FEWEST, WORK // cost)))
    other, losses = copy.deepcopy(last.layer), []
    torch.manual_seed(0)
    for _ in range(count):
        other.reset_parameters()
        said = other(last.read)
        answer = said if last.potentials is None else last.potentials(said)
        losses.append(subject.loss(answer, subject.batch))
    return losses


TOO_MUCH, TOO_LITTLE = 1.5, 0.5
"""A first loss between these, times what is expected, is looked at no further."""

TOO_LONG = 3.0
"""Weights of a last layer are told of when they are longer than that, see `Last.length`."""


def finite(subject: Subject, loss: float) -> Check:
    """Check that the first loss is finite; if it is not, find the first tensor that is not."""
    name = "finite loss"
    if math.isfinite(loss):
        return Check(name, "passed", f"{loss:.4g}")
    found = find(subject.model, subject.task, Kept(subject.batch, {}))
    reason = "the training loss of the same batch is finite" if found is None else found.text
    return Check(name, "failed", f"the first loss is {loss}: {reason}")


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
    return alone or (spec.y.is_text and isinstance(task, StepTask))


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
