"""Reading its own guesses in place of the true y: what is read, and what it costs by position."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from seqpipe.data.base import SequenceBatch
from seqpipe.diagnostics import free_running
from seqpipe.diagnostics.free_running import by_position, losses_by_step
from seqpipe.models.architecture import RunsFree
from seqpipe.models.decoding import next_input

WRITES_Y = ["one_to_many", "one_to_many roll", "one_to_many category", "encoder_decoder additive"]


@pytest.mark.parametrize("shape", [*WRITES_Y, "one_to_many vector", "one_to_many roll category"])
def test_stepping_freely_gives_the_logits_of_reading_the_guesses_at_once(
    build, ragged, answer, randomise, cell, shape
):
    model, _, spec, _ = build(shape, cell, depth=2)
    batch = ragged(spec, torch.float64)
    randomise(model).eval()
    free = model.free_running(batch.x, batch.x_lengths, batch.y, batch.y_lengths)
    roll = spec.y.kind == "roll"
    batch.y = (free.sigmoid() >= 0.5).double() if roll else free.argmax(dim=-1)
    batch.y_lengths = torch.full((4,), 5)
    assert_close(answer(model, batch), free, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", WRITES_Y)
def test_the_first_position_is_the_same_in_both_and_later_ones_are_not(
    build, ragged, randomise, shape
):
    model, task, spec, _ = build(shape)
    batch = ragged(spec, torch.float64)
    found = by_position(randomise(model), batch)
    assert found.forced[0] == pytest.approx(found.free[0], rel=1e-12)
    assert not np.allclose(found.forced[1:], found.free[1:])
    assert found.count.tolist() == [4, 3, 2, 1, 1]  # y of 3, 5, 1 and 2 steps
    logits = model(batch.x, batch.x_lengths, batch.y, batch.y_lengths)
    loss = task.loss(logits, batch, training=False).item()
    assert found.scalars()["teacher_forced_loss"] == pytest.approx(loss, rel=1e-9)
    free = model.free_running(batch.x, batch.x_lengths, batch.y, batch.y_lengths)
    loss = task.loss(free, batch, training=False).item()
    assert found.scalars()["free_running_loss"] == pytest.approx(loss, rel=1e-9)


class Bigram(nn.Module):
    """Says what it reads and one more with probability p, of 8 symbols; deaf: always symbol 4."""

    y_size = 8

    def __init__(self, p, *, deaf=False):
        super().__init__()
        self.p, self.deaf = p, deaf

    def says(self, read):
        wanted = torch.full_like(read, 4) if self.deaf else (read + 1) % 8
        shares = torch.full((*read.shape, 8), (1 - self.p) / 7, dtype=torch.float64)
        return shares.scatter(-1, wanted.unsqueeze(-1), self.p).log()

    def forward(self, x, x_lengths, y, y_lengths):
        return self.says(next_input(y, 2))

    def free_running(self, x, x_lengths, y, y_lengths):
        read, steps = torch.full_like(y[:, 0], 2), []
        for _ in range(y.shape[1]):
            steps.append(self.says(read))
            read = steps[-1].argmax(dim=-1)
        return torch.stack(steps, dim=1)


def batch_of(*rows):
    lengths = torch.tensor([len(row) for row in rows])
    y = torch.full((len(rows), int(lengths.max())), 7)  # padding that would be seen
    for b, row in enumerate(rows):
        y[b, : len(row)] = torch.tensor(row)
    return SequenceBatch(None, None, y, lengths, torch.arange(len(rows)))


def test_a_model_that_ignores_what_it_reads_loses_nothing():
    model = Bigram(0.9, deaf=True)
    assert isinstance(model, RunsFree)
    found = by_position(model, batch_of([4, 5, 4], [6]))
    assert found.scalars()["exposure_gap"] == 0.0
    assert found.forced == pytest.approx(found.free)


def test_a_mistake_costs_what_it_costs_by_hand():
    """y is 5 6 7 after <BOS>=2: the first step says 3, and then 4 and 5 follow, never right."""
    right, wrong = -math.log(0.9), -math.log(0.1 / 7)
    found = by_position(Bigram(0.9), batch_of([5, 6, 7], [3]))
    assert found.forced == pytest.approx([(wrong + right) / 2, right, right])
    assert found.free == pytest.approx([(wrong + right) / 2, wrong, wrong])
    assert found.count.tolist() == [2, 1, 1]
    scalars = found.scalars()
    assert scalars["teacher_forced_loss"] == pytest.approx((wrong + 3 * right) / 4)
    assert scalars["free_running_loss"] == pytest.approx((3 * wrong + right) / 4)
    assert scalars["exposure_gap"] == pytest.approx((wrong - right) / 2)


def test_rows_taken_a_few_at_a_time_give_the_same(build, ragged, randomise, monkeypatch):
    model, _, spec, _ = build("encoder_decoder additive")
    batch = ragged(spec, torch.float64)
    whole = by_position(randomise(model), batch)
    monkeypatch.setattr(free_running, "MOST_NUMBERS", 1)
    parts = by_position(model, batch)
    assert parts.forced == pytest.approx(whole.forced)
    assert parts.free == pytest.approx(whole.free)
    assert parts.count.tolist() == whole.count.tolist()


def test_the_model_is_left_in_the_mode_it_was_in(build, ragged):
    model, _, spec, _ = build("one_to_many", dropout=0.9)
    model.train()
    model.head.eval()
    batch, before = ragged(spec), torch.get_rng_state()
    first, again = by_position(model, batch), by_position(model, batch)
    assert (first.free == again.free).all()  # without dropout
    assert (model.training, model.decoder.training, model.head.training) == (True, True, False)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_loss_of_a_roll_is_that_of_all_its_notes():
    logits, y = torch.tensor([[[0.0, 2.0]]]), torch.tensor([[[1.0, 0.0]]])
    by_hand = math.log(2) + math.log(1 + math.exp(2.0))
    assert losses_by_step(logits, y).item() == pytest.approx(by_hand)


def test_long_y_are_cut_where_they_are_read_often():
    """Rows evenly spread, the first steps of each."""
    rows = [[b] * n for b, n in enumerate([9, 2, 7, 9, 3, 9, 1, 4])]
    few = free_running.cut(batch_of(*rows), steps=4, total=13)
    assert few.y_lengths.tolist() == [4, 4, 4]
    assert few.y.tolist() == [[0] * 4, [2] * 4, [5] * 4]
    assert few.index.tolist() == [0, 2, 5]
