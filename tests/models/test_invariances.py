"""No answer depends on the rest of the batch, on padding, or on the future."""

import pytest
import torch
from torch.testing import assert_close

from seqpipe.data.base import SequenceBatch
from seqpipe.nn.masks import length_mask


def built(build, randomise, cell, shape, bidirectional):
    changes = {"depth": 2, "bidirectional": bidirectional}
    if shape.startswith("encoder_decoder"):
        changes["architecture.decoder.bidirectional"] = False
    model, task, spec, _ = build(shape, cell, **changes)
    return randomise(model).eval(), task, spec


def alone(batch, b):
    """Example b without padding, as a batch of one."""

    def row(values, lengths):
        if values is None:
            return None
        return values[b : b + 1] if lengths is None else values[b : b + 1, : lengths[b]]

    def length(lengths):
        return None if lengths is None else lengths[b : b + 1]

    return SequenceBatch(
        row(batch.x, batch.x_lengths),
        length(batch.x_lengths),
        row(batch.y, batch.y_lengths),
        length(batch.y_lengths),
        batch.index[b : b + 1],
    )


def poisoned(batch, spec):
    """The same examples in a longer batch whose padding is as bad as can be."""

    def extend(values, lengths, field):
        if values is None or lengths is None:
            return values
        T = values.shape[1]
        more = values.new_zeros(len(values), 3, *values.shape[2:])
        values = torch.cat([values, more], dim=1)
        bad = field.size - 1 if field.kind in ("symbols", "tags") else 1e6
        bad = field.characters - 1 if field.kind == "spelled" else bad
        return values.where(
            length_mask(lengths, T + 3).view(len(values), T + 3, *[1] * (values.ndim - 2)),
            torch.full_like(values, bad),
        )

    x = extend(batch.x, batch.x_lengths, spec.x)
    y = extend(batch.y, batch.y_lengths, spec.y)
    return SequenceBatch(x, batch.x_lengths, y, batch.y_lengths, batch.index)


def test_a_sequence_is_answered_the_same_alone_and_in_a_ragged_batch(
    build, ragged, answer, randomise, case
):
    model, _, spec = built(build, randomise, *case)
    batch = ragged(spec, torch.float64)
    together = answer(model, batch)
    for b in range(len(batch)):
        by_itself = answer(model, alone(batch, b))[0]
        shown = together[b]
        if batch.y_lengths is not None:
            shown = shown[: batch.y_lengths[b]]
        assert_close(by_itself, shown, rtol=0, atol=1e-12)


def test_poisoned_padding_changes_neither_answers_nor_loss_nor_gradients(
    build, ragged, answer, randomise, case
):
    model, task, spec = built(build, randomise, *case)
    clean = ragged(spec, torch.float64)
    bad = poisoned(clean, spec)
    results, answers = [], []
    for batch in (clean, bad):
        logits = answer(model, batch)
        loss = task.loss(logits, batch, training=True)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        real = logits if clean.y_lengths is None else logits[task.mask(batch)]
        results.append((real, loss, gradients))
        if clean.y_lengths is not None and spec.y.kind == "tags":
            answers.append(task.predict(model, logits, batch)[task.mask(batch)])
    assert_close(results[0], results[1], rtol=0, atol=1e-6)  # the loss is float32
    assert_close(results[0][0], results[1][0], rtol=0, atol=1e-12)
    assert not answers or torch.equal(*answers)


@pytest.mark.parametrize("shape", ["one_to_many", "one_to_many roll"])
def test_a_model_that_writes_sees_the_past_only(build, ragged, answer, randomise, cell, shape):
    model, _, spec = built(build, randomise, cell, shape, bidirectional=False)
    batch = ragged(spec, torch.float64)
    before = answer(model, batch)
    batch.y = batch.y.clone()
    # Another ordinary symbol; of a roll, every note changes.
    batch.y[1, 2] = 1 - batch.y[1, 2] if spec.y.is_roll else 4 + (batch.y[1, 2] - 3) % 5
    after = answer(model, batch)
    assert_close(after[1, :3], before[1, :3], rtol=0, atol=0)  # y_3 is predicted at step 3
    assert after[1, 3:].sub(before[1, 3:]).abs().amax(dim=-1).gt(1e-6).all()
    assert_close(after[[0, 2, 3]], before[[0, 2, 3]], rtol=0, atol=0)


@pytest.mark.parametrize("shape", ["many_to_many", "many_to_one last"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_only_two_directions_let_the_first_step_see_the_last(
    build, ragged, answer, randomise, shape, bidirectional
):
    model, _, spec = built(build, randomise, "lstm", shape, bidirectional)
    batch = ragged(spec, torch.float64)
    before = answer(model, batch)
    batch.x = batch.x.clone()
    batch.x[0, 4] += 1.0
    changed = answer(model, batch).sub(before).abs().gt(1e-9)
    assert changed[0].any()
    assert not changed[1:].any()
    if shape == "many_to_many":
        assert bool(changed[0, 0].any()) == bidirectional
