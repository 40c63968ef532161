"""Records are made in a thread of their own, which ends when nobody asks for more."""

import threading
import time

import pytest

from seqpipe.inference.answering import read_ahead


def of_us() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "reads ahead"]


def gone() -> bool:
    deadline = time.monotonic() + 5
    while of_us() and time.monotonic() < deadline:
        time.sleep(0.01)
    return not of_us()


def test_items_come_in_their_order():
    assert list(read_ahead(iter(range(100)))) == list(range(100))
    assert list(read_ahead(iter([None, 1, None]))) == [None, 1, None]
    assert gone()


def test_an_error_comes_where_it_is_waited_for():
    def broken():
        yield 1
        raise KeyError("here")

    items = read_ahead(broken())
    assert next(items) == 1
    with pytest.raises(KeyError, match="here"):
        next(items)
    assert gone()


@pytest.mark.parametrize("end", ["close", "throw", "drop"])
def test_the_thread_ends_with_the_one_who_asks(end):
    closed = threading.Event()

    def items():
        try:
            yield from range(10**9)
        finally:
            closed.set()

    asked = read_ahead(items())
    next(asked)
    assert of_us()
    if end == "throw":
        with pytest.raises(ValueError, match="mine"):
            asked.throw(ValueError("mine"))
    elif end == "close":
        asked.close()
    del asked
    assert closed.wait(5)
    assert gone()
