"""Several items at once, in their order; the threads end when nobody asks for more."""

import gc
import threading
import time

import pytest
import torch

from seqpipe.inference.threads import MOST_WORKERS, WAITING, in_threads, read_ahead

NAMES = ("works", "reads ahead")
CPU = torch.device("cpu")


@pytest.fixture(params=[1, 2, 3, 2 * MOST_WORKERS])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def of_us() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(NAMES)]


def gone() -> bool:
    deadline = time.monotonic() + 5
    while of_us() and time.monotonic() < deadline:
        time.sleep(0.01)
    return not of_us()


def test_results_come_in_the_order_of_their_items(threads):
    def slow_if_even(item):
        time.sleep(0.002 * (item % 2 == 0))
        return item

    assert list(in_threads(slow_if_even, range(60), CPU)) == list(range(60))
    assert list(in_threads(slow_if_even, [], CPU)) == []
    assert gone()


def test_each_works_with_its_share_of_the_threads_of_torch(threads):
    workers = min(threads, MOST_WORKERS)
    met = threading.Barrier(workers, timeout=5)  # passed only if so many work at once

    def seen(_):
        met.wait()
        return torch.get_num_threads(), threading.current_thread().name

    found = list(in_threads(seen, range(workers), CPU))
    assert {share for share, _ in found} == {threads // workers}
    assert len({name for _, name in found}) == workers
    assert torch.get_num_threads() == threads


def test_one_thread_feeds_a_gpu(threads):
    def seen(_):
        time.sleep(0.002)
        return torch.get_num_threads(), threading.current_thread().name

    (found,) = set(in_threads(seen, range(20), torch.device("cuda")))
    assert found[0] == threads


def test_items_are_gone_through_a_few_ahead(threads):
    made = []
    results = in_threads(lambda item: item, (made.append(n) or n for n in range(1_000)), CPU)
    for asked in range(1, 100):
        next(results)
        assert len(made) <= asked + WAITING * MOST_WORKERS + 2
    results.close()


def test_what_is_done_comes_though_the_next_item_may_never():
    more = threading.Event()

    def items():
        yield 1
        more.wait(30)

    results = in_threads(lambda item: item, items(), CPU)
    assert next(results) == 1
    started = time.monotonic()
    results.close()
    assert time.monotonic() - started < 5
    more.set()
    assert gone()


def test_nothing_is_an_item_too():
    assert list(read_ahead(iter([None, 1, None]), 1)) == [None, 1, None]
    assert gone()


@pytest.mark.parametrize("where", ["items", "work"])
def test_an_error_comes_where_it_is_waited_for(threads, where):
    def items():
        yield 1
        if where == "items":
            raise KeyError("here")
        yield 2

    def work(item):
        if item == 2:
            raise KeyError("here")
        return item

    results = in_threads(work, items(), CPU)
    assert next(results) == 1
    with pytest.raises(KeyError, match="here"):
        next(results)
    assert gone()
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("end", ["close", "throw", "drop"])
def test_the_threads_end_with_the_one_who_asks(threads, end):
    closed = threading.Event()

    def items():
        try:
            yield from range(10**9)
        finally:
            closed.set()

    results = in_threads(lambda item: item, items(), CPU)
    next(results)
    assert of_us()
    if end == "throw":
        with pytest.raises(ValueError, match="mine"):
            results.throw(ValueError("mine"))
    elif end == "close":
        results.close()
    del results
    gc.collect()
    assert gone()
    assert closed.is_set()
    assert torch.get_num_threads() == threads
