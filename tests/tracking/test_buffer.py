import pytest

from seqpipe.tracking import buffer
from seqpipe.tracking.buffer import Buffer


class Store:
    """Takes chunks."""

    def __init__(self):
        self.chunks = []

    def __call__(self, chunk):
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
