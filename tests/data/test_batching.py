import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import distributed

from seqpipe.data.base import FieldSpec, SequenceSpec
from seqpipe.data.batching import Batches, Example, Examples, ResumableLoader
from seqpipe.data.columns import Chunk, Column
from seqpipe.data.sampling import BucketBatchSampler, Repeated

TAGGED = SequenceSpec(FieldSpec("values", 2), FieldSpec("tags", 5))
LENGTHS = [int(n) for n in np.random.default_rng(0).integers(1, 60, 203)]


@pytest.fixture
def ranks(monkeypatch):
    """Pretend to be one of several processes."""

    def be(rank, world):
        monkeypatch.setattr(distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(distributed, "get_rank", lambda: rank)
        monkeypatch.setattr(distributed, "get_world_size", lambda: world)

    return be


def tagged(index, length):
    x = torch.full((length, 2), float(index + 1))
    return Example(index, x, torch.arange(1, length + 1))


def stored(rows, spec):
    x = None if spec.x is None else Column.of([row.x for row in rows], spec.x.has_time)
    return Examples(x, Column.of([row.y for row in rows], spec.y.has_time))


def batch_of(rows, spec):
    return stored(rows, spec).batch(range(len(rows)), spec)


def loader(n=23, batch_size=4, shuffle=True, seed=0, num_workers=0):
    examples = stored([tagged(i, 1 + i % 7) for i in range(n)], TAGGED)
    order = BucketBatchSampler(examples.lengths, batch_size, shuffle=shuffle, seed=seed, pool=2)
    return ResumableLoader(Batches(examples, TAGGED), order, num_workers)


def indices(batches):
    return [batch.index.tolist() for batch in batches]


def test_a_batch_is_padded_with_zeros_and_keeps_the_real_lengths():
    batch = batch_of([tagged(0, 1), tagged(1, 3)], TAGGED)
    assert batch.x.tolist() == [[[1, 1], [0, 0], [0, 0]], [[2, 2], [2, 2], [2, 2]]]
    assert batch.y.tolist() == [[1, 0, 0], [1, 2, 3]]
    assert batch.x_lengths.tolist() == batch.y_lengths.tolist() == [1, 3]
    assert batch.index.tolist() == [0, 1]
    assert batch.x_lengths.dtype == batch.index.dtype == batch.y.dtype == torch.int64
    assert batch.x.dtype == torch.float32
    assert len(batch) == 2


def test_what_has_no_time_has_no_lengths():
    spec = SequenceSpec(FieldSpec("vector", 2), FieldSpec("category", 3))
    rows = [Example(i, torch.tensor([i, 2.0]), torch.tensor(i)) for i in range(3)]
    batch = batch_of(rows, spec)
    assert batch.x_lengths is None
    assert batch.y_lengths is None
    assert batch.x.tolist() == [[0, 2], [1, 2], [2, 2]]
    assert batch.y.tolist() == [0, 1, 2]


def test_a_language_model_batch_has_no_x():
    spec = SequenceSpec(None, FieldSpec("symbols", 9))
    batch = batch_of([Example(0, None, torch.tensor([5, 3]))], spec)
    assert batch.x is None
    assert batch.x_lengths is None
    assert batch.y_lengths.tolist() == [2]


def test_a_batch_moves_whole_and_leaves_the_missing_parts_out():
    spec = SequenceSpec(None, FieldSpec("symbols", 9))
    batch = batch_of([Example(0, None, torch.tensor([5, 3]))], spec)
    moved = batch.to("meta")
    assert {moved.y.device.type, moved.y_lengths.device.type, moved.index.device.type} == {"meta"}
    assert moved.x is None
    assert batch.y.device.type == "cpu"


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=40),
    batch_size=st.integers(1, 9),
    shuffle=st.booleans(),
    seed=st.integers(0, 99),
    pool=st.integers(1, 3),
)
def test_an_epoch_holds_every_example_exactly_once(lengths, batch_size, shuffle, seed, pool):
    sampler = BucketBatchSampler(lengths, batch_size, shuffle=shuffle, seed=seed, pool=pool)
    batches = list(sampler)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert len(batches) == len(sampler)
    assert max(map(len, batches)) <= batch_size


def test_batches_are_of_similar_length():
    def padded(batches):
        return sum(max(LENGTHS[i] for i in b) * len(b) for b in batches) / sum(LENGTHS)

    in_order = [list(range(a, min(a + 8, 203))) for a in range(0, 203, 8)]
    assert padded(in_order) > 1.6
    assert padded(BucketBatchSampler(LENGTHS, 8, shuffle=True)) < 1.1
    assert padded(BucketBatchSampler(LENGTHS, 8, shuffle=False)) < 1.1


def test_the_order_depends_on_seed_and_epoch_and_on_nothing_else():
    def order(seed, epoch):
        sampler = BucketBatchSampler(LENGTHS, 8, shuffle=True, seed=seed)
        sampler.set_epoch(epoch)
        torch.rand(3), np.random.rand(3)
        return list(sampler)

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)
    assert order(0, 1) != order(1, 0)


def test_training_batches_do_not_come_from_short_to_long():
    batches = list(BucketBatchSampler(LENGTHS, 8, shuffle=True))
    longest = [max(LENGTHS[i] for i in batch) for batch in batches]
    assert longest != sorted(longest)


def test_evaluation_has_the_same_order_in_every_epoch_and_seed():
    one, other = (BucketBatchSampler(LENGTHS, 8, shuffle=False, seed=s) for s in (0, 1))
    other.set_epoch(5)
    assert list(one) == list(other)


@pytest.mark.parametrize("options", [{"pool": 50}, {"pool": 3}, {"batch_tokens": 300}])
@pytest.mark.parametrize("limit", [3, 5, 8])
def test_the_first_batches_of_an_evaluation_are_not_the_shortest(options, limit):
    """`trainer.limit_val_batches` takes the first: they must stand for the whole split."""
    lengths = np.random.default_rng(3).integers(1, 200, 997)
    batches = list(BucketBatchSampler(lengths, 16, shuffle=False, **options))[:limit]
    assert lengths[np.concatenate(batches)].mean() == pytest.approx(lengths.mean(), rel=0.35)


def test_the_first_batch_of_an_epoch_does_not_wait_for_all_others():
    looked_up = []

    class Counted:
        def __len__(self):
            return 10_000

        def __getitem__(self, indices):
            looked_up.append(len(indices))
            return indices % 50

    sampler = BucketBatchSampler(Counted(), 10, shuffle=True, pool=5)
    batches = iter(sampler)
    next(batches)
    assert sum(looked_up) == 50
    assert len(list(batches)) == 999
    assert sum(looked_up) == 10_000  # each once


@pytest.mark.parametrize(("n", "world"), [(203, 3), (203, 2), (5, 4)])
def test_in_training_every_rank_gets_equally_many_batches_and_all_is_covered(ranks, n, world):
    per_rank = []
    for rank in range(world):
        ranks(rank, world)
        sampler = BucketBatchSampler(LENGTHS[:n], 4, shuffle=True)
        per_rank.append(list(sampler))
        assert len(sampler) == len(per_rank[-1])
    assert len({len(batches) for batches in per_rank}) == 1
    everywhere = [batch for batches in per_rank for batch in batches]
    counted = [i for batch in everywhere if not isinstance(batch, Repeated) for i in batch]
    assert sorted(counted) == list(range(n))
    known = {tuple(batch) for batch in everywhere if not isinstance(batch, Repeated)}
    assert all(tuple(batch) in known for batch in everywhere)


def test_a_batch_that_comes_once_more_says_so(ranks):
    ranks(3, 4)
    made = loader(5, shuffle=True)
    (batch,) = made
    assert batch.repeated.tolist() == [True] * len(batch)
    ranks(0, 4)
    (batch,) = made
    assert batch.repeated is None


@pytest.mark.parametrize(("n", "world"), [(203, 3), (203, 2), (5, 4), (4, 2), (3, 2), (4, 4)])
def test_in_evaluation_no_example_is_seen_by_two_ranks(ranks, n, world):
    seen = []
    for rank in range(world):
        ranks(rank, world)
        sampler = BucketBatchSampler(LENGTHS[:n], 4, shuffle=False)
        batches = list(sampler)
        assert len(sampler) == len(batches) > 0  # a rank with nothing to do would be an error
        seen += [i for batch in batches for i in batch]
    assert sorted(seen) == list(range(n))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_interrupted_epoch_goes_on_where_it_stopped(num_workers):
    straight, first, second = (loader(num_workers=num_workers) for _ in range(3))
    for one in (straight, first, second):
        one.set_epoch(1)
    whole = indices(straight)
    begun = iter(first)
    head = [next(begun).index.tolist() for _ in range(2)]
    state = first.state_dict()
    second.load_state_dict(state)
    assert state == {"batches": 2}
    assert head + indices(second) == whole
    second.set_epoch(2)
    straight.set_epoch(2)
    assert indices(second) == indices(straight) != whole


def test_a_finished_epoch_resumes_with_the_next_one_whole():
    finished, fresh = loader(), loader()
    for _ in finished:
        state = finished.state_dict()
    assert state == {"batches": len(finished)}
    fresh.load_state_dict(state)
    fresh.set_epoch(1)
    assert len(indices(fresh)) == len(fresh)


def test_loading_leaves_the_global_random_numbers_alone():
    torch.manual_seed(0)
    untouched = torch.rand(1)
    torch.manual_seed(0)
    list(loader())
    assert torch.equal(torch.rand(1), untouched)


@given(lengths=st.lists(st.integers(1, 20), min_size=1, max_size=10), window=st.integers(1, 25))
def test_windows_cover_every_step_exactly_once_and_never_join_two_sequences(lengths, window):
    rows = [torch.arange(n) + 100 * i for i, n in enumerate(lengths)]
    column = Column.of(rows, True).cut(window)
    pieces = [column[i] for i in range(len(column.lengths))]
    assert torch.equal(torch.cat(pieces), torch.cat(rows))
    assert all(1 <= len(piece) <= window for piece in pieces)
    assert all(len(set((piece // 100).tolist())) == 1 for piece in pieces)
    assert len(pieces) == sum(-(-n // window) for n in lengths)


@given(
    lengths=st.lists(st.integers(0, 90), min_size=1, max_size=12),
    cuts=st.sets(st.integers(1, 11)),
    width=st.sampled_from([None, 1, 3]),
    window=st.sampled_from([None, 1, 4, 70]),
    chosen=st.lists(st.integers(0, 10**6), min_size=1, max_size=9),
)
def test_padded_examples_are_the_examples_and_zeros(lengths, cuts, width, window, chosen):
    """Of one chunk or several, cut into windows or whole, short or long, in any order."""
    shape = () if width is None else (width,)
    rng = np.random.default_rng(0)
    rows = [rng.integers(1, 9, (n, *shape), dtype=np.int16) for n in lengths]
    parts = np.split(np.arange(len(rows)), sorted(cut for cut in cuts if cut < len(rows)))
    chunks = [Column.of([rows[i] for i in part], True).chunks[0] for part in parts]
    column = Column(chunks, window)
    indices = [number % max(1, len(column)) for number in chosen]
    if len(column) == 0:
        return
    padded, found = column.padded(np.array(indices))
    expected = [column.array(i) for i in indices]
    assert found.tolist() == [len(one) for one in expected]
    assert padded.shape == (len(indices), max(found), *shape)
    assert padded.dtype == np.int16
    for row, one in zip(padded, expected, strict=True):
        assert np.array_equal(row[: len(one)], one)
        assert not row[len(one) :].any()


def test_padded_examples_without_time_come_from_any_chunk():
    first, second = (Chunk(np.arange(4.0).reshape(2, 2) + n, None) for n in (0, 10))
    values, lengths = Column([first, second]).padded(np.array([3, 0, 0, 2]))
    assert values.tolist() == [[12, 13], [0, 1], [0, 1], [10, 11]]
    assert lengths is None


def test_large_sequences_are_padded_without_another_copy_of_all():
    rows = [np.full((n, 2), float(n), dtype=np.float32) for n in (3, 1, 2)]
    column = Column.of_large(rows)
    assert all(np.shares_memory(column.array(i), row) for i, row in enumerate(rows))
    padded, lengths = column.padded(np.array([1, 0]))
    assert lengths.tolist() == [1, 3]
    assert padded[0].tolist() == [[1, 1], [0, 0], [0, 0]]
    assert padded[1].tolist() == [[3, 3]] * 3


def test_examples_travel_to_a_worker_process_as_one_tensor_a_field():
    examples = loader(n=400).dataset.examples
    assert len(pickle.dumps(examples)) < 60_000
    assert torch.equal(pickle.loads(pickle.dumps(examples))[5].y, examples[5].y)


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=60),
    most=st.integers(1, 90),
    shuffle=st.booleans(),
    epoch=st.integers(0, 3),
)
def test_batches_by_tokens_hold_every_example_once_and_no_more_than_fits(
    lengths, most, shuffle, epoch
):
    sampler = BucketBatchSampler(lengths, 1, shuffle=shuffle, batch_tokens=most)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert len(batches) == len(sampler)
    for batch in batches:
        assert len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= most


def test_batches_by_tokens_are_full_and_come_in_a_new_order_each_epoch():
    sampler = BucketBatchSampler(LENGTHS, 1, shuffle=True, batch_tokens=240)
    steps = [max(LENGTHS[i] for i in batch) * len(batch) for batch in sampler]
    assert np.mean(steps) > 200
    first, longest = list(sampler), [max(LENGTHS[i] for i in batch) for batch in sampler]
    sampler.set_epoch(1)
    assert first != list(sampler)
    assert sorted(first) == sorted(sampler)
    assert longest != sorted(longest)


def test_tokens_are_steps_of_the_longer_of_x_and_y():
    x = Column.of([torch.zeros(n) for n in (4, 1, 4)], True)
    y = Column.of([torch.zeros(n) for n in (1, 4, 4)], True)
    examples = Examples(x, y)
    assert examples.longer[np.arange(3)].tolist() == [4, 4, 4]
    assert examples.lengths[np.arange(3)].tolist() == [5, 5, 8]


@given(
    chunks=st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=4),
    window=st.none() | st.integers(1, 5),
)
def test_the_longest_example_is_found_chunk_by_chunk(chunks, window):
    column = Column(
        [
            Chunk(np.zeros(sum(lengths), np.int16), np.cumsum([0, *lengths], dtype=np.int64))
            for lengths in chunks
        ],
        window,
    )
    every = column.lengths
    assert column.longest == (every.max() if len(every) else 0)
