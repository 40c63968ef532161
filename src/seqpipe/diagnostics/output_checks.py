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
from seqpipe.nn.head import Head
from seqpipe.nn.masks import length_mask
from seqpipe.training.nonfinite_trace import KeptBatch, find_nonfinite

MORE = 3  # padded steps added
POISON = 1e6  # in place of the zeros of floats


def poisoned(batch: SequenceBatch, spec: SequenceSpec) -> SequenceBatch:
    """The same examples in a longer batch with poisoned padding.

    Padding of floats becomes `POISON`, of ids the last id. T_x and T_y grow by `MORE`; if they
    are different sequences and would be equally long, T_y grows by one more: then a tensor of
    T_x steps is known to have the time axis of x.
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
    return torch.where(real, values, _poison(values, field))


def _poison(values: Tensor, field: FieldSpec) -> Tensor:
    if values.is_floating_point():
        return torch.full_like(values, POISON)
    bad = torch.full_like(values, field.size - 1)
    if field.is_spelled and field.characters is not None:
        bad[..., 1:] = field.characters - 1
    return bad


def other_from(values: Tensor, step: int, field: FieldSpec) -> Tensor:
    """The same values up to `step`, other ones from there on: (B, T, ...).

    Notes of a roll are inverted, other floats move by 1 to 2, ids become the next ordinary one.
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
"""Layers drawn below a CRF, which runs through the time steps one by one."""


class LastLayer(NamedTuple):
    """The linear layer whose output is the model's answer.

    Args:
        layer: of the model.
        inputs: (..., D), its inputs.
        potentials: from the outputs of a layer to those of a CRF above it; None without a CRF.
    """

    layer: nn.Linear
    inputs: Tensor
    potentials: Callable[[Tensor], Tensor] | None = None

    @property
    def length(self) -> float:
        """The length of its weights, as a share of the length that torch draws.

        K rows of D weights, each uniform in -1/sqrt(D)..1/sqrt(D), have a squared length of K/3 on
        average and of K at most: a fresh layer never has more than sqrt(3) = 1.73 here.
        """
        return float(self.layer.weight.detach().norm()) / math.sqrt(self.layer.out_features / 3)


def last_layer(subject: Subject) -> LastLayer | None:
    """The last layer of the model; None where its answer is no output of a linear layer or CRF."""
    outputs: list[tuple[LastLayer, Tensor]] = []

    def keep(layer: Any, args: tuple[Any, ...], output: Tensor) -> None:
        outputs.append((LastLayer(layer, args[0]), output))

    def keep_crf(head: Any, args: tuple[Any, ...], output: Tensor) -> None:
        last = outputs[-1][0]
        assert last.layer is head.output, "the last layer below a CRF"
        potentials = partial(head.potentials, lengths=args[1])
        outputs.append((last._replace(potentials=potentials), output))

    parts = list(subject.model.modules())
    hooks = [part.register_forward_hook(keep) for part in parts if isinstance(part, nn.Linear)]
    heads = [part for part in parts if isinstance(part, Head) and part.whole_sequences]
    hooks += [head.register_forward_hook(keep_crf) for head in heads]
    try:
        answer = subject.answer(subject.batch)
    finally:
        for hook in hooks:
            hook.remove()
    return next((last for last, output in reversed(outputs) if output is answer), None)


@torch.no_grad()
def losses_of_new_layers(subject: Subject, last: LastLayer) -> list[float]:
    """First losses of the same model with other last layers, initialised as torch does.

    If the model's own layer was initialised so, each of the n + 1 losses is as likely as any other
    to be the largest or the smallest. So a healthy model lies outside the n others in two of n + 1
    cases, whatever its cell, its width and its task: 0.2 % for 1,000.
    """
    cost = last.inputs.numel() * last.layer.out_features
    most = DRAWN if last.potentials is None else DRAWN_BELOW_A_CRF
    count = int(min(most, max(FEWEST, WORK // cost)))
    other, losses = copy.deepcopy(last.layer), []
    torch.manual_seed(0)
    for _ in range(count):
        other.reset_parameters()
        outputs = other(last.inputs)
        if last.potentials is not None:
            outputs = last.potentials(outputs)
        losses.append(subject.loss(outputs, subject.batch))
    return losses


TOO_MUCH, TOO_LITTLE = 1.5, 0.5
"""A first loss between these factors of the expected one passes."""

TOO_LONG = 3.0
"""Longer weights of a last layer cause a warning, see `LastLayer.length`."""


def finite(subject: Subject, loss: float) -> Check:
    """Check that the first loss is finite; if it is not, find the first tensor that is not."""
    name = "finite loss"
    if math.isfinite(loss):
        return Check(name, "passed", f"{loss:.4g}")
    found = find_nonfinite(subject.model, subject.task, KeptBatch(subject.batch, {}))
    reason = "the training loss of the same batch is finite" if found is None else found.text
    return Check(name, "failed", f"the first loss is {loss}: {reason}")


def first_loss(subject: Subject, loss: float) -> Check:
    """Compares the first loss with that of a uniform answer and that of the distribution of y.

    An untrained narrow model is not uniform, so a model that is far from the expectation is also
    compared with other initialisations of its last layer. A badly scaled model may match the
    expected loss by chance, so the scale of its weights is checked too.
    """
    name = "loss at initialisation"
    expected = subject.task.untrained_loss(subject.batch)
    if expected is None:
        return Check(name, "does not apply", f"{loss:.4g}; this task has no expected value")
    value, words = expected
    detail = f"{loss:.4g}, expected {words} = {value:.4g}"
    marginal = subject.task.marginal_loss(subject.batch)
    if marginal is not None:
        detail += f", {marginal[1]} {marginal[0]:.4g}"
    last = last_layer(subject)
    too_long = last is not None and last.length > TOO_LONG
    near = value == 0 or TOO_LITTLE * value <= loss <= TOO_MUCH * value
    if near and not too_long:
        return Check(name, "passed", detail)
    if last is not None and not too_long:
        others = losses_of_new_layers(subject, last)
        low, high = min(others), max(others)
        detail += f", {len(others):,} other initialisations of the last layer give"
        detail += f" {low:.4g} to {high:.4g}"
        if low <= loss <= high:
            return Check(name, "passed", detail)
    wrong = []
    if not near:
        bound = f"over {TOO_MUCH}" if loss > value else f"under {TOO_LITTLE}"
        wrong.append(f"{bound} times the expectation")
    if last is not None and too_long:
        wrong.append(f"the last layer's weights are {last.length:.3g} times as long as torch's")
    look = (
        "check the scale of the head's initial weights, of x and of y"
        if loss > value or too_long
        else "the model may read its own answer, or x may contain y"
    )
    return Check(name, "warning", f"{detail}: {'; '.join([*wrong, look])}")


def padding(subject: Subject, outputs: Tensor) -> Check:
    """Compares answers at real steps and the loss with those of a batch with poisoned padding."""
    name, batch = "padding", subject.batch
    if batch.x_lengths is None and batch.y_lengths is None:
        return Check(
            name, "does not apply", "neither x nor y has a time axis, so nothing is padded"
        )
    if not _repeats(subject, outputs):
        text = "the model answers the same batch differently each time"
        return Check(name, "not checked", text)
    effect = _effect_of(subject, outputs, lambda tried: poisoned(tried.batch, tried.spec))
    if effect is None:
        return Check(
            name, "passed", f"{MORE} extra padded steps with large values do not change the answer"
        )
    text = f"{MORE} extra padded steps change the answer: {effect.text}"
    return Check(name, "failed", text)


def _repeats(subject: Subject, outputs: Tensor) -> bool:
    """True if the answer does not depend on the random state."""
    again = subject.answer(subject.batch, seed=1)
    return torch.equal(outputs, again) or torch.equal(outputs.nan_to_num(), again.nan_to_num())


class Effect(NamedTuple):
    """The difference that another batch makes to the answers.

    Args:
        step: the time step of the first answer that differs, from 0; None for the loss alone.
        text: the first part and the first answer that differ.
    """

    step: int | None
    text: str


def _effect_of(
    subject: Subject,
    outputs: Tensor,
    change: Callable[[Subject], SequenceBatch],
    last: int | None = None,
) -> Effect | None:
    """The effect of a change of the batch; None if the answers at real steps stay the same.

    A difference in float32 must show in float64, too: longer batches round differently. Only then
    are the outputs of all parts kept, to find the first that differs.

    Args:
        subject: the model and the original batch.
        outputs: its answers.
        change: makes the changed batch.
        last: compare the answers up to this time step, from 0; None: all, and the loss.
    """
    fault: Place | str | None = None
    for tried in _in_both_precisions(subject):
        given = outputs if tried is subject else tried.answer(tried.batch)
        batch = change(tried)
        others = tried.answer(batch)
        fault = difference(given, others, lengths_for(others, batch), last)
        if fault is None and last is None:
            fault = _loss_difference(tried, given, others, batch)
        if fault is None:
            return None
    assert fault is not None, "the loop ended without a return"
    step = None if isinstance(fault, str) else fault.step
    (_, clean), (_, changed) = tried.traced(tried.batch), tried.traced(batch)
    part = part_that_differs(clean, changed, batch, last)
    if part is not None:
        return Effect(step, f"{part[0]} is the first part that differs, {part[1]}")
    if isinstance(fault, str):
        return Effect(step, f"no part and no answer at a real step differs, but {fault}")
    return Effect(step, f"the output of no part differs, but the answer does, {fault}")


def _in_both_precisions(subject: Subject) -> Iterator[Subject]:
    yield subject
    yield subject.in_double()


def _loss_difference(
    subject: Subject, outputs: Tensor, others: Tensor, batch: SequenceBatch
) -> str | None:
    loss, other = subject.loss(outputs, subject.batch), subject.loss(others, batch)
    close = math.isclose(loss, other, rel_tol=1e-4, abs_tol=1e-6)
    return None if close else f"the loss, {other:.4g} in place of {loss:.4g}"


def causality(subject: Subject, outputs: Tensor) -> Check:
    """Compares answers up to a time step with those for other inputs after it.

    A model that reads and writes y may read y_1..y_{t-1} at step t. A one-directional model with
    an answer for each step of x may read x_1..x_t.
    """
    name, batch = "causality", subject.batch
    reads_y = _reads_its_answer(subject)
    if batch.y_lengths is None:
        return Check(name, "does not apply", "the model gives one answer for the whole sequence")
    if not reads_y:
        if getattr(subject.model, "answers", None) != "each_step":
            return Check(
                name,
                "does not apply",
                f"{type(subject.model).__name__} does not claim to be causal",
            )
        if not subject.model.causal:
            return Check(name, "does not apply", "the model reads in both directions")
    values = batch.y if reads_y else batch.x
    assert values is not None
    T = values.shape[1]
    sees_step = not reads_y or getattr(subject.model, "reads_within_step", False)
    starts = sorted({1, (T + 1) // 2} if sees_step else {0, T // 2})
    starts = [start for start in starts if start < T]
    if not starts:
        return Check(name, "does not apply", "all sequences have one step")
    if not _repeats(subject, outputs):
        return Check(name, "not checked", "the model answers the same batch differently each time")
    role = "y" if reads_y else "x"
    for start in starts:
        change = partial(_changed_from, role=role, start=start)
        effect = _effect_of(subject, outputs, change, last=start - 1 if sees_step else start)
        if effect is not None:
            at = f"the answer at time step {1 + (effect.step or 0)} depends on later steps"
            return Check(name, "failed", f"{at}: {effect.text}")
    what = f"{role} after step t" if sees_step else "y from step t on"
    return Check(name, "passed", f"changing {what} changes no answer up to t")


def _reads_its_answer(subject: Subject) -> bool:
    spec, answers = subject.spec, getattr(subject.model, "answers", None)
    if answers is None:  # a module that declares nothing
        alone = spec.y.has_time and not (spec.x is not None and spec.x.has_time)
        return alone or "sequence" in subject.task.answers
    return answers in ("next_step", "sequence")


def _changed_from(subject: Subject, *, role: str, start: int) -> SequenceBatch:
    values, field = getattr(subject.batch, role), getattr(subject.spec, role)
    future: dict[str, Any] = {role: other_from(values, start, field)}
    return replace(subject.batch, **future)
