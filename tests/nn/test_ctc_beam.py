"""CTC prefix beam search against all label sequences with all their paths."""

import itertools
import math

import pytest
import torch
from torch.testing import assert_close

from seqpipe.nn import ctc
from seqpipe.nn.ctc import best_path, ctc_loss, prefix_beam


def said_by(path, blank):
    return tuple(symbol for symbol, _ in itertools.groupby(path) if symbol != blank)


def enumerated(logits, blank, banned=()):
    """log p of every y that some path says, from the definition. logits: (T, V)."""
    log_p = logits.double().log_softmax(dim=-1)
    sums = {}
    for path in itertools.product(range(logits.shape[1]), repeat=len(logits)):
        score = log_p[range(len(path)), path].sum().item()
        sums.setdefault(said_by(path, blank), []).append(score)
    every = {
        y: torch.tensor(scores).double().logsumexp(dim=0).item()
        for y, scores in sums.items()
        if not set(y) & set(banned)
    }
    return sorted(every.items(), key=lambda each: -each[1])


def logits_of(T, V, seed, scale=2.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(3, T, V, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(
    ("T", "V", "blank", "banned"),
    [(1, 3, 0, ()), (2, 2, 1, ()), (5, 3, 0, ()), (5, 3, 2, ()), (4, 4, 1, ()), (4, 4, 0, (2,))],
)
def test_a_wide_beam_finds_every_y_with_the_sum_of_all_its_paths(T, V, blank, banned):
    logits = logits_of(T, V, seed=T + V)
    lengths = torch.tensor([T, max(1, T - 1), 1])
    found = prefix_beam(logits, lengths, blank=blank, beam_size=150, n_best=150, banned=banned)
    for b, n in enumerate(lengths.tolist()):
        wanted = enumerated(logits[b, :n], blank, banned)
        for place, (y, log_p) in enumerate(wanted):
            U = int(found.lengths[b, place])
            assert tuple(found.ids[b, place, :U].tolist()) == y
            assert (found.ids[b, place, U:] == blank).all()
            assert found.scores[b, place].item() == pytest.approx(log_p, abs=1e-10)
        assert found.scores[b, len(wanted) :].isneginf().all()
        assert not found.lengths[b, len(wanted) :].any()


@pytest.mark.parametrize("beam_size", [6, 20, 63])
def test_the_sums_of_the_search_itself_are_those_of_all_paths(beam_size, monkeypatch):
    """Without scoring once more: with all 63 prefixes exact, with fewer never more than exact."""
    seen, scored = [], ctc._scored
    monkeypatch.setattr(
        ctc, "_scored", lambda beam, *given: (seen.append(beam), scored(beam, *given))[1]
    )
    logits = logits_of(5, 3, seed=1)
    prefix_beam(logits, torch.tensor([5, 5, 5]), blank=0, beam_size=beam_size)
    [beam] = seen
    for b in range(3):
        exact = dict(enumerated(logits[b], 0))
        found = [
            (tuple(ids[:n].tolist()), log_p)
            for ids, n, log_p in zip(
                beam.ids[b], beam.lengths[b].tolist(), beam.both[b].tolist(), strict=True
            )
            if log_p > -math.inf
        ]
        assert len({y for y, _ in found}) == len(found) > 5  # none stands in the beam twice
        for y, log_p in found:
            assert log_p <= exact[y] + 1e-10
            assert beam_size < 63 or log_p == pytest.approx(exact[y], abs=1e-10)
        assert (len(found) == len(exact)) == (beam_size == 63)


def test_it_finds_what_the_best_path_misses():
    """As in Graves (2012), section 7.5.1: the likeliest path says nothing, the likeliest y a."""
    logits = torch.tensor([[[0.7, 0.3], [0.6, 0.4]]]).log()
    lengths = torch.tensor([2])
    _, said = best_path(logits, lengths, blank=0)
    found = prefix_beam(logits, lengths, blank=0, beam_size=2, n_best=2)
    assert said.tolist() == [0]
    assert found.ids[0].tolist() == [[1], [0]]
    assert found.lengths[0].tolist() == [1, 0]
    assert found.scores[0].exp().tolist() == pytest.approx([0.58, 0.42])


def test_a_symbol_is_said_twice_only_with_a_blank_between():
    logits = torch.tensor([[[0.01, 0.99], [0.98, 0.02], [0.01, 0.99]]]).log()
    found = prefix_beam(logits, torch.tensor([3]), blank=0, beam_size=4)
    assert found.ids[0, 0].tolist() == [1, 1]
    logits = torch.tensor([[[0.01, 0.99], [0.02, 0.98], [0.01, 0.99]]]).log()
    found = prefix_beam(logits, torch.tensor([3]), blank=0, beam_size=4)
    assert found.ids[0, 0].tolist() == [1]


@pytest.mark.parametrize("poison", [1e6, math.nan])
def test_no_answer_depends_on_the_others_or_on_padding(poison):
    generator = torch.Generator().manual_seed(0)
    logits = 2.0 * torch.randn(4, 30, 8, generator=generator, dtype=torch.float64)
    lengths = torch.tensor([30, 1, 17, 4])
    options = {"blank": 0, "beam_size": 6, "n_best": 4}
    for b, n in enumerate(lengths.tolist()):
        logits[b, n:] = poison
    together = prefix_beam(logits, lengths, **options)
    for b, n in enumerate(lengths.tolist()):
        alone = prefix_beam(logits[b : b + 1, :n], lengths[b : b + 1], **options)
        U = alone.ids.shape[2]
        assert alone.ids[0].equal(together.ids[b, :, :U])
        assert not together.ids[b, :, U:].any()
        assert alone.lengths[0].equal(together.lengths[b])
        assert_close(alone.scores[0], together.scores[b], rtol=0, atol=1e-12)
    for n in range(4):
        there = together.scores[:, n] > -math.inf
        y, y_lengths = together.ids[:, n], together.lengths[:, n]
        losses = ctc_loss(logits, lengths, y, y_lengths, blank=0)
        assert_close(-losses[there], together.scores[there, n], rtol=0, atol=1e-12)


def test_a_wider_beam_finds_nothing_worse():
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(20, 25, 6, generator=generator)
    lengths = torch.full((20,), 25)
    one, many = (prefix_beam(logits, lengths, blank=0, beam_size=k) for k in (1, 30))
    assert (many.scores >= one.scores - 1e-5).all()
    assert (many.scores > one.scores + 0.1).any()
    ids, said = best_path(logits, lengths, blank=0)
    greedy = -ctc_loss(logits, lengths, ids, said, blank=0)
    assert (many.scores[:, 0] >= greedy - 1e-5).all()
    assert (many.scores[:, 0] > greedy + 0.1).any()
