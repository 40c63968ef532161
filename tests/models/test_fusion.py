"""A language model in the CTC beam, against every y with all its paths and its probability."""

import itertools
import math

import pytest
import torch
from torch.testing import assert_close

from seqpipe.models.fusion import LanguageModel
from seqpipe.nn.ctc import ctc_loss, prefix_beam

PAD, UNK, BOS, EOS = range(4)
V = 7  # of y: three symbols besides
IDS = torch.tensor([0, 1, 2, 3, 8, 4, 6])  # of y in the language model, which knows more


@pytest.fixture
def writer(build, randomise):
    def make(cell="lstm", depth=1):
        network = randomise(build("one_to_many", cell, depth=depth).model).eval()
        with torch.no_grad():
            network.head.output.weight.mul_(3)
        return network

    return make


def logits_of(T, rows=3, seed=4):
    generator = torch.Generator().manual_seed(seed)
    return 0.7 * torch.randn(rows, T, V, generator=generator, dtype=torch.float64)


def every_score(network, logits, weight, bonus, ends):
    """log p(y | x) + weight log p(y) + bonus |y| of every y; logits: (T, V) of one x."""
    T, found = len(logits), {}
    for n in range(T + 1):
        for y in itertools.product(range(EOS + 1, V), repeat=n):
            ids, length = torch.tensor([[*y, *[4] * (T - n)]]), torch.tensor([n])
            log_p = -ctc_loss(logits[None], torch.tensor([T]), ids, length, blank=PAD)[0]
            if log_p == -math.inf:
                continue
            read = torch.tensor([[*IDS[list(y)].tolist(), EOS]])
            said = network.log_probabilities(None, None, read, torch.tensor([n + 1]))[0]
            found[y] = float(log_p + weight * said[: n + ends].sum() + bonus * n)
    return sorted(found.items(), key=lambda each: -each[1])


@pytest.mark.parametrize(
    ("cell", "depth", "weight", "bonus", "ends"),
    [("lstm", 1, 0.5, 0.0, True), ("gru", 2, 1.5, 0.7, True), ("rnn", 1, 0.8, -0.3, False)],
)
def test_a_wide_beam_finds_every_y_with_its_score(writer, cell, depth, weight, bonus, ends):
    network, logits = writer(cell, depth), logits_of(4)
    lengths = torch.tensor([4, 2, 3])
    scorer = LanguageModel(network, IDS, weight=weight, bonus=bonus, ends=ends)
    found = prefix_beam(
        *(logits, lengths),
        blank=PAD,
        beam_size=130,
        n_best=130,
        banned=(UNK, BOS, EOS),
        scorer=scorer,
    )
    for b, T in enumerate(lengths.tolist()):
        wanted = every_score(network, logits[b, :T], weight, bonus, ends)
        for place, (y, score) in enumerate(wanted):
            n = int(found.lengths[b, place])
            assert tuple(found.ids[b, place, :n].tolist()) == y
            assert float(found.scores[b, place]) == pytest.approx(score, abs=1e-9)
        assert found.scores[b, len(wanted) :].isneginf().all()


def test_it_changes_the_answer_and_a_small_weight_does_not(writer):
    """The answers differ from those of the beam alone, and score better by the sum of both."""
    network, logits, lengths = writer(), logits_of(6, rows=8), torch.tensor([6] * 8)
    options = {"blank": PAD, "beam_size": 40, "banned": (UNK, BOS, EOS)}
    plain = prefix_beam(logits, lengths, **options)
    tiny = LanguageModel(network, IDS, weight=1e-9, bonus=0.0, ends=True)
    assert torch.equal(prefix_beam(logits, lengths, scorer=tiny, **options).ids, plain.ids)
    strong = LanguageModel(network, IDS, weight=1.0, bonus=0.0, ends=True)
    found = prefix_beam(logits, lengths, scorer=strong, **options)
    rows = [
        tuple(tuple(one.ids[b, 0, : one.lengths[b, 0]].tolist()) for one in (plain, found))
        for b in range(8)
    ]
    assert sum(before != after for before, after in rows) >= 4
    for b, (before, after) in enumerate(rows):
        scores = dict(every_score(network, logits[b], 1.0, 0.0, True))
        assert scores[after] >= scores[before]


@pytest.mark.parametrize("beam_size", [2, 5])
def test_a_row_is_searched_alone_as_in_a_batch(writer, beam_size):
    network, logits, lengths = writer("gru"), logits_of(6, rows=4), torch.tensor([6, 1, 4, 2])
    scorer = LanguageModel(network, IDS, weight=0.6, bonus=0.2, ends=True)
    options = {"blank": PAD, "beam_size": beam_size, "n_best": 2, "banned": (BOS, EOS)}
    together = prefix_beam(logits, lengths, scorer=scorer, **options)
    for b, T in enumerate(lengths.tolist()):
        padded = torch.cat([logits[b : b + 1, :T], torch.full((1, 2, V), 1e6)], dim=1)
        alone = prefix_beam(padded, lengths[b : b + 1], scorer=scorer, **options)
        assert_close(alone.scores[0], together.scores[b], rtol=0, atol=1e-9)
        for n in range(2):
            U = int(together.lengths[b, n])
            assert alone.lengths[0, n] == U
            assert torch.equal(alone.ids[0, n, :U], together.ids[b, n, :U])


def test_a_prefix_that_does_not_grow_costs_no_step(writer, monkeypatch):
    network, seen = writer(), []
    prepared = network.prepared_step

    def counted(rows, steps):
        step = prepared(rows, steps)
        return lambda read, state: (seen.append(len(read)), step(read, state))[1]

    monkeypatch.setattr(network, "prepared_step", counted)
    logits = torch.zeros(1, 30, V, dtype=torch.float64)
    logits[:, :, PAD] = 60.0  # blanks, but for one symbol in the midst
    logits[:, 12, 5] = 120.0
    scorer = LanguageModel(network, IDS, weight=0.5, bonus=0.0, ends=True)
    options = {"blank": PAD, "beam_size": 1, "banned": (UNK, BOS, EOS)}
    found = prefix_beam(logits, torch.tensor([30]), scorer=scorer, **options)
    assert found.ids[0, 0, : found.lengths[0, 0]].tolist() == [5]
    assert seen == [1, 1]  # <BOS>, and the symbol
