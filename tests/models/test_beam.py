"""Beam search finds what exhaustive search finds where it is wide enough, for every decoder."""

import itertools

import pytest
import torch
from torch.testing import assert_close

from seqpipe.data import vocabulary
from seqpipe.data.vocabulary import BOS, EOS, PAD, UNK
from seqpipe.models import beam as beam_module
from seqpipe.models.beam import _largest, beam_search, length_norm
from seqpipe.models.decoding import PAD as PAD_OF_MODELS
from seqpipe.nn.stepper import Stepper


@pytest.fixture
def translator(build, randomise):
    """An encoder-decoder that answers random nonsense of many lengths, and what it reads."""

    def make(kind="additive", cell="lstm", **changes):
        if changes.get("bidirectional"):
            changes["architecture.decoder.bidirectional"] = False
        model = randomise(build(f"encoder_decoder {kind}", cell, **changes).model).eval()
        with torch.no_grad():
            model.head.output.weight.mul_(2.0)  # so that answers differ
        generator = torch.Generator().manual_seed(5)
        x = torch.randint(4, 9, (6, 7), generator=generator)
        return model, x, torch.tensor([7, 1, 3, 5, 2, 7])

    return make


def every_answer(V, longest, banned=()):
    """Every sequence the model may write, <EOS> only at its end: those that end, those cut off."""
    symbols = [s for s in range(V) if s not in (PAD, BOS, EOS, *banned)]
    ended, cut_off = [], []
    for n in range(longest + 1):
        for body in itertools.product(symbols, repeat=n):
            (cut_off if n == longest else ended).append([*body] if n == longest else [*body, EOS])
    return ended, cut_off


def exhaustive(model, x, x_lengths, longest, penalty, banned=()):
    """(ids, log p, normalised) of every answer to one x, the best first."""
    ranked = []
    for answers in every_answer(model.y_size, longest, banned):
        lengths = torch.tensor([len(answer) for answer in answers])
        y = torch.zeros(len(answers), longest, dtype=torch.int64)
        for row, answer in zip(y, answers, strict=True):
            row[: len(answer)] = torch.tensor(answer)
        rows = len(answers)
        log_p = model.log_probabilities(x.expand(rows, -1), x_lengths.expand(rows), y, lengths).sum(
            dim=1
        )
        scored = [
            (ids, p, p / ((5 + len(ids)) / 6) ** penalty)
            for ids, p in zip(answers, log_p.tolist(), strict=True)
        ]
        ranked += sorted(scored, key=lambda each: -each[2])
    return ranked


@pytest.mark.parametrize("penalty", [0.0, 0.6, 2.0])
@pytest.mark.parametrize(("kind", "banned"), [("none", ()), ("additive", (UNK,))])
def test_a_beam_of_full_width_is_exhaustive_search(translator, kind, banned, penalty):
    model, x, x_lengths = translator(kind, "gru", depth=2)
    found = model.beam(
        x, x_lengths, 3, beam_size=300, length_penalty=penalty, n_best=300, banned=banned
    )
    for b in range(3):
        rows = slice(b, b + 1)
        wanted = exhaustive(model, x[rows, : x_lengths[b]], x_lengths[rows], 3, penalty, banned)
        assert len(wanted) == (259 if banned == () else 156)  # 1 + 6 + 36 + 216; 1 + 5 + 25 + 125
        for n, (ids, log_p, normalised) in enumerate(wanted):
            length = int(found.lengths[b, n])
            assert found.ids[b, n].tolist() == ids + [PAD] * (3 - length)
            assert found.scores[b, n].item() == pytest.approx(log_p, abs=1e-10)
            assert found.normalised[b, n].item() == pytest.approx(normalised, abs=1e-10)
        assert (found.lengths[b, len(wanted) :] == 0).all()  # there are no more
        assert found.scores[b, len(wanted) :].isneginf().all()


def test_a_beam_of_one_is_greedy_decoding(translator, attending):
    cell, kind, bidirectional = attending
    model, x, x_lengths = translator(kind, cell, depth=2, bidirectional=bidirectional)
    ids, lengths = model.greedy(x, x_lengths, 8)
    found = model.beam(x, x_lengths, 8, beam_size=1)
    assert found.lengths[:, 0].equal(lengths)
    for b, n in enumerate(lengths.tolist()):
        assert found.ids[b, 0, :n].equal(ids[b, :n])
        assert (found.ids[b, 0, n:] == PAD).all()


def test_the_beam_of_an_x_does_not_depend_on_the_others_or_on_padding(translator, attending):
    """x of one step and the longest among them; the scores are those of the model itself."""
    cell, kind, bidirectional = attending
    model, x, x_lengths = translator(kind, cell, bidirectional=bidirectional)
    options = {"beam_size": 4, "n_best": 3}
    together = model.beam(x, x_lengths, 6, **options)
    for b, n in enumerate(x_lengths.tolist()):
        alone = model.beam(x[b : b + 1, :n], x_lengths[b : b + 1], 6, **options)
        assert alone.lengths[0].equal(together.lengths[b])
        longest = alone.ids.shape[2]
        assert alone.ids[0].equal(together.ids[b, :, :longest])
        assert (together.ids[b, :, longest:] == PAD).all()
        assert_close(alone.scores[0], together.scores[b], rtol=0, atol=1e-12)
    for n in range(3):
        ids, lengths = together.ids[:, n], together.lengths[:, n]
        log_p = model.log_probabilities(x, x_lengths, ids, lengths).sum(dim=1)
        assert_close(log_p, together.scores[:, n], rtol=0, atol=1e-12)


def test_in_single_precision_the_scores_are_those_of_the_model(translator):
    """With the products that are prepared for many steps, which double precision does not use."""
    model, x, x_lengths = translator()
    model.float()
    found = model.beam(x, x_lengths, 6, beam_size=4, n_best=3)
    for n in range(3):
        ids, lengths = found.ids[:, n], found.lengths[:, n]
        log_p = model.log_probabilities(x, x_lengths, ids, lengths).sum(dim=1)
        assert_close(log_p.double(), found.scores[:, n], rtol=0, atol=1e-4)


def test_what_an_answer_holds(translator):
    """Sorted, different from each other, <EOS> at the end only, and nothing that is banned."""
    model, x, x_lengths = translator()
    with torch.no_grad():
        model.head.output.bias[[PAD, UNK, BOS]] += 9.0  # each would be written
    found = model.beam(x, x_lengths, 6, beam_size=5, n_best=5)
    assert (found.ids == UNK).any()
    assert not (model.greedy(x, x_lengths, 6)[0] == PAD).any()
    found = model.beam(x, x_lengths, 6, beam_size=5, n_best=5, banned=(UNK,))
    assert not (model.greedy(x, x_lengths, 6, banned=(UNK,))[0] == UNK).any()
    assert found.ids.shape == (6, 5, 6)
    for b in range(6):
        rows = [
            tuple(row[:n].tolist())
            for row, n in zip(found.ids[b], found.lengths[b].tolist(), strict=True)
        ]
        assert len(set(rows)) == 5
        for row in rows:
            assert not {PAD, UNK, BOS} & set(row)
            assert EOS not in row[:-1]
        ended = [row[-1] == EOS for row in rows]
        assert ended == sorted(ended, reverse=True)
        count = sum(ended)
        ranks = found.normalised[b].tolist()
        assert ranks[:count] == sorted(ranks[:count], reverse=True)
        assert ranks[count:] == sorted(ranks[count:], reverse=True)


def steps_of(table, calls=None):
    """A decoder whose log p depend on the symbol read alone; table: rows of probabilities."""
    log_p = torch.tensor(table, dtype=torch.float64).log()

    def step(symbols, parents):
        if calls is not None:
            calls.append(len(symbols))
        return log_p[symbols]

    return step


def searched(step, *, rows=1, beam_size=2, penalty=0.0, n_best=1, max_length=5):
    return beam_search(
        step,
        rows,
        first=2,
        eos=3,
        max_length=max_length,
        beam_size=beam_size,
        length_penalty=penalty,
        n_best=n_best,
        device=torch.device("cpu"),
    )


#       <PAD> <UNK> <BOS> <EOS>  a    b
TRAP = [
    [0.0, 0.0, 0.0, 1.0, 0.0, 0.0],
    [0.0, 0.0, 0.0, 1.0, 0.0, 0.0],
    [0.0, 0.0, 0.0, 0.0, 0.6, 0.4],  # a is likelier at first
    [0.0, 0.0, 0.0, 1.0, 0.0, 0.0],
    [0.0, 0.0, 0.0, 0.5, 0.25, 0.25],  # but what follows a is open: 0.6 x 0.5
    [0.0, 0.0, 0.0, 0.9, 0.1, 0.0],  # and b ends at once: 0.4 x 0.9
]


def test_two_hypotheses_find_what_one_misses():
    [greedy] = searched(steps_of(TRAP), beam_size=1).ids[0].tolist()
    both = searched(steps_of(TRAP), beam_size=2, n_best=2)
    assert greedy == [4, EOS]
    assert both.ids[0].tolist() == [[5, EOS], [4, EOS]]
    assert both.scores[0].exp().tolist() == pytest.approx([0.36, 0.30])


def test_the_penalty_is_the_published_one_and_prefers_longer_answers():
    assert length_norm(1, 0.6) == 1.0
    assert length_norm(7, 0.6) == pytest.approx(2**0.6)
    assert length_norm(7, 0.0) == 1.0
    table = [[0.0] * 3 + [1.0, 0.0] for _ in range(5)]
    table[2] = [0.0, 0.0, 0.0, 0.51, 0.49]  # end at once, or write an a ...
    table[4] = [0.0, 0.0, 0.0, 1.0, 0.0]  # ... and end then
    answers = {penalty: searched(steps_of(table), penalty=penalty) for penalty in (0.0, 0.2, 0.6)}
    # ln 0.49 / (7/6)^a > ln 0.51 from a = 0.38 on
    assert answers[0.0].ids[0, 0].tolist() == [EOS]
    assert answers[0.2].ids[0, 0].tolist() == [EOS]
    assert answers[0.6].ids[0, 0].tolist() == [4, EOS]


def test_an_answer_that_ended_is_kept_while_longer_ones_go_on():
    table = [[0.0] * 3 + [0.1, 0.45, 0.45] for _ in range(6)]
    table[2] = [0.0, 0.0, 0.0, 0.3, 0.4, 0.3]
    found = searched(steps_of(table), beam_size=2, max_length=4)
    assert found.ids[0, 0].tolist() == [EOS]
    assert found.scores[0, 0].exp().item() == pytest.approx(0.3)


def test_those_cut_off_come_after_those_that_ended():
    table = [[0.0] * 3 + [0.0, 1.0] for _ in range(5)]
    table[2] = [0.0] * 3 + [0.001, 0.999]
    found = searched(steps_of(table), beam_size=2, n_best=2, max_length=3)
    assert found.ids[0].tolist() == [[EOS, PAD, PAD], [4, 4, 4]]
    assert found.lengths[0].tolist() == [1, 3]
    alone = searched(steps_of(table), beam_size=1, max_length=3)
    assert alone.ids[0].tolist() == [[4, 4, 4]]


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.5])
def test_stopping_early_changes_nothing_and_saves_steps(translator, monkeypatch, penalty):
    """Rows that are decided leave the batch, and the others are searched to their end."""
    model, x, x_lengths = translator()
    with torch.no_grad():
        model.head.output.bias[EOS] += 2.0
    counted, read = [], Stepper.__call__

    def run():
        steps = []
        monkeypatch.setattr(
            Stepper, "__call__", lambda *given: (steps.append(len(given[1])), read(*given))[1]
        )
        counted.append(steps)
        return model.beam(x, x_lengths, 40, beam_size=4, n_best=2, length_penalty=penalty)

    early = run()
    never = torch.zeros(6, 1, dtype=torch.bool)
    monkeypatch.setattr(beam_module, "_settled", lambda *given: never)
    full = run()
    assert early.ids.equal(full.ids)
    assert early.lengths.equal(full.lengths)
    assert_close(early.scores, full.scores, rtol=0, atol=1e-12)
    assert len(counted[0]) < len(counted[1]) == 40
    assert counted[0][0] == 6  # one hypothesis of each at first
    assert max(counted[0]) == max(counted[1]) > 6  # and those that ended leave their places
    assert sum(counted[0]) < sum(counted[1])
    assert min(counted[0][1:]) < 6 or penalty == 0.0  # where all are decided in the same step


@pytest.mark.parametrize("V", [5, 31, 32, 33, 200, 1000, 5948])
@pytest.mark.parametrize("count", [1, 5, 7])
def test_the_largest_of_many_are_those_of_topk(V, count):
    count = min(count, V)
    values = torch.randn(3, 4, V, generator=torch.Generator().manual_seed(V))
    values[0, 0, -3:] = 9.0  # ties, and in the part that no block holds
    values[0, 1] = -torch.inf
    values[0, 2, 1:] = -torch.inf
    largest, places = _largest(values, count)
    assert largest.equal(values.topk(count, dim=-1).values)
    assert largest.equal(values.gather(-1, places))
    assert all(len(set(row)) == count for row in places.flatten(0, 1).tolist())


def test_one_step_of_the_decoder_serves_all_hypotheses_of_all_rows():
    calls = []
    searched(steps_of(TRAP, calls), rows=7, beam_size=3, max_length=4)
    assert calls == [7] * len(calls)
    assert len(calls) <= 4


def test_the_models_know_what_the_vocabulary_pads_with():
    assert PAD_OF_MODELS == vocabulary.PAD
