"""Unigram and bigram, against the formulas written out."""

import math
from collections import Counter

import pytest

from seqpipe.baselines.language import STRENGTHS
from seqpipe.data.fields.text import Text
from seqpipe.tasks.language_modeling import LanguageModeling

TRAIN = ["abracadabra", "banana bandana", "cab", "a drab crab"]
VALID = ["an abacab", "bar"]
TEST = ["banana crab", "drab x", "a"]


def rows(texts):
    return [{"text": text} for text in texts]


def ended(texts, known):
    """The symbols that are counted: unknown ones as <UNK>, and the end."""
    return [[c if c in known else "<UNK>" for c in text] + ["<EOS>"] for text in texts]


def nats(train, valid, test):
    """Mean nats a step of unigram and bigram."""
    known = set("".join(train))
    train, valid, test = (ended(texts, known) for texts in (train, valid, test))
    counts = {symbol: 0.5 for symbol in (*known, "<EOS>", "<UNK>")}
    counts |= Counter(symbol for text in train for symbol in text)
    total = sum(counts.values())
    alone = {symbol: count / total for symbol, count in counts.items()}
    pairs = Counter(pair for text in train for pair in zip(["<BOS>", *text], text, strict=False))
    first = Counter(a for text in train for a in ["<BOS>", *text[:-1]])
    following = Counter(a for a, _ in pairs)

    def p(a, b, s):
        if a not in first:
            return alone[b]
        w = first[a] / (first[a] + s * following[a])
        return w * pairs[a, b] / first[a] + (1 - w) * alone[b]

    def mean(texts, s=None):
        terms = [
            -math.log(alone[b] if s is None else p(a, b, s))
            for text in texts
            for a, b in zip(["<BOS>", *text], text, strict=False)
        ]
        return sum(terms) / len(terms)

    best = min(STRENGTHS, key=lambda s: mean(valid, s))
    return mean(test), mean(test, best)


@pytest.fixture(params=[{}, {"batch_size": 1}, {"batch_size": 2, "bptt": 3}])
def data(request, data_of):
    splits = {"train": rows(TRAIN), "valid": rows(VALID), "test": rows(TEST)}
    return data_of(Text("text"), **splits, **request.param)


def test_unigram_and_bigram_are_the_formulas_in_any_batches_and_in_lanes(data, metrics_of):
    found = metrics_of(LanguageModeling(y=data.spec.y), data)
    unigram, bigram = nats(TRAIN, VALID, TEST)
    assert found["unigram"]["loss"] == pytest.approx(unigram, rel=1e-6)
    assert found["bigram"]["loss"] == pytest.approx(bigram, rel=1e-6)
    assert found["bigram"]["perplexity"] == pytest.approx(math.exp(bigram), rel=1e-5)
    assert found["bigram"]["bits_per_character"] == pytest.approx(bigram / math.log(2), rel=1e-6)
    assert bigram < unigram


def test_a_piece_of_a_window_starts_as_a_model_does(data_of, metrics_of):
    """Its first step follows <BOS>, not the symbol that stands before it in the text."""
    splits = {"train": rows(TRAIN), "valid": rows(VALID)}
    whole = data_of(Text("text"), **splits, test=rows(["abab"]))
    cut = data_of(Text("text"), **splits, test=rows(["abab"]), window=2)
    found = [metrics_of(LanguageModeling(y=data.spec.y), data) for data in (whole, cut)]
    assert found[0]["unigram"] == found[1]["unigram"]
    assert found[0]["bigram"]["loss"] != pytest.approx(found[1]["bigram"]["loss"], rel=1e-3)


def test_a_bigram_predicts_the_most_likely_symbol(data_of, metrics_of):
    """After a there was always b, after b always the end; a is most frequent of all."""
    data = data_of(Text("text"), train=rows(["ab", "ab", "aab"]), test=rows(["ab", "b"]))
    found = metrics_of(LanguageModeling(y=data.spec.y), data)
    assert found["bigram"]["accuracy"] == pytest.approx(4 / 5)  # not the first step of "b"
    assert found["unigram"]["accuracy"] == pytest.approx(1 / 5)
