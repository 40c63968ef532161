"""Notes of a step that depend on each other, against the formula note by note."""

import itertools

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.testing import assert_close

from seqpipe.diagnostics.output_checks import causality
from seqpipe.diagnostics.preflight_context import Subject
from seqpipe.errors import ConfigError
from seqpipe.nn.notes import NotesInOrder
from seqpipe.nn.onnx_graph import Graph

IN_ORDER = {"architecture.keys": "autoregressive"}
K = 5


@pytest.fixture
def ordered(build, randomise):
    def make(cell="lstm", shape="one_to_many roll", **changes):
        built = build(shape, cell, **IN_ORDER, **changes)
        randomise(built.model)
        with torch.no_grad():
            built.model.in_order.sounding.mul_(4)  # so that it shows
        return built

    return make


def note_by_note(model, h, y_t):
    """Logits of one step, (K,): equations 8 and 9 of Larochelle & Murray (2011)."""
    order = model.in_order
    logits, alone = [], model.head(h)
    for k in range(len(y_t)):
        inside = order.hidden.bias + order.hidden.weight @ h
        for j in range(k):
            inside = inside + y_t[j] * order.sounding[j]
        logits.append(alone[k] + order.seen[k] @ torch.sigmoid(inside))
    return torch.stack(logits)


def written_out(model, y):
    """Logits of one roll, (T, K). y: (T, K)."""
    before = torch.cat([torch.zeros_like(y[:1]), y[:-1]])
    outputs, _ = model.decoder(before[None])
    return torch.stack([note_by_note(model, h, y_t) for h, y_t in zip(outputs[0], y, strict=True)])


@pytest.mark.parametrize(("cell", "depth"), [("lstm", 1), ("gru", 2), ("rnn", 1)])
def test_it_is_the_formula_in_values_and_gradients(ordered, ragged, cell, depth):
    model, task, spec, _ = ordered(cell, depth=depth)
    batch = ragged(spec)
    batch.y[0, 1] = 0.0  # a step without notes, and one with all
    batch.y[1, 2] = 1.0
    batch.y = batch.y.double()
    logits = model(None, None, batch.y, batch.y_lengths)
    ours = task.loss(logits, batch, training=True)
    total = 0.0
    for b, n in enumerate(batch.y_lengths.tolist()):
        expected = written_out(model, batch.y[b, :n])
        assert_close(logits[b, :n], expected, rtol=0, atol=1e-10)
        total = total + binary_cross_entropy_with_logits(expected, batch.y[b, :n], reduction="sum")
    theirs = total / int(batch.y_lengths.sum())
    assert_close(ours, theirs, rtol=0, atol=1e-10)
    weights = list(model.parameters())
    for one, other in zip(
        torch.autograd.grad(ours, weights), torch.autograd.grad(theirs, weights), strict=True
    ):
        assert_close(one, other, rtol=0, atol=1e-10)


def test_the_probabilities_of_all_chords_of_a_step_add_up_to_one(ordered):
    model, *_ = ordered()
    chords = torch.tensor(list(itertools.product((0.0, 1.0), repeat=K)), dtype=torch.float64)
    past = torch.tensor([[1.0, 0, 0, 1, 0]], dtype=torch.float64)
    y = torch.stack([past.expand(len(chords), -1), chords], dim=1)
    lengths = torch.full((len(chords),), 2)
    log_p = model.log_probabilities(None, None, y, lengths)[:, 1]
    assert float(log_p.exp().sum()) == pytest.approx(1.0, abs=1e-12)


def test_drawn_notes_come_as_often_as_the_model_says(ordered):
    """All 32 chords of the first step, drawn 40,000 times."""
    model, *_ = ordered()
    chords = torch.tensor(list(itertools.product((0.0, 1.0), repeat=K)), dtype=torch.float64)
    p = model.log_probabilities(None, None, chords[:, None], torch.ones(32).long())[:, 0].exp()
    generator = torch.Generator().manual_seed(0)
    drawn, lengths = model.sample(count=40_000, max_length=1, generator=generator)
    assert lengths.tolist() == [1] * 40_000
    numbers = (drawn[:, 0] @ torch.tensor([16.0, 8, 4, 2, 1], dtype=torch.float64)).long()
    shares = numbers.bincount(minlength=32) / 40_000
    assert (shares - p).abs().max() < 4 * float((p * (1 - p) / 40_000).sqrt().max())
    alone, notes = p.new_zeros(32) + 1, (chords * p[:, None]).sum(dim=0)
    for k in range(K):
        alone *= torch.where(chords[:, k] > 0, notes[k], 1 - notes[k])
    assert (alone - p).abs().max() > 0.02  # independent notes would be told apart


def test_a_cold_sample_is_the_likeliest_note_by_note(ordered):
    model, *_ = ordered("gru", depth=2)
    y, lengths = model.eval().sample(count=3, max_length=12, temperature=1e-6)
    logits = model(None, None, y, lengths)
    assert torch.equal((logits > 0).to(y.dtype), y)
    assert 0 < y.mean() < 1
    free = model.free_running(None, None, torch.zeros_like(y[:1]), lengths[:1])
    read = torch.cat([torch.zeros_like(y[:1, :1]), y[:1, :-1]], dim=1)
    outputs, _ = model.decoder(read)
    expected = model.in_order(model.in_order.prepare(model.head(outputs), outputs), y[:1] * 0)
    assert_close(free, expected, rtol=0, atol=1e-10)


def test_pieces_that_carry_the_state_answer_as_the_whole(ordered, ragged):
    model, *_ = ordered("lstm_peephole")
    y = torch.randint(0, 2, (2, 7, K)).double()
    whole = model(None, None, y, torch.tensor([7, 7]))
    first, carried = model.carry(None, None, y[:, :3], torch.tensor([3, 3]), model.start(2))
    second, _ = model.carry(None, None, y[:, 3:], torch.tensor([4, 4]), carried)
    assert_close(torch.cat([first, second], dim=1), whole, rtol=0, atol=1e-10)


def test_no_note_sees_itself_or_a_higher_one(ordered):
    model, *_ = ordered()
    y = torch.randint(0, 2, (1, 4, K)).double()
    lengths = torch.tensor([4])
    before = model(None, None, y, lengths)
    for k in range(K):
        other = y.clone()
        other[0, 2, k] = 1 - other[0, 2, k]
        changed = (model(None, None, other, lengths) - before).abs() > 1e-9
        assert not changed[0, :2].any()
        assert not changed[0, 2, : k + 1].any()
        assert changed[0, 2, k + 1 :].all()
        assert changed[0, 3].all()


def test_the_preflight_knows_that_a_step_reads_its_lower_notes(ordered, ragged):
    built = ordered()
    model, task, spec, _ = built
    batch = ragged(spec)
    subject = Subject(model.float().eval(), task, spec, batch)
    found = causality(subject, subject.answer(batch))
    assert found.result == "passed", found
    model.reads_within_step = False
    assert causality(subject, subject.answer(batch)).result == "failed"


def test_off_it_has_no_weights_and_on_it_is_refused_where_it_means_nothing(build, ordered):
    assert build("one_to_many roll").model.in_order is None
    assert not any("in_order" in name for name in build("one_to_many roll").model.state_dict())
    with pytest.raises(ConfigError, match=r"architecture\.keys=autoregressive: a step of y is one"):
        build("one_to_many", **IN_ORDER)
    with pytest.raises(
        ConfigError, match=r"architecture\.keys=autoregressive: is not written as O"
    ):
        ordered().model.onnx(Graph())


def test_as_many_places_as_there_are_notes_give_the_same(monkeypatch):
    """As on a GPU, whose number of sounding notes nobody waits for."""
    order = NotesInOrder(3, K, hidden_size=4)
    prepared = order.prepare(torch.randn(2, 3, K), torch.randn(2, 3, 3))
    y = torch.zeros(2, 3, K)
    y[0, 1, 2] = y[1, 2, 0] = y[1, 2, 4] = 1.0
    few = order(prepared, y)
    monkeypatch.setattr(torch.Tensor, "max", lambda *_: K)  # the largest number of sounding notes
    assert_close(order(prepared, y), few)


def test_steps_without_any_note_and_padding_of_any_kind_are_read():
    order = NotesInOrder(3, K, hidden_size=4)
    h, y = torch.randn(2, 3, 3), torch.zeros(2, 3, K)
    prepared = order.prepare(torch.randn(2, 3, K), h)
    silent = order(prepared, y)
    y[1, 2] = 1e6
    assert_close(order(prepared, y)[0], silent[0])
    assert order(prepared, y).isfinite().all()
