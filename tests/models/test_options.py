"""Every option of a model does something, and what it says."""

import pytest
import torch
from torch.testing import assert_close

from seqpipe.data.vocabulary import BOS, PAD
from seqpipe.errors import ShapeError
from seqpipe.models.decoding import next_input

ARCHITECTURES = [
    "many_to_one last",
    "many_to_one mean",
    "many_to_one max",
    "many_to_many",
    "many_to_many crf",
    "one_to_many",
    "encoder_decoder none",
    "encoder_decoder additive",
]


def logits_of(built, ragged, answer, seed=0, training=False):
    built.model.train(training)
    torch.manual_seed(seed)
    return answer(built.model, ragged(built.spec))


@pytest.mark.parametrize("shape", ARCHITECTURES)
@pytest.mark.parametrize("depth", [1, 2])
def test_dropout_acts_in_training_and_only_there(build, ragged, answer, shape, depth):
    torch.manual_seed(0)
    built = build(shape, dropout=0.5, depth=depth)
    torch.manual_seed(0)
    plain = build(shape, depth=depth)
    evaluated = logits_of(built, ragged, answer)
    assert_close(evaluated, logits_of(plain, ragged, answer), rtol=0, atol=0)
    trained = logits_of(built, ragged, answer, training=True)
    assert not torch.allclose(trained, evaluated)
    assert not torch.allclose(trained, logits_of(built, ragged, answer, seed=1, training=True))
    assert_close(
        logits_of(plain, ragged, answer, training=True), evaluated, rtol=0, atol=1e-6
    )  # without dropout training and evaluation agree


@pytest.mark.parametrize("attention", ["none", "additive"])
def test_dropout_of_the_encoder_alone_acts_at_depth_one(build, ragged, answer, attention):
    built = build(f"encoder_decoder {attention}", **{"architecture.encoder.dropout": 0.5})
    assert built.cfg.dropout == 0.0
    evaluated = logits_of(built, ragged, answer)
    assert not torch.allclose(logits_of(built, ragged, answer, training=True), evaluated)


@pytest.mark.parametrize("shape", ARCHITECTURES)
def test_layers_of_the_head_are_built_and_used(build, ragged, answer, shape):
    width = 5
    plain, deep = build(shape).model, build(shape, **{"architecture.head.hidden": [width, 3]})
    last = plain.head.output.in_features
    added = (last * width + width) + (width * 3 + 3)
    change = (3 - last) * plain.head.output.out_features
    sizes = [sum(p.numel() for p in model.parameters()) for model in (plain, deep.model)]
    assert sizes[1] - sizes[0] == added + change
    logits = logits_of(deep, ragged, answer)
    with torch.no_grad():
        deep.model.head.layers[0].weight.mul_(-1.0)
    assert not torch.allclose(logits_of(deep, ragged, answer), logits)


@pytest.mark.parametrize(
    ("shape", "tables"),
    [
        ("many_to_one text", ["input"]),
        ("many_to_many text", ["input"]),
        ("one_to_many", ["input"]),
        ("encoder_decoder additive", ["input", "target"]),
        ("encoder_decoder values", ["target"]),
    ],
)
def test_embedding_size_is_the_width_of_a_symbol(build, ragged, answer, shape, tables):
    built = build(shape, **{"architecture.embedding_size": 7})
    for table in tables:
        assert getattr(built.model, table).embedding.weight.shape == (9, 7)
        assert getattr(build(shape).model, table).embedding.weight.shape == (9, 9)  # V < 128
    assert logits_of(built, ragged, answer).isfinite().all()


def test_pooling_sums_up_as_it_says(build, ragged, answer, randomise):
    answers = {}
    for pooling in ("last", "mean", "max", "flatten"):
        model = randomise(build(f"many_to_one {pooling}", bidirectional=True).model).eval()
        torch.manual_seed(1)
        randomise(model)
        batch = ragged(build("many_to_one last").spec, torch.float64)
        outputs, _ = model.encoder(batch.x, batch.x_lengths)
        wanted = []
        for b, n in enumerate(batch.x_lengths.tolist()):
            real = outputs[b, :n]
            summary = {
                "last": torch.cat([real[-1, :8], real[0, 8:]]),  # where each direction ends
                "mean": real.mean(dim=0),
                "max": real.amax(dim=0),
                "flatten": torch.cat([real.flatten(), real.new_zeros((6 - n) * 16)]),
            }[pooling]
            wanted.append(model.head(summary))
        answers[pooling] = answer(model, batch)
        assert_close(answers[pooling], torch.stack(wanted), rtol=0, atol=1e-12)
    assert not torch.allclose(answers["last"], answers["mean"])
    assert not torch.allclose(answers["mean"], answers["max"])


def test_flattening_reads_padding_beyond_its_steps_and_refuses_real_ones(build):
    model = build("many_to_one flatten").model.eval()
    x, lengths = torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(0)), [6, 2]
    assert_close(model(x, torch.tensor(lengths)), model(x[:, :6], torch.tensor(lengths)))
    with pytest.raises(ShapeError, match=r"x has 7 steps; .*flatten reads at most 6 \(data.max"):
        model(x, torch.tensor([7, 2]))


def test_the_kinds_of_attention_answer_differently(build, ragged, answer):
    answers = []
    for kind in ("none", "dot", "general", "additive"):
        torch.manual_seed(0)
        answers.append(logits_of(build(f"encoder_decoder {kind}"), ragged, answer))
    for a in range(4):
        for b in range(a):
            assert not torch.allclose(answers[a], answers[b]), (a, b)


@pytest.mark.parametrize("shape", ["encoder_decoder none", "encoder_decoder additive"])
def test_reading_the_truth_step_by_step_is_reading_it_at_once(build, ragged, randomise, shape):
    model, task, spec, _ = build(shape, "gru", depth=2)
    randomise(model).train()
    batch = ragged(spec, torch.float64)
    keys, state = model._encode(batch.x, batch.x_lengths)
    stepped = model._forced_in_part(keys, state, batch.y, share=1.0)
    at_once = model(batch.x, batch.x_lengths, batch.y, batch.y_lengths)
    real = task.mask(batch)
    assert_close(stepped[real], at_once[real], rtol=0, atol=1e-12)


def test_without_teacher_forcing_a_training_step_reads_its_own_guesses(build, ragged, randomise):
    model, _, spec, _ = build("encoder_decoder additive", **{"architecture.teacher_forcing": 0.0})
    randomise(model).train()
    with torch.no_grad():
        model.head.output.bias[[PAD, BOS]] = -100.0  # greedy decoding never writes them
    batch = ragged(spec, torch.float64)
    logits = model(batch.x, batch.x_lengths, batch.y, batch.y_lengths)
    guesses = logits.argmax(dim=-1)
    assert not torch.equal(next_input(guesses, 2), next_input(batch.y, 2))
    model.eval()  # reads what it is given
    told = model(batch.x, batch.x_lengths, guesses, torch.full_like(batch.y_lengths, 5))
    assert_close(logits, told, rtol=0, atol=1e-12)
    greedy, _ = model.greedy(batch.x, batch.x_lengths, max_length=5)
    assert torch.equal(greedy, guesses[:, : greedy.shape[1]])


def test_teacher_forcing_in_part_mixes_truth_and_guess(build, ragged, randomise):
    model, _, spec, _ = build("encoder_decoder additive", **{"architecture.teacher_forcing": 0.5})
    randomise(model)
    batch = ragged(spec, torch.float64)
    seen = []
    for forcing in (0.0, 0.5, 1.0):
        model.train().teacher_forcing = forcing
        torch.manual_seed(0)
        seen.append(model(batch.x, batch.x_lengths, batch.y, batch.y_lengths))
    for a in range(3):
        assert_close(seen[a][:, 0], seen[0][:, 0])  # the first step reads <BOS> in any case
        for b in range(a):
            assert not torch.allclose(seen[a], seen[b]), (a, b)
