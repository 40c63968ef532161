"""Input feeding against the formula, step by step, and in every way of decoding."""

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from seqpipe.data.vocabulary import BOS
from seqpipe.diagnostics.gradients import through_time
from seqpipe.diagnostics.stepwise import StepwiseCopy
from seqpipe.errors import ConfigError

FED = {"architecture.input_feeding": True}


def written_out(model, x, y):
    """Logits of one pair, (T_y, V), as Luong et al. (2015) write the model, and every top h_t."""
    memory, final = model.encoder(model.input(x[None]))
    joined = [torch.cat([part for state in layer for part in state], dim=-1) for layer in final]
    state = [layer[0] for layer in model.bridge(joined)]
    keys = memory[0]
    a = torch.zeros(model.decoder.output_size, dtype=torch.float64)
    logits, tops = [], []
    for symbol in [BOS, *y[:-1].tolist()]:
        h = torch.cat([model.target.embedding.weight[symbol], a])[None]
        for level, layers in enumerate(model.decoder.layers):
            state[level] = layers["forwards"].cell(h, state[level])
            h = state[level][0]
        scores = scores_of(model.attention, h[0], keys)
        context = scores.softmax(dim=0) @ keys
        a = torch.tanh(model.combine(torch.cat([context, h[0]])))
        logits.append(model.head.output(a))
        tops.append(h)
    return torch.stack(logits), tops


def scores_of(attention, h, keys):
    if attention.kind == "dot":
        return keys @ h
    if attention.kind == "general":
        return keys @ attention.map_query(h)
    return attention.score(torch.tanh(attention.map_query(h) + attention.map_key(keys)))[:, 0]


@pytest.fixture
def fed(build, randomise):
    def make(kind="additive", cell="lstm", **changes):
        built = build(f"encoder_decoder {kind}", cell, **FED, **changes)
        randomise(built.model)
        return built

    return make


@pytest.mark.parametrize(
    ("kind", "cell", "depth", "both"),
    [
        ("additive", "lstm", 1, True),
        ("general", "gru", 2, False),
        ("dot", "lstm_peephole", 2, True),
        ("additive", "gru_simplified", 2, False),
        ("general", "rnn", 1, True),
    ],
)
def test_it_is_the_formula_in_values_and_gradients(
    fed, ragged, same_as_written, kind, cell, depth, both
):
    changes = {"bidirectional": both, "architecture.decoder.bidirectional": False}
    model, _, spec, _ = fed(kind, cell, depth=depth, **changes)
    batch = ragged(spec)
    same_as_written(model, batch, written_out)


def test_it_changes_the_answer_from_the_second_step_on(fed, ragged, answer):
    """Without the columns that read a_{t-1} the first step is the same, and no later one is."""
    model, _, spec, _ = fed()
    batch = ragged(spec)
    before = answer(model, batch)
    width = model.target.output_size
    with torch.no_grad():
        model.decoder.layers[0]["forwards"].cell.weight_input[:, width:] = 0.0
    after = answer(model, batch)
    assert_close(after[:, 0], before[:, 0], rtol=0, atol=0)
    assert (after[1, 1:5] - before[1, 1:5]).abs().amin() > 1e-6


def test_decoding_says_what_the_model_says_when_it_reads_its_own_answer(fed):
    model, *_ = fed("general", "gru", depth=2)
    x, x_lengths = torch.randint(4, 9, (6, 7)), torch.tensor([7, 1, 3, 5, 2, 7])
    model.eval()
    ids, lengths = model.greedy(x, x_lengths, 8)
    best = model.beam(x, x_lengths, 8, beam_size=1)
    for row, other, n in zip(ids, best.ids[:, 0], lengths, strict=True):
        assert torch.equal(row[:n], other[:n])
    assert torch.equal(best.lengths[:, 0], lengths)
    found = model.beam(x, x_lengths, 6, beam_size=4, n_best=3)
    for n in range(3):
        y, ends = found.ids[:, n], found.lengths[:, n]
        log_p = model.log_probabilities(x, x_lengths, y, ends.clamp(min=1)).sum(dim=1)
        there = ends > 0
        assert there.any()
        assert_close(log_p[there], found.scores[there, n], rtol=0, atol=1e-9)
    ends = torch.tensor([5] * 6)
    y = model.free_running(x, x_lengths, torch.zeros(6, 5, dtype=torch.long), ends).argmax(dim=-1)
    again = model(x, x_lengths, y, ends).argmax(dim=-1)
    assert torch.equal(again, y)


def test_in_part_it_reads_the_truth_or_its_own_guess_and_always_the_vector(fed, ragged, answer):
    model, _, spec, _ = fed()
    batch = ragged(spec)
    forced = answer(model.train(), batch)
    model.teacher_forcing = 1.0 - 1e-9  # step by step, and always the truth
    assert_close(answer(model, batch)[1, :5], forced[1, :5], rtol=0, atol=1e-12)
    model.teacher_forcing = 0.0
    assert not torch.allclose(answer(model, batch)[1, :5], forced[1, :5])


def test_the_attention_that_is_drawn_is_that_of_the_steps(fed, ragged):
    model, _, spec, _ = fed()
    batch = ragged(spec)
    weights = model.eval().attention_of(batch.x, batch.x_lengths, batch.y, batch.y_lengths)
    real = torch.arange(5) < batch.y_lengths.unsqueeze(1)
    assert_close(weights.sum(dim=-1), real.double(), rtol=0, atol=1e-12)


def test_the_probe_sees_the_gradient_of_every_step(fed, ragged):
    model, task, spec, _ = fed()
    batch = ragged(spec)
    found = through_time(StepwiseCopy(model), task, batch)
    (one,) = (each for each in found if each.layer.stack == "decoder" and each.loss == "whole")
    share = len(batch) / int(batch.y_lengths.sum())
    for b, (n_x, n_y) in enumerate(zip(batch.x_lengths, batch.y_lengths, strict=True)):
        logits, tops = written_out(model.eval(), batch.x[b, :n_x], batch.y[b, :n_y])
        loss = cross_entropy(logits, batch.y[b, :n_y], reduction="sum") * share
        norms = [float(g.norm()) for g in torch.autograd.grad(loss, tops)]
        assert one.norms[b, :n_y].tolist() == pytest.approx(norms[::-1], rel=1e-9)
        assert not one.norms[b, n_y:].any()


def test_without_attention_there_is_nothing_to_feed(build):
    with pytest.raises(ConfigError) as refused:
        build("encoder_decoder none", **FED)
    assert "architecture.input_feeding=true: without attention" in str(refused.value)
