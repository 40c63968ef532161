"""The gradient through time against autograd on one sequence at a time, unrolled in float64."""

import copy
import itertools

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from seqpipe.data.base import SequenceBatch
from seqpipe.diagnostics.gradients import through_time
from seqpipe.diagnostics.stepwise import StepwiseCopy
from seqpipe.nn.crf import log_likelihood

CELLS = (
    *("rnn", "rnn relu", "gru_simplified", "gru", "gru reset after"),
    *("lstm", "lstm without tanh", "lstm_peephole", "lstm_peephole current"),
)
SHAPES = ("many_to_one", "many_to_many", "one_to_many", "encoder_decoder")
WAYS = list(itertools.product((1, 2, 3), (False, True)))  # depth, bidirectional
# Every cell x shape in two ways, and every cell in all six; the others are left to test-full.
CASES = [
    pytest.param(cell, shape, *way, marks=() if w in covered else pytest.mark.full)
    for c, cell in enumerate(CELLS)
    for s, shape in enumerate(SHAPES)
    for covered in [{(c + s) % 6, (c + s + 3) % 6}]
    for w, way in enumerate(WAYS)
    if not (way[1] and shape == "one_to_many")
]
CASES += [("lstm", "crf", depth, both) for depth in (1, 2) for both in (False, True)]


def unrolled(stack, x, state=None):
    """One sequence, (T, D), stepped through; every h by (level, direction, time step)."""
    h_of, finals = {}, []
    for level, directions in enumerate(stack.layers):
        outputs, last = [], []
        for place, (name, layer) in enumerate(directions.items()):
            now = layer.cell.initial_state(1) if state is None else state[level][place]
            order = range(len(x)) if name == "forwards" else range(len(x) - 1, -1, -1)
            here = {}
            for t in order:
                now = layer.cell(x[t : t + 1], now)
                here[t] = h_of[level, name, t] = now[0]
            outputs.append(torch.cat([here[t] for t in range(len(x))]))
            last.append(now)
        x = torch.cat(outputs, dim=-1)
        finals.append(tuple(last))
    return x, tuple(finals), h_of


def answers(model, shape, batch, b):
    """Logits of one sequence without padding, and every h by (stack, level, direction, t)."""
    h_of = {}

    def run(name, x, state=None):
        outputs, final, found = unrolled(getattr(model, name), x, state)
        h_of.update({(name, *key): h for key, h in found.items()})
        return outputs, final

    if shape != "one_to_many":
        x = batch.x[b, : batch.x_lengths[b]]
        memory, final = run("encoder", model.input(x.unsqueeze(0))[0])
    if shape == "many_to_one":
        return model.head(torch.cat([part[0] for part in final[-1]], dim=-1)), h_of
    if shape == "many_to_many":
        return model.head(memory), h_of
    if shape == "crf":
        return model.head(memory[None], torch.tensor([len(memory)]))[0], h_of
    y = batch.y[b, : batch.y_lengths[b]]
    read = torch.cat([torch.tensor([2]), y[:-1]])
    if shape == "one_to_many":
        outputs, _ = run("decoder", model.input(read.unsqueeze(0))[0])
        return model.head(outputs), h_of
    joined = [torch.cat([part for state in layer for part in state], dim=-1) for layer in final]
    outputs, _ = run("decoder", model.target(read.unsqueeze(0))[0], model.bridge(joined))
    keys = model.attention.prepare(memory[None], torch.ones(1, len(x)).bool())
    context, _ = model.attention(outputs[None], keys)
    outputs = torch.tanh(model.combine(torch.cat([context[0], outputs], dim=-1)))
    return model.head(outputs), h_of


def losses(shape, logits, batch, b):
    """Of one sequence, by name, as its share of the batch's mean, times B."""
    if shape == "many_to_one":
        return {"whole": cross_entropy(logits, batch.y[b : b + 1])}
    n = int(batch.y_lengths[b])
    if shape == "crf":
        return losses_of_crf(logits, batch.y[b, :n], len(batch) / int(batch.y_lengths.sum()))
    each = cross_entropy(logits, batch.y[b, :n], reduction="none")
    share = len(batch) / int(batch.y_lengths.sum())
    return {"whole": each.sum() * share, "forwards": each[-1], "backwards": each[0]}


def losses_of_crf(potentials, y, share):
    """Each step's answer is the one given the true tag next to it; potentials: (T, K, K)."""
    first, last = potentials[0, 0], potentials[-1, y[-2] if len(y) > 1 else 0]
    if len(y) > 1:
        first = first + potentials[1, :, y[1]]
    whole = -log_likelihood(potentials[None], torch.tensor([len(y)]), y[None]).sum()
    return {
        "whole": whole * share,
        "forwards": cross_entropy(last, y[-1]),
        "backwards": cross_entropy(first, y[0]),
    }


@pytest.mark.parametrize(("cell", "shape", "depth", "both"), CASES)
def test_the_norms_are_those_of_autograd_on_each_sequence_alone(
    make, make_batch, cell, shape, depth, both
):
    model, task = make(cell, shape, depth, both)
    batch = make_batch(shape)
    found = through_time(StepwiseCopy(model), task, batch)
    reference = copy.deepcopy(model).double().eval()
    compared = 0
    for b in range(len(batch)):
        logits, h_of = answers(reference, shape, batch, b)
        for name, loss in losses(shape, logits, batch, b).items():
            gradients = torch.autograd.grad(
                loss, list(h_of.values()), retain_graph=True, materialize_grads=True
            )
            truth = dict(zip(h_of, gradients, strict=True))
            for one in found:
                loss_name = "whole" if one.loss == "whole" else one.layer.direction
                if loss_name != name:
                    continue
                n = int(one.lengths[b])
                for distance in range(n):
                    t = distance if one.layer.direction == "backwards" else n - 1 - distance
                    expected = float(truth[(*one.layer[:2], one.layer.direction, t)].norm())
                    assert one.norms[b, distance] == pytest.approx(expected, rel=1e-9, abs=1e-300)
                    compared += 1
                assert not one.norms[b, n:].any()
    layers = depth * (1 + both) + depth * (shape == "encoder_decoder")
    assert len({one.layer for one in found}) == layers
    assert compared >= layers * int((batch.y_lengths if batch.x is None else batch.x_lengths).sum())


def test_what_is_found_does_not_depend_on_the_padding_or_the_rest_of_the_batch(make, make_batch):
    model, task = make("lstm", "many_to_one", 2, True)
    batch = make_batch("many_to_one")
    together = through_time(StepwiseCopy(model), task, batch)
    for b in range(3):
        n = int(batch.x_lengths[b])
        alone = SequenceBatch(
            batch.x[b : b + 1, :n], torch.tensor([n]), batch.y[b : b + 1], None, torch.tensor([b])
        )
        for one, other in zip(
            through_time(StepwiseCopy(model), task, alone), together, strict=True
        ):
            np.testing.assert_allclose(one.norms[0, :n], other.norms[b, :n], rtol=1e-12)


def test_a_hook_on_the_fused_layer_would_see_nothing_before_the_last_step(make, make_batch):
    """Why all this: the direct path alone, as other tools draw it, is not the gradient."""
    model, task = make("lstm", "many_to_one", 1, False)
    batch = make_batch("many_to_one")
    seen = {}
    layer = model.encoder.layers[0]["forwards"]
    layer.register_forward_hook(lambda _, __, result: seen.update(outputs=result[0]))
    logits = model(batch.x, batch.x_lengths, None, None)
    seen["outputs"].retain_grad()
    task.loss(logits, batch, training=True).backward()
    steps = torch.arange(batch.x.shape[1]) + 1
    before_the_last = steps < batch.x_lengths.unsqueeze(1)
    assert (seen["outputs"].grad[before_the_last] == 0).all()
    (found,) = through_time(StepwiseCopy(model), task, batch)
    assert (found.norms[0] > 0).all()
