"""Lanes: every step once, in its order, in the state of the step before it."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import distributed

from seqpipe.data.base import PlacedRecord
from seqpipe.data.dataset import SequenceData
from seqpipe.data.fields.labels import Tags
from seqpipe.data.fields.text import Text
from seqpipe.data.sampling import Repeated
from seqpipe.data.tbptt_sampler import LaneSampler
from seqpipe.data.vocabulary import EOS
from seqpipe.errors import ConfigError, DataError

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=12)


def bounds_of(lengths):
    return np.cumsum([0, *lengths])


def by_lane(batches):
    """Lane -> its pieces, in their order."""
    lanes = {}
    for batch in batches:
        for piece in batch:
            lanes.setdefault(piece.lane, []).append(piece)
    return lanes


@given(LENGTHS, st.integers(1, 5), st.integers(1, 9), st.booleans(), st.integers(0, 5))
def test_an_epoch_holds_every_step_once_and_a_lane_goes_on_where_it_was(
    lengths, lanes, bptt, shuffle, epoch
):
    bounds = bounds_of(lengths)
    sampler = LaneSampler(bounds, lanes, bptt, shuffle=shuffle)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    pieces = [piece for batch in batches for piece in batch]
    steps = [step for piece in pieces for step in range(piece.start, piece.end)]
    assert sorted(steps) == list(range(sum(lengths)))
    assert all(1 <= piece.end - piece.start <= bptt for piece in pieces)
    assert all(len({piece.lane for piece in batch}) == len(batch) <= lanes for batch in batches)
    for lane in by_lane(batches).values():
        assert lane[0].fresh
        for before, piece in pairwise(lane):
            same = piece.document == before.document and piece.start == before.end
            assert piece.fresh or same
            inside = bounds[piece.document] <= piece.start < piece.end
            assert inside
            assert piece.end <= bounds[piece.document + 1]


@given(LENGTHS, st.integers(1, 5), st.integers(1, 9))
def test_in_evaluation_no_document_is_cut_whatever_the_number_of_lanes(lengths, lanes, bptt):
    bounds = bounds_of(lengths)
    pieces = [p for batch in LaneSampler(bounds, lanes, bptt, shuffle=False) for p in batch]
    assert sorted(p.start for p in pieces if p.fresh) == bounds[:-1].tolist()


def test_training_lanes_are_equally_long_and_epochs_differ_in_order_only():
    bounds = bounds_of([70, 3, 50, 9, 9, 41, 2])

    def epoch(number):
        sampler = LaneSampler(bounds, 4, 5, shuffle=True)
        sampler.set_epoch(number)
        return list(sampler)

    steps = [sum(p.end - p.start for p in lane) for lane in by_lane(epoch(0)).values()]
    assert steps == [46] * 4
    assert epoch(0) == epoch(0) != epoch(1)
    assert len(epoch(0)) == len(epoch(1))
    assert {p[1:] for b in epoch(0) for p in b} == {p[1:] for b in epoch(1) for p in b}


def test_another_seed_lays_the_documents_in_another_order():
    bounds = bounds_of([7, 3, 5, 9, 9, 4, 2])
    one, other = (list(LaneSampler(bounds, 2, 5, shuffle=True, seed=s)) for s in (0, 1))
    assert one != other


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_the_steps_and_get_equally_many_batches(monkeypatch, world):
    bounds = bounds_of([70, 3, 50, 9, 9, 41, 2])
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: world)
    per_rank = []
    for rank in range(world):
        monkeypatch.setattr(distributed, "get_rank", lambda rank=rank: rank)
        per_rank.append(list(LaneSampler(bounds, 2, 5, shuffle=True)))
    assert len({len(batches) for batches in per_rank}) == 1
    seen = [
        {s for batch in batches for p in batch for s in range(p.start, p.end)}
        for batches in per_rank
    ]
    assert set.union(*seen) == set(range(184))
    assert sum(map(len, seen)) == 184  # no step in two ranks
    once = [b for batches in per_rank for b in batches if not isinstance(b, Repeated)]
    assert sum(p.end - p.start for batch in once for p in batch) == 184  # each counts once


def test_a_single_document_is_evaluated_by_all_ranks(monkeypatch):
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 3)
    steps = []
    for rank in range(3):
        monkeypatch.setattr(distributed, "get_rank", lambda rank=rank: rank)
        sampler = LaneSampler(bounds_of([50]), 2, 5, shuffle=False)
        batches = list(sampler)
        assert len(batches) == len(sampler) == 4
        steps += [step for b in batches for p in b for step in range(p.start, p.end)]
    assert sorted(steps) == list(range(50))


def text_data(source_of, **options):
    texts = ["the first", "and a longer second one", "x", "the fourth of them"]
    records = [{"text": text} for text in texts]
    return SequenceData(source_of(records), Text("text"), bptt=4, **options), texts


@pytest.mark.parametrize("split", ["train", "test"])
def test_lanes_read_the_texts_from_their_start_to_their_end(source_of, split):
    data, texts = text_data(source_of, batch_size=2)
    read = {}
    for batch in data.loader(split, shuffle=False):
        for row, length in enumerate(batch.y_lengths.tolist()):
            document = int(batch.index[row])
            assert bool(batch.fresh[row]) == (document not in read)
            read.setdefault(document, []).extend(batch.y[row, :length].tolist())
            assert not batch.y[row, length:].any()
    assert [data.y.decode(read[i]) for i in range(4)] == texts
    assert all(ids[-1] == EOS for ids in read.values())
    assert data.sizes[split] == 4


def test_an_interrupted_epoch_of_lanes_goes_on_where_it_stopped(source_of):
    data, _ = text_data(source_of, batch_size=2)

    def rows(loader):
        return [(b.lane.tolist(), b.fresh.tolist(), b.y.tolist()) for b in loader]

    whole = rows(data.loader("train"))
    begun, rest = data.loader("train"), data.loader("train")
    running = iter(begun)
    head = rows([next(running) for _ in range(3)])
    rest.load_state_dict(begun.state_dict())
    assert head + rows(rest) == whole


def test_a_text_that_goes_on_in_the_next_record_is_one_document(source_of):
    records = [
        PlacedRecord({"text": "abc"}, goes_on=True),
        PlacedRecord({"text": "def"}),
        PlacedRecord({"text": "gh"}),
    ]
    data = SequenceData(source_of(records), Text("text"), bptt=5, batch_size=1)
    assert data.sizes["train"] == 2
    pieces = [
        (bool(b.fresh[0]), data.y.decode(b.y[0])) for b in data.loader("train", shuffle=False)
    ]
    assert pieces == [(True, "abcde"), (False, "f"), (True, "gh")]


def test_tags_are_read_in_lanes_with_their_x(source_of):
    records = [{"text": "abcdefg", "tags": list("1212121")}, {"text": "ab", "tags": ["1", "2"]}]
    data = SequenceData(source_of(records), Tags("tags"), Text("text"), bptt=3, batch_size=2)
    for batch in data.loader("train"):
        assert torch.equal(batch.x_lengths, batch.y_lengths)
        for row, length in enumerate(batch.x_lengths.tolist()):
            letters = data.x.decode(batch.x[row, :length])
            tags = data.y.decode(batch.y[row, :length]).split()
            assert [str("acegbdf".index(c) // 4 + 1) for c in letters] == tags


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 4}, "data.bptt=4: data.window=4 cuts the sequences already; allowed: nul"),
        (
            {"batch_tokens": 64},
            "data.batch_tokens=64: data.bptt has batches of data.batch_size sequences; allowed: "
            "null, or data.bptt=null",
        ),
    ],
)
def test_two_ways_of_cutting_at_once_are_refused(source_of, options, message):
    with pytest.raises(ConfigError) as error:
        text_data(source_of, **options)
    assert str(error.value).startswith(message)


def test_lanes_are_refused_where_x_and_y_are_not_aligned(source_of):
    records = [{"text": "abc", "to": "xyz"}]
    with pytest.raises(ConfigError, match=r"^data.bptt=4: x and y cannot be cut together"):
        SequenceData(source_of(records), Text("to"), Text("text"), bptt=4)


def test_a_text_read_in_pieces_is_not_torn_by_a_maximum_length(source_of):
    records = [PlacedRecord({"text": "abc"}, goes_on=True), PlacedRecord({"text": "def"})]
    with pytest.raises(DataError) as error:
        SequenceData(source_of(records), Text("text"), max_length=2)
    assert error.value.problems == [
        "train[0]: is a piece of a longer text, and data.max_length would cut it again; "
        "allowed: null, and data.window or data.bptt (and in 2 more)"
    ]
