"""What is drawn and after what; what a model says of given answers."""

import pytest
import torch
from torch.testing import assert_close

from seqpipe.data.vocabulary import EOS
from seqpipe.errors import ConfigError, TrainingError
from seqpipe.models import one_to_many
from seqpipe.models.decoding import bans, draw, draw_each
from seqpipe.nn.head import prepared_head

CPU = torch.device("cpu")
SHARES = torch.tensor([0.05, 0.4, 0.15, 0.1, 0.3])  # the order of likelihood: 1, 4, 2, 3, 0


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"top_k": 1}, {1: 1.0}),
        ({"top_k": 3}, {1: 0.4 / 0.85, 4: 0.3 / 0.85, 2: 0.15 / 0.85}),
        ({"top_k": 9}, dict(enumerate(SHARES.tolist()))),
        ({"top_p": 0.3}, {1: 1.0}),
        ({"top_p": 0.41}, {1: 0.4 / 0.7, 4: 0.3 / 0.7}),
        ({"top_p": 0.84}, {1: 0.4 / 0.85, 4: 0.3 / 0.85, 2: 0.15 / 0.85}),
        ({"top_p": 1.0}, dict(enumerate(SHARES.tolist()))),
        # of the three likeliest the first two have 0.7 / 0.85 = 0.82 of it together
        ({"top_k": 3, "top_p": 0.8}, {1: 0.4 / 0.7, 4: 0.3 / 0.7}),
        # what is banned is gone before: the likeliest is 4, with half of what is left
        ({"top_k": 1, "banned": bans(5, (1,), CPU)}, {4: 1.0}),
        ({"top_p": 0.6, "banned": bans(5, (1,), CPU)}, {4: 0.3 / 0.45, 2: 0.15 / 0.45}),
        # and the temperature is applied before: 0.16, 0.09, 0.0225, 0.01, 0.0025 of 0.285
        ({"top_p": 0.6, "temperature": 0.5}, {1: 0.16 / 0.25, 4: 0.09 / 0.25}),
    ],
)
def test_only_the_likeliest_are_drawn_each_with_its_share(options, wanted):
    """By hand: those kept, and their shares of what they have together."""
    options = {"temperature": 1.0, **options}
    logits = SHARES.log().expand(20_000, 5)
    generator = torch.Generator().manual_seed(0)
    ids = draw(logits, generator=generator, **options)
    counts = torch.bincount(ids, minlength=5) / len(ids)
    assert {k for k in range(5) if counts[k] > 0} == set(wanted)
    for k, share in wanted.items():
        assert counts[k].item() == pytest.approx(share, abs=0.015)


def test_rows_are_cut_each_on_its_own_and_ties_are_not_widened():
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [9.0, 0.0, 0.0, 0.0]]).repeat(500, 1)
    ids = draw(logits, temperature=1.0, top_p=0.7).view(500, 2)
    assert set(ids[:, 0].tolist()) == {0, 1, 2}  # three of 1/4 reach 0.7
    assert set(ids[:, 1].tolist()) == {0}
    ids = draw(logits, temperature=1.0, top_k=2).view(500, 2)
    assert set(ids[:, 0].tolist()) == {0, 1}


@pytest.mark.parametrize(
    "shape", ["one_to_many", "one_to_many category", "one_to_many roll", "one_to_many vector"]
)
@pytest.mark.parametrize(("P", "count"), [(0, 40), (1, 1), (4, 40), (4, 1)])
def test_what_follows_a_prompt_is_drawn_as_if_all_were_read_at_each_step(
    build, randomise, cell, shape, P, count
):
    """Whatever state is carried: the same draws as from the model that reads both at once."""
    model, _, spec, _ = build(shape, cell, depth=2)
    randomise(model).eval()
    generator = torch.Generator().manual_seed(4)
    roll = spec.y.kind == "roll"
    prompt = torch.randint(4, 9, (count, P), generator=generator)
    if roll:
        prompt = torch.randint(0, 2, (count, P, 5), generator=generator).double()
    x = None
    if spec.x is not None and spec.x.kind == "category":
        x = torch.randint(0, 3, (count,), generator=generator)
    elif spec.x is not None:
        x = torch.randn(count, 2, generator=generator).double()
    drawn, lengths = model.sample(
        x,
        count=count,
        prompt=prompt,
        max_length=6,
        stop=False,
        generator=torch.Generator().manual_seed(0),
    )
    assert lengths.tolist() == [6] * count
    whole, chance = prompt, torch.Generator().manual_seed(0)
    for t in range(P, P + 6):
        y = torch.cat([whole, torch.zeros_like(drawn[:, :1])], dim=1)
        logits = model(x, None, y, torch.full((count,), t + 1))[:, t]
        options = {"temperature": 1.0, "generator": chance}
        y_t = draw_each(logits, **options) if roll else draw(logits, **options)
        whole = torch.cat([whole, y_t.unsqueeze(1)], dim=1)
    assert torch.equal(whole[:, P:], drawn)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_a_draw_is_the_one_of_torch_for_the_same_random_state(temperature):
    logits = torch.randn(50, 30)
    ours, theirs = (torch.Generator().manual_seed(1) for _ in range(2))
    for _ in range(5):
        shares = torch.softmax(logits / temperature, dim=-1)
        wanted = torch.multinomial(shares, 1, generator=theirs).squeeze(1)
        assert draw(logits, temperature=temperature, generator=ours).equal(wanted)


@pytest.mark.parametrize("part", ["head.output.bias", "decoder.layers.0.forwards.cell.bias"])
def test_a_model_whose_outputs_are_nan_samples_nothing(build, part):
    model = build("one_to_many").model.eval()
    with torch.no_grad():
        model.get_parameter(part).fill_(torch.nan)
    with pytest.raises(TrainingError, match="the model: its outputs are NaN"):
        model.sample(count=2, max_length=3, banned=(0,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_single_sample_in_low_precision_is_read_as_it_is_written(build, monkeypatch, dtype):
    """The logits of each step are those of the whole, up to rounding."""
    model = build("one_to_many").model.eval().to(dtype)
    seen = []

    def remembering(head, rows, steps):
        prepared = prepared_head(head, rows, steps)
        return lambda output: (seen.append(prepared(output)), seen[-1])[1]

    monkeypatch.setattr(one_to_many, "prepared_head", remembering)
    y, lengths = model.sample(max_length=50, stop=False)
    whole = model(None, None, y, lengths)
    tolerance = 1e-5 if dtype == torch.float32 else 0.03
    assert_close(torch.stack(seen, dim=1), whole, rtol=0, atol=tolerance)


def test_the_end_within_a_prompt_does_not_end_the_sample(build, randomise):
    model = randomise(build("one_to_many").model).eval()
    prompt = torch.tensor([[4, EOS]])
    ids, lengths = model.sample(prompt=prompt, max_length=5, banned=(EOS,))
    assert ids.shape == (1, 5)
    assert lengths.tolist() == [5]


@pytest.mark.parametrize(
    "shape",
    [
        "one_to_many",
        "one_to_many category",
        "one_to_many roll",
        "encoder_decoder none",
        "encoder_decoder additive",
    ],
)
def test_log_probabilities_are_those_of_the_true_steps(build, ragged, answer, randomise, shape):
    model, task, spec, _ = build(shape, depth=2)
    randomise(model).eval()
    batch = ragged(spec, torch.float64)
    given = (batch.x, batch.x_lengths, batch.y, batch.y_lengths)
    scores = model.log_probabilities(*given)
    assert scores.dtype == torch.float64
    assert scores.shape == (4, 5)
    mask = task.mask(batch)
    assert (scores[~mask] == 0).all()
    logits = answer(model, batch)
    if spec.y.kind == "roll":
        p = logits.sigmoid()
        wanted = torch.where(batch.y == 1, p, 1 - p).log().sum(dim=-1)
    else:
        wanted = logits.softmax(dim=-1).gather(2, batch.y.unsqueeze(2)).squeeze(2).log()
    assert_close(scores[mask], wanted[mask], rtol=0, atol=1e-12)
    batch.y = batch.y.masked_fill(~mask.view(*mask.shape, *[1] * (batch.y.ndim - 2)), 1)
    assert model.log_probabilities(*given[:2], batch.y, batch.y_lengths).equal(scores)


def test_the_probabilities_of_all_short_texts_add_up_to_one(build, randomise):
    """Over every text that ends within two steps, and every beginning of the others."""
    model = randomise(build("one_to_many").model).eval()
    V = model.y_size
    texts = [[EOS, 0]] + [[a, b] for a in range(V) for b in range(V) if a != EOS]
    lengths = torch.tensor([1] + [2] * (len(texts) - 1))
    scores = model.log_probabilities(None, None, torch.tensor(texts), lengths).sum(dim=1)
    assert scores.exp().sum().item() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("decoding", ["greedy", "beam"])
def test_additive_attention_maps_the_keys_once_for_all_steps(build, ragged, randomise, decoding):
    model, _, spec, _ = build("encoder_decoder additive", "lstm")
    randomise(model).eval()
    batch = ragged(spec, torch.float64)
    mapped = []
    model.attention.map_key.register_forward_hook(lambda *_: mapped.append(1))
    options = {"beam_size": 3} if decoding == "beam" else {}
    getattr(model, decoding)(batch.x, batch.x_lengths, 7, banned=(3,), **options)
    assert len(mapped) == 1


@pytest.mark.parametrize("forcing", [0.0, 1.0])
@pytest.mark.parametrize("attention", ["dot", "general", "additive"])
def test_the_attention_of_given_answers_is_what_their_steps_look_at(
    build, ragged, randomise, cell, attention, forcing
):
    """Weights add up to one over real steps, alone as in company; the model reads with them."""
    changes = {"bidirectional": True, "architecture.decoder.bidirectional": False}
    changes["architecture.teacher_forcing"] = forcing
    model, _, spec, _ = build(f"encoder_decoder {attention}", cell, **changes)
    randomise(model).eval()
    batch = ragged(spec, torch.float64)
    weights = model.attention_of(batch.x, batch.x_lengths, batch.y, batch.y_lengths)
    assert weights.shape == (4, 5, 5)
    seen = []
    attend = model.attention.forward
    model.attention.forward = lambda *given: (seen.append(attend(*given)), seen[-1])[1]
    model(batch.x, batch.x_lengths, batch.y, batch.y_lengths)
    del model.attention.forward
    for b in range(4):
        T_x, T_y = int(batch.x_lengths[b]), int(batch.y_lengths[b])
        row = slice(b, b + 1)
        alone = model.attention_of(
            batch.x[row, :T_x], batch.x_lengths[row], batch.y[row, :T_y], batch.y_lengths[row]
        )
        assert_close(alone[0], weights[b, :T_y, :T_x], rtol=0, atol=1e-12)
        assert_close(alone[0].sum(dim=1), torch.ones(T_y).double(), rtol=0, atol=1e-12)
        assert_close(seen[0][1][b, :T_y, :T_x], alone[0], rtol=0, atol=1e-12)
        assert not weights[b, T_y:].any()
        assert not weights[b, :, T_x:].any()


def test_a_model_without_attention_has_none_to_show(build, ragged):
    model, _, spec, _ = build("encoder_decoder none")
    batch = ragged(spec)
    with pytest.raises(ConfigError) as refused:
        model.attention_of(batch.x, batch.x_lengths, batch.y, batch.y_lengths)
    assert refused.value.problems == [
        "architecture.attention=none: the model has no weights to show; allowed: a model trained"
        " with architecture.attention=dot, general or additive"
    ]
