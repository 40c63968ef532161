"""A model that writes a piano roll reads its own last notes, silence first, and draws each note."""

import pytest
import torch
from torch.testing import assert_close

from seqpipe.errors import ConfigError
from seqpipe.models.decoding import draw_each, next_input

SHAPES = ["one_to_many roll", "one_to_many roll category"]


@pytest.fixture(params=SHAPES)
def written(request, build, randomise):
    """A random model of rolls, its specification, and a condition for three where it has one."""
    model, _, spec, _ = build(request.param, depth=2)
    return randomise(model).eval(), spec, None if spec.x is None else torch.tensor([0, 2, 1])


def test_the_first_step_reads_silence_and_each_other_the_notes_before_it():
    y = torch.tensor([[[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]])
    assert next_input(y, 0).tolist() == [[[0, 0], [1, 0], [1, 1]]]


@pytest.mark.parametrize("shape", SHAPES)
def test_stepping_through_a_roll_gives_the_logits_of_reading_it_at_once(
    build, ragged, answer, randomise, cell, shape
):
    model, task, spec, _ = build(shape, cell, depth=2)
    randomise(model).eval()
    batch = ragged(spec, torch.float64)
    state = model._first_state(batch.x) or model.decoder.initial_state(len(batch))
    stepped, notes = [], torch.zeros_like(batch.y[:, 0])
    for t in range(batch.y.shape[1]):
        output, state = model.decoder.step(notes, state)
        stepped.append(model.head(output))
        notes = batch.y[:, t]
    mask = task.mask(batch)
    wanted = answer(model, batch)[mask]
    assert_close(torch.stack(stepped, dim=1)[mask], wanted, rtol=0, atol=1e-12)


def test_a_roll_is_predicted_from_the_past_only(build, ragged, answer, randomise, cell):
    model, _, spec, _ = build("one_to_many roll", cell)
    randomise(model).eval()
    batch = ragged(spec, torch.float64)
    before = answer(model, batch)
    batch.y = batch.y.clone()
    batch.y[1, 2, 3] = 1 - batch.y[1, 2, 3]
    changed = answer(model, batch).sub(before).abs().gt(1e-9)
    assert not changed[1, :3].any()  # y_3 is predicted at step 3
    assert changed[1, 3:5].any(dim=-1).all()
    assert not changed[[0, 2, 3]].any()


def test_a_cold_sample_has_the_notes_that_the_model_thinks_likely(written):
    model, _, x = written
    y, lengths = model.sample(x, count=3, max_length=12, temperature=1e-9)
    assert y.shape == (3, 12, 5)
    assert lengths.tolist() == [12, 12, 12]  # nothing ends a roll
    assert torch.equal(model(x, None, y, lengths) > 0, y == 1)
    assert 0 < y.mean() < 1


def test_a_sample_is_drawn_from_what_the_model_says_of_it(written):
    model, _, x = written
    x = None if x is None else x[:1].expand(4000)
    y, lengths = model.sample(x, count=4000, max_length=2)
    said = model(x, None, y, lengths).sigmoid()
    assert_close(y.mean(dim=0), said.mean(dim=0), rtol=0, atol=0.03)
    assert y.unique().tolist() == [0, 1]


def test_the_same_generator_draws_the_same_roll(written):
    model, _, x = written

    def drawn(seed):
        generator = torch.Generator().manual_seed(seed)
        return model.sample(x, count=3, max_length=9, generator=generator)[0]

    assert torch.equal(drawn(0), drawn(0))
    assert not torch.equal(drawn(0), drawn(1))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_temperature_sharpens_and_flattens_each_note(temperature):
    logits = torch.tensor([[-1.0, 0.0, 2.0]]).expand(20_000, 3)
    generator = torch.Generator().manual_seed(0)
    drawn = draw_each(logits, temperature=temperature, generator=generator)
    wanted = torch.sigmoid(logits[0] / temperature)
    assert_close(drawn.mean(dim=0), wanted, rtol=0, atol=0.015)
    together = (drawn[:, 1] * drawn[:, 2]).mean()  # each on its own
    assert_close(together, wanted[1] * wanted[2], rtol=0, atol=0.015)


def test_a_roll_is_not_embedded(build):
    with pytest.raises(ConfigError, match=r"architecture\.embedding_size=8: "):
        build("one_to_many roll", **{"architecture.embedding_size": 8})
