import pytest

from seqpipe.tracking import buffer
from seqpipe.tracking.buffer import Buffer


class Store:
    """Takes chunks while it is up."""

    def __init__(self):
        self.up = True
        self.calls = 0
        self.chunks = []

    def __call__(self, chunk):
        self.calls += 1
        if not self.up:
            raise OSError("gone")
        self.chunks.append(list(chunk))


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(buffer.time, "monotonic", lambda: now[0])
    return now


def test_entries_wait_until_their_time_or_until_a_chunk_is_full(clock):
    store = Store()
    waiting = Buffer(store, seconds=2)
    waiting.add([1, 2])
    clock[0] = 1.9
    waiting.add([3])
    assert store.chunks == []
    clock[0] = 2.0
    waiting.add([4])
    assert store.chunks == [[1, 2, 3, 4]]
    waiting.add(range(2500))
    assert [len(chunk) for chunk in store.chunks[1:]] == [1000, 1000, 500]


def test_a_store_that_is_gone_is_asked_less_and_less_often(clock):
    store = Store()
    store.up = False
    waiting = Buffer(store, seconds=2)
    for second in range(200):
        clock[0] = second
        waiting.add([second] * 100)
    assert store.calls == 7  # at 2, 6, 14, 30, 62, 122 and 182 s
    store.up = True
    waiting.flush()
    assert sum(map(len, store.chunks)) == 200 * 100
    assert not waiting.failing


def test_the_oldest_entries_are_dropped_and_counted_when_too_many_wait(clock):
    store = Store()
    store.up = False
    waiting = Buffer(store, seconds=1, limit=10)
    for number in range(25):
        waiting.add([number])
    assert waiting.waiting == list(range(15, 25))
    assert waiting.dropped == 15


def test_an_interrupted_call_is_made_again(clock):
    store = Store()
    waiting = Buffer(store, seconds=9)
    waiting.add([1, 2])

    def interrupted(chunk):
        raise KeyboardInterrupt

    waiting._send = interrupted
    with pytest.raises(KeyboardInterrupt):
        waiting.flush()
    waiting._send = store
    waiting.flush()
    assert store.chunks == [[1, 2]]
