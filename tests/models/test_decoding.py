"""Sampling and greedy decoding say what the model says when it is given the truth."""

import pytest
import torch
from torch.testing import assert_close

from seqpipe.data.vocabulary import BOS, EOS, PAD, UNK
from seqpipe.models.decoding import bans, draw, draw_each, lengths_to_end, next_input

CONDITIONED = ["one_to_many", "one_to_many category", "one_to_many roll"]


@pytest.mark.parametrize("shape", CONDITIONED)
def test_a_cold_sample_is_the_likeliest_that_the_model_says_of_it(build, randomise, cell, shape):
    model, _, spec, _ = build(shape, cell, depth=2)
    randomise(model).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("weight_hidden"):
                weight.mul_(3.0)  # so that the past is seen in the likeliest symbol
    x = None if spec.x is None else torch.tensor([0, 2, 1])
    y, lengths = model.sample(x, count=3, max_length=12, temperature=1e-6, stop=False)
    assert lengths.tolist() == [12, 12, 12]
    logits = model(x, None, y, lengths)
    likeliest = (logits > 0).to(y.dtype) if spec.y.is_roll else logits.argmax(dim=-1)
    assert torch.equal(likeliest, y)
    assert not spec.y.is_roll or 0 < y.mean() < 1


def test_a_condition_changes_what_is_written(build, randomise):
    model = randomise(build("one_to_many category").model).eval()
    y, lengths = torch.tensor([[4, 5, EOS]] * 3), torch.tensor([3] * 3)
    logits = model(torch.tensor([0, 1, 2]), None, y, lengths)
    assert (logits[0] - logits[1]).abs().min() > 1e-6
    assert (logits[1] - logits[2]).abs().min() > 1e-6


def test_a_sample_holds_no_banned_symbol(build, randomise):
    model = randomise(build("one_to_many").model).eval()
    free, _ = model.sample(count=50, max_length=20, stop=False)
    assert {PAD, UNK, BOS} <= set(free.unique().tolist())  # they would be drawn
    kept, _ = model.sample(count=50, max_length=20, stop=False, banned=(PAD, UNK, BOS))
    assert not {PAD, UNK, BOS} & set(kept.unique().tolist())


def test_a_sample_ends_at_its_first_end_or_at_the_most_it_may_have(build, randomise):
    model = randomise(build("one_to_many").model).eval()
    ids, lengths = model.sample(count=40, max_length=60)
    assert ids.shape[1] == lengths.max() < 60
    for row, n in zip(ids, lengths.tolist(), strict=True):
        assert row[n - 1] == EOS
        assert not (row[: n - 1] == EOS).any()
    ids, lengths = model.sample(count=3, max_length=5, banned=(EOS,))
    assert ids.shape == (3, 5)
    assert lengths.tolist() == [5, 5, 5]


@pytest.mark.parametrize("shape", ["one_to_many", "one_to_many roll"])
def test_the_same_generator_draws_the_same_sample_and_another_seed_another(build, randomise, shape):
    model = randomise(build(shape).model).eval()

    def drawn(seed):
        generator = torch.Generator().manual_seed(seed)
        return model.sample(count=4, max_length=20, stop=False, generator=generator)[0]

    torch.rand(7)  # the global generator has no say
    assert torch.equal(drawn(0), drawn(0))
    assert not torch.equal(drawn(0), drawn(1))


def test_temperature_sharpens_and_flattens_the_distribution():
    logits = torch.tensor([[0.0, 1.0, 2.0]]).expand(20_000, 3)

    def shares(temperature):
        ids = draw(
            logits,
            temperature=temperature,
            generator=torch.Generator().manual_seed(0),
        )
        return torch.bincount(ids, minlength=3) / len(ids)

    for temperature in (0.5, 1.0, 2.0):
        wanted = torch.softmax(logits[0] / temperature, dim=-1)
        assert_close(shares(temperature), wanted, rtol=0, atol=0.015)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_temperature_sharpens_and_flattens_each_note(temperature):
    logits = torch.tensor([[-1.0, 0.0, 2.0]]).expand(20_000, 3)
    generator = torch.Generator().manual_seed(0)
    drawn = draw_each(logits, temperature=temperature, generator=generator)
    wanted = torch.sigmoid(logits[0] / temperature)
    assert_close(drawn.mean(dim=0), wanted, rtol=0, atol=0.015)
    together = (drawn[:, 1] * drawn[:, 2]).mean()  # each on its own
    assert_close(together, wanted[1] * wanted[2], rtol=0, atol=0.015)


def test_draw_leaves_its_logits_alone():
    logits = torch.zeros(2, 3)
    draw(logits, temperature=1.0, banned=bans(3, (0,), logits.device), top_k=1, top_p=0.5)
    assert torch.equal(logits, torch.zeros(2, 3))


def test_each_step_reads_the_one_before_and_the_first_the_beginning_or_silence():
    y = torch.tensor([[7, 8, 9], [5, 6, 0]])
    assert next_input(y, BOS).tolist() == [[BOS, 7, 8], [BOS, 5, 6]]
    roll = torch.tensor([[[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]])
    assert next_input(roll, 0).tolist() == [[[0, 0], [1, 0], [1, 1]]]


@pytest.mark.parametrize(
    ("ids", "length"),
    [([4, EOS, 5], 2), ([EOS, EOS, EOS], 1), ([4, 5, 6], 3), ([4, 5, EOS], 3), ([4, 5, EOS, 6], 3)],
)
def test_a_length_counts_up_to_the_first_end(ids, length):
    assert lengths_to_end(torch.tensor([ids]), EOS).tolist() == [length]


@pytest.fixture
def translator(build, randomise):
    """An encoder-decoder that answers random nonsense, and what it reads."""

    def make(shape="encoder_decoder additive", cell="lstm", **changes):
        model = randomise(build(shape, cell, **changes).model).eval()
        generator = torch.Generator().manual_seed(5)
        x = torch.randint(4, 9, (30, 6), generator=generator)
        return model, x, torch.randint(1, 7, (30,), generator=generator).clamp(max=6)

    return make


@pytest.mark.parametrize("attention", ["none", "dot", "general", "additive"])
def test_greedy_decoding_is_the_argmax_of_the_model_that_reads_it(translator, cell, attention):
    model, x, x_lengths = translator(f"encoder_decoder {attention}", cell, depth=2)
    ids, lengths = model.greedy(x, x_lengths, max_length=8)
    with torch.no_grad():
        logits = model(x, x_lengths, ids, torch.full_like(lengths, ids.shape[1]))
    logits[..., [PAD, BOS]] = -torch.inf  # never written
    assert torch.equal(logits.argmax(dim=-1), ids)


@pytest.fixture
def stopper(translator):
    """As `translator`, and so sure of <EOS> that some answers end within six steps, some do not."""

    def make(cell):
        model, x, x_lengths = translator(cell=cell)
        with torch.no_grad():
            model.head.output.weight.mul_(4.0)  # so that answers differ
        for bias in torch.linspace(-9.0, 9.0, 181):
            with torch.no_grad():
                model.head.output.bias[EOS] = bias
            ids, lengths = model.greedy(x, x_lengths, max_length=6)
            ended = (ids == EOS).any(dim=1)
            if ended.any() and not ended.all() and lengths.unique().numel() > 2:
                return model, x, x_lengths
        raise AssertionError("no bias does it")

    return make


def test_greedy_decoding_stops_at_the_end_and_no_later_than_told(stopper):
    model, x, x_lengths = stopper("lstm")
    ids, lengths = model.greedy(x, x_lengths, max_length=6)
    ended = (ids == EOS).any(dim=1)
    assert ids.shape[1] == 6
    assert (lengths[~ended] == 6).all()
    assert (ids[torch.arange(len(ids)), lengths - 1] == EOS).equal(ended)
    with torch.no_grad():
        model.head.output.bias[EOS] += 100.0
    ids, lengths = model.greedy(x, x_lengths, max_length=6)
    assert ids.tolist() == [[EOS]] * len(x)
    assert lengths.tolist() == [1] * len(x)


def test_greedy_decoding_of_a_sequence_does_not_depend_on_the_others(stopper):
    model, x, x_lengths = stopper("gru")
    ids, lengths = model.greedy(x, x_lengths, max_length=6)
    for b in range(len(x)):
        alone, length = model.greedy(x[b : b + 1, : x_lengths[b]], x_lengths[b : b + 1], 6)
        assert length == lengths[b]
        assert alone[0, : lengths[b]].equal(ids[b, : lengths[b]])
