"""Coverage against the formula of See et al. (2017), in training and in every way of decoding."""

import pytest
import torch
from torch.testing import assert_close

from seqpipe.data.vocabulary import BOS
from seqpipe.errors import ConfigError
from seqpipe.training.accumulation import penalty_of

COVERED = {"architecture.coverage": True}


def written_out(model, x, y):
    """Logits (T_y, V) and weights (T_y, T_x) of one pair, by equations 1 to 3, 10 and 11."""
    memory, final = model.encoder(model.input(x[None]))
    joined = [torch.cat([part for state in layer for part in state], dim=-1) for layer in final]
    state = [layer[0] for layer in model.bridge(joined)]
    keys, attention = memory[0], model.attention
    a = torch.zeros(model.decoder.output_size, dtype=torch.float64)
    covered = torch.zeros(len(x), dtype=torch.float64)
    logits, weights = [], []
    for symbol in [BOS, *y[:-1].tolist()]:
        read = model.target.embedding.weight[symbol]
        h = torch.cat([read, a] if model.input_feeding else [read])[None]
        for level, layers in enumerate(model.decoder.layers):
            state[level] = layers["forwards"].cell(h, state[level])
            h = state[level][0]
        inside = attention.map_key(keys) + attention.map_query(h)
        inside = inside + covered[:, None] * attention.map_coverage.weight[:, 0]
        alpha = (torch.tanh(inside) @ attention.score.weight[0]).softmax(dim=0)
        covered = covered + alpha
        a = torch.tanh(model.combine(torch.cat([alpha @ keys, h[0]])))
        logits.append(model.head.output(a))
        weights.append(alpha)
    return torch.stack(logits), torch.stack(weights)


@pytest.fixture
def covering(build, randomise):
    def make(cell="lstm", fed=False, **changes):
        options = {**COVERED, "architecture.input_feeding": fed, **changes}
        built = build("encoder_decoder additive", cell, **options)
        randomise(built.model)
        with torch.no_grad():
            built.model.attention.map_coverage.weight.mul_(5)  # so that it shows
        return built

    return make


@pytest.mark.parametrize(
    ("cell", "depth", "fed"), [("lstm", 1, False), ("gru", 2, True), ("gru_simplified", 2, False)]
)
def test_it_is_the_formula_in_values_gradients_and_weights(
    covering, ragged, same_as_written, cell, depth, fed
):
    model, _, spec, _ = covering(cell, fed, depth=depth)
    batch = ragged(spec)
    same_as_written(model, batch, written_out)
    drawn = model.attention_of(batch.x, batch.x_lengths, batch.y, batch.y_lengths)
    for b, (n_x, n_y) in enumerate(zip(batch.x_lengths, batch.y_lengths, strict=True)):
        _, weights = written_out(model, batch.x[b, :n_x], batch.y[b, :n_y])
        assert_close(drawn[b, :n_y, :n_x], weights, rtol=0, atol=1e-10)


def test_it_changes_the_answer_from_the_second_step_on(covering, ragged, answer):
    model, _, spec, _ = covering()
    batch = ragged(spec)
    before = answer(model, batch)
    with torch.no_grad():
        model.attention.map_coverage.weight.zero_()
    after = answer(model, batch)
    assert_close(after[:, 0], before[:, 0], rtol=0, atol=0)
    assert (after[0, 1:3] - before[0, 1:3]).abs().amin() > 1e-6  # x of row 0 has five steps


@pytest.mark.parametrize("fed", [False, True])
def test_a_beam_keeps_what_each_hypothesis_has_covered(covering, fed):
    model, *_ = covering("gru", fed)
    model.eval()
    x, x_lengths = torch.randint(4, 9, (6, 7)), torch.tensor([7, 1, 3, 5, 2, 7])
    ids, lengths = model.greedy(x, x_lengths, 6)
    best = model.beam(x, x_lengths, 6, beam_size=1)
    for row, other, n in zip(ids, best.ids[:, 0], lengths, strict=True):
        assert torch.equal(row[:n], other[:n])
    found = model.beam(x, x_lengths, 6, beam_size=5, n_best=4)
    for n in range(4):
        y, ends = found.ids[:, n], found.lengths[:, n]
        log_p = model.log_probabilities(x, x_lengths, y, ends.clamp(min=1)).sum(dim=1)
        assert (ends > 0).all()
        assert_close(log_p, found.scores[:, n], rtol=0, atol=1e-9)


def test_steps_that_read_guesses_read_what_is_covered_too(covering, ragged, answer):
    model, _, spec, _ = covering()
    batch = ragged(spec)
    forced = answer(model.train(), batch)
    model.teacher_forcing = 1.0 - 1e-9  # step by step, and always the truth
    assert_close(answer(model, batch)[1, :5], forced[1, :5], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["none", "dot", "general"])
def test_only_additive_attention_reads_it(build, kind):
    with pytest.raises(ConfigError) as refused:
        build(f"encoder_decoder {kind}", **COVERED)
    text = f"architecture.coverage=true: attention={kind} does not read what is covered; allowed"
    assert f"{text}: false, or also architecture.attention=additive" in str(refused.value)


def overlap(weights, lengths):
    """Sum of min(a, c) over the real steps of each row, equation 12; weights: (B, T_y, T_x)."""
    sums = []
    for one, n in zip(weights, lengths.tolist(), strict=True):
        covered, total = torch.zeros_like(one[0]), 0.0
        for t in range(n):
            total = total + torch.minimum(one[t], covered).sum()
            covered = covered + one[t]
        sums.append(total)
    return torch.stack(sums)


@pytest.mark.parametrize(("fed", "share"), [(False, 1.0), (True, 1.0), (False, 0.999999999)])
def test_the_penalty_is_the_overlap_of_each_real_step_and_only_in_training(
    covering, ragged, fed, share
):
    model, task, spec, _ = covering(fed=fed, **{"architecture.coverage_penalty": 0.5})
    model.teacher_forcing = share
    batch = ragged(spec)
    given = (batch.x, batch.x_lengths, batch.y, batch.y_lengths)
    model.train()(*given)
    penalty = penalty_of(model.modules(), task, batch)
    units = int(batch.y_lengths.sum())
    weights = torch.zeros(4, 5, 5, dtype=torch.float64)
    for b, (n_x, n_y) in enumerate(zip(batch.x_lengths, batch.y_lengths, strict=True)):
        weights[b, :n_y, :n_x] = written_out(model, batch.x[b, :n_x], batch.y[b, :n_y])[1]
    expected = 0.5 * overlap(weights, batch.y_lengths).sum() / units
    assert expected > 0.01
    assert_close(penalty, expected, rtol=0, atol=1e-10)
    ours = torch.autograd.grad(penalty, model.attention.map_query.weight)[0]
    theirs = torch.autograd.grad(expected, model.attention.map_query.weight)[0]
    assert_close(ours, theirs, rtol=0, atol=1e-10)
    assert model.covering.take(batch.y_lengths) is None  # it is forgotten
    model.eval()(*given)
    assert penalty_of(model.modules(), task, batch) is None


def test_the_penalty_of_a_batch_is_that_of_its_parts(covering, ragged):
    """Weighted as the loss is, so that an update does not depend on how its batches were cut."""
    model, task, spec, _ = covering(**{"architecture.coverage_penalty": 2.0})
    batch = ragged(spec)
    model.train()

    def total(rows):
        part = batch.row(rows) if isinstance(rows, int) else batch
        model(part.x, part.x_lengths, part.y, part.y_lengths)
        return penalty_of(model.modules(), task, part) * int(part.y_lengths.sum())

    assert_close(sum(total(b) for b in range(4)), total(None), rtol=0, atol=1e-10)


def test_a_penalty_without_coverage_is_refused(build):
    with pytest.raises(ConfigError, match=r"coverage_penalty=1\.0: attention does not"):
        build("encoder_decoder additive", **{"architecture.coverage_penalty": 1.0})
