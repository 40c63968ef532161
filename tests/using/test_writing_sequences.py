"""Sequences that a model makes up, and how likely it finds those it is shown."""

import math

import numpy as np
import pytest
import torch

from seqpipe.data.base import SequenceBatch
from seqpipe.errors import ConfigError, DataError
from seqpipe.inference import scoring
from seqpipe.inference.generate import encoded_condition
from seqpipe.inference.scoring import probability_of, ranked

MANY, WARM = "an integer from 1 to 1000000", "a number in [1e-09, 10000]"
SHARE = "a number in [1e-06, 1]"


def batch_of(made, text: str, x: str | None = None) -> SequenceBatch:
    model = made.model
    y = model.y.encode_target({model.y.column: text}).long().unsqueeze(0)
    lengths = torch.tensor([y.shape[1]])
    if x is None:
        return SequenceBatch(None, None, y, lengths, torch.tensor([0]))
    read = model.x.encode({model.x.column: x}).long().unsqueeze(0)
    return SequenceBatch(read, torch.tensor([read.shape[1]]), y, lengths, torch.tensor([0]))


def loss_of(made, batch) -> float:
    model = made.model
    with torch.inference_mode():
        outputs = model.network(batch.x, batch.x_lengths, batch.y, batch.y_lengths)
        return float(model.task.loss(outputs, batch, training=False))


@pytest.mark.parametrize("name", ["lines", "words", "stream"])
@pytest.mark.parametrize("text", ["the cat sat on a mat", "a", "dog dog dog"])
def test_a_score_is_the_loss_of_the_task_turned_round(made, name, text):
    there = made(name)
    (score,) = there.model.score([text])
    assert score.per_token == pytest.approx(-loss_of(there, batch_of(there, text)), rel=1e-5)
    assert score.total == pytest.approx(score.per_token * len(score.tokens))
    assert score.perplexity == pytest.approx(math.exp(-score.per_token))
    assert score.tokens[-1] == "<EOS>"
    (again,) = there.opened.score([{there.model.y.column: text}])
    assert again == score


def test_a_translation_is_scored_given_its_x(made):
    there = made("translation")
    record = {"x": "the cat", "y": "cat the"}
    (score,) = there.model.score([record])
    batch = batch_of(there, "cat the", "the cat")
    assert score.per_token == pytest.approx(-loss_of(there, batch), rel=1e-5)
    (answer,) = there.model.predict(["the cat sat"])
    (same,) = there.model.score([{"x": "the cat sat", "y": answer["prediction"]}])
    if same.tokens[-1] == "<EOS>" and len(same.tokens) <= there.model.task.max_length:
        assert answer["score"] == pytest.approx(same.total, rel=1e-5)


def test_the_attention_of_an_empty_answer_is_that_of_its_end(made):
    weights, x, y = made("translation").model.attention({"x": "the cat"}, "")
    assert weights.shape == (1, 2)
    assert weights.sum() == pytest.approx(1.0)
    assert (x, y) == (["the", "cat"], ["<EOS>"])


def test_a_roll_is_scored_step_by_step(made):
    there = made("piano rolls")
    record = next(iter(there.data.source.read().test))
    (score,) = there.model.score([record])
    assert len(score.tokens) == len(record["roll"])
    batch = there.data.batch("test", [0])
    assert score.per_token == pytest.approx(-loss_of(there, batch), rel=1e-5)


@pytest.mark.parametrize("chunk", [1, 7])
def test_a_long_sequence_in_pieces_is_scored_as_a_whole(made, chunk, monkeypatch):
    model, text = made("lines").model, "the cat sat on a mat and saw no dog"
    (whole,) = model.score([text])
    monkeypatch.setattr(scoring, "CHUNK", chunk)
    (pieces,) = model.score([text])
    assert pieces.tokens == whole.tokens
    assert pieces.log_probabilities == pytest.approx(whole.log_probabilities, abs=1e-5)


def test_unknown_symbols_are_counted(made):
    (score,) = made("words").model.score(["the zebra sat zebra"])
    assert score.unknown == 2
    assert score.tokens[1] == "<UNK>"


def test_unknown_symbols_are_left_out_of_a_total_or_refused_as_asked(made):
    model, text = made("words").model, "the zebra sat zebra"
    (counted,), (skipped,) = model.score([text]), model.score([text], unknown="skip")
    known = [counted.log_probabilities[step] for step in (0, 2, 4)]  # the last is <EOS>
    assert skipped.total == pytest.approx(sum(known))
    assert skipped.per_token == pytest.approx(sum(known) / 3)
    assert counted.total == pytest.approx(sum(counted.log_probabilities))
    assert skipped.log_probabilities == counted.log_probabilities
    assert model.score(["the cat sat"], unknown="refuse") == model.score(["the cat sat"])
    with pytest.raises(DataError) as caught:
        model.score([text], unknown="refuse")
    assert caught.value.problems == [
        "text: holds 2 unknown symbols ('zebra'); allowed: known symbols, unknown=skip or"
        " unknown=count"
    ]
    with pytest.raises(ConfigError) as wrong:
        model.score([text], unknown="skp")
    assert wrong.value.problems == [
        "unknown=skp: no such policy; allowed: count, skip, refuse; did you mean 'skip'?"
    ]


def test_probabilities_are_those_of_the_totals_however_small(made):
    (score,) = made("lines").model.score(["the cat"])
    assert score.probability == pytest.approx(math.exp(score.total))
    assert float(probability_of(score.total)) == pytest.approx(score.probability, rel=0.05)
    assert probability_of(math.log(5.7e-10)) == "5.7e-10"
    assert probability_of(-1000 * math.log(10)) == "1.0e-1000"
    assert probability_of(0.0) == "1"
    assert probability_of(-math.inf) == "0"


def test_the_unknown_symbol_of_a_corpus_is_that_of_the_model(made):
    """A word that training never had and the <unk> that stood in its place are one symbol."""
    model = made("corpus with unknowns").model
    own, other = model.score(["the <unk> sat", "the zebra sat"])
    assert own.log_probabilities == other.log_probabilities
    assert own.tokens == other.tokens == ["the", "<unk>", "sat", "<EOS>"]
    assert own.unknown == other.unknown == 1
    assert [name for name in model.spec.y.names if "unk" in name.lower()] == ["<unk>"]
    drawn = " ".join(model.sample(40, seed=1, max_length=12))
    assert "unk" not in drawn.lower()
    assert "cat" in drawn
    allowed = " ".join(model.sample(40, seed=1, max_length=12, allow_unknown=True))
    assert "<unk>" in allowed
    assert "<UNK>" not in allowed


def test_what_cannot_be_scored_is_told(made):
    with pytest.raises(ConfigError) as caught:
        made("category of text").model.score(["a"])
    text = "gives no probability to sequences; allowed: one_to_many or encoder_decoder"
    assert caught.value.problems == [f"ManyToOne: {text}"]
    with pytest.raises(DataError):
        made("lines").model.score([{"txet": "a"}])


def test_a_text_without_the_one_that_it_is_given_is_refused_without_a_list_of_symbols(made):
    with pytest.raises(ConfigError) as caught:
        encoded_condition(made("translation").model.x, None)
    text = "the model needs a condition; allowed: an entry of the column x"
    assert caught.value.problems == [f"condition=null: {text}"]


def test_the_likeliest_comes_first(made):
    scores = made("lines").model.score(["the cat sat on", "a", "dog"])
    order = ranked(scores)
    assert sorted(order) == [0, 1, 2]
    totals = [scores[place].total for place in order]
    assert totals == sorted(totals, reverse=True)
    assert order != [0, 1, 2]


@pytest.mark.parametrize("name", ["lines", "words", "stream", "piano rolls"])
def test_the_same_seed_writes_the_same_and_another_seed_another(made, name):
    model = made(name).model
    first, again, other = (model.sample(4, seed=seed, max_length=12) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[0], again[0])
    assert all(np.array_equal(one, same) for one, same in zip(first, again, strict=True))
    assert not all(np.array_equal(one, same) for one, same in zip(first, other, strict=True))
    opened = made(name).opened.sample(4, seed=1, max_length=12)
    assert all(np.array_equal(one, same) for one, same in zip(first, opened, strict=True))


def test_no_sample_holds_an_unknown_symbol_unless_that_is_allowed(made):
    model = made("words").model
    with torch.no_grad():  # <UNK> would be drawn nearly always
        (bias,) = [
            p
            for name, p in model.network.named_parameters()
            if name.startswith("head") and p.ndim == 1
        ]
        there = bias.clone()
        bias[1] = 9.0
        try:
            assert "<UNK>" not in " ".join(model.sample(20, max_length=10))
            assert "<UNK>" in " ".join(model.sample(20, max_length=10, allow_unknown=True))
        finally:
            bias.copy_(there)


def test_a_prompt_is_what_a_sample_goes_on_from(made):
    """What comes next is drawn from what the model expects after it."""
    there = made("lines")
    model, prompt = there.model, "the ca"
    names = model.spec.y.names
    ids = model.y.encode({"text": prompt}).long().unsqueeze(0)
    with torch.inference_mode():
        logits = model.network(None, None, torch.cat([ids, ids[:, :1]], 1), torch.tensor([7]))
        logits = logits[0, 6].clone()
        logits[[0, 1, 2]] = -torch.inf
    expected = logits.softmax(-1)
    drawn = model.sample(3000, prompt=prompt, max_length=1, seed=0)
    for id_, name in enumerate(names):
        if id_ > 3:
            share = sum(text == name for text in drawn) / len(drawn)
            error = 4 * math.sqrt(float(expected[id_]) / len(drawn)) + 1e-3
            assert share == pytest.approx(float(expected[id_]), abs=error), name
    plain = model.sample(3000, max_length=1, seed=0)
    assert plain != drawn


def test_the_likeliest_symbol_alone_is_what_top_k_1_draws(made):
    there = made("lines")
    drawn = there.model.sample(3, top_k=1, max_length=8, seed=0)
    assert drawn == there.model.sample(3, top_k=1, max_length=8, seed=5)
    assert len(set(drawn)) == 1
    text = drawn[0]
    for place in range(len(text)):
        ids = there.model.y.encode({"text": text[: place + 1]}).long().unsqueeze(0)
        with torch.inference_mode():
            logits = there.model.network(None, None, ids, torch.tensor([place + 1]))[0, place]
            logits[[0, 1, 2]] = -torch.inf
        assert there.model.spec.y.names[int(logits.argmax())] == text[place]


@pytest.mark.parametrize(
    ("name", "options", "problem"),
    [
        ("lines", {"n": 0}, f"n=0: out of range; allowed: {MANY}"),
        ("lines", {"n": 1.5}, f"n=1.5: wrong type; allowed: {MANY}"),
        ("lines", {"max_length": 0}, f"max_length=0: out of range; allowed: {MANY}"),
        ("lines", {"n": 10**15}, f"n=1000000000000000: out of range; allowed: {MANY}"),
        ("lines", {"temperature": 1e-40}, f"temperature=1e-40: out of range; allowed: {WARM}"),
        ("lines", {"top_k": 0}, "top_k=0: out of range; allowed: an integer >= 1 or null"),
        (
            "lines",
            {"top_p": 0.0},
            f"top_p=0.0: out of range; allowed: {SHARE} or null",
        ),
        (
            "lines",
            {"top_p": 1.5},
            f"top_p=1.5: out of range; allowed: {SHARE} or null",
        ),
        (
            "lines",
            {"temperature": 0.0},
            f"temperature=0.0: out of range; allowed: {WARM}",
        ),
        (
            "lines",
            {"condition": "a"},
            "condition=a: the model has no condition; allowed: leave it out",
        ),
        (
            "lines",
            {"prompt": "the Q"},
            "prompt=the Q: 'Q' after 'the ' never occurred in training; allowed: known"
            " symbols, or allow_unknown=true",
        ),
        (
            "piano rolls",
            {"top_k": 2},
            "top_k=2: has no effect for a piano roll, whose notes are drawn one by one; allowed:"
            " leave it out",
        ),
        (
            "category of text",
            {},
            "ManyToOne: writes no new sequences; allowed: a model with architecture=one_to_many",
        ),
    ],
)
def test_what_cannot_be_sampled_is_told(made, name, options, problem):
    with pytest.raises((ConfigError, DataError)) as caught:
        made(name).model.sample(**options)
    assert caught.value.problems == [problem]


def test_an_unknown_symbol_of_a_prompt_is_read_where_that_is_allowed(made):
    assert len(made("lines").model.sample(2, prompt="the Q", allow_unknown=True)) == 2
