"""Reading and computing in threads: order, errors, and that nothing is left behind."""

import itertools
import sys
import threading
import time

import pytest
import torch

from seqpipe.inference.prefetch import MOST_WORKERS, SWITCH, Prefetch, Workers

CPU = torch.device("cpu")


@pytest.fixture(params=[1, 2, 3, 7, 2 * MOST_WORKERS])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def threads_of_a_new_thread() -> int:
    found = []
    new = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    new.start()
    new.join()
    return found[0]


def test_each_worker_has_its_share_of_the_threads_of_torch(threads, gone):
    workers = min(threads, MOST_WORKERS)
    met = threading.Barrier(workers, timeout=5)  # passed only if so many work at once

    def seen():
        met.wait()
        return torch.get_num_threads(), threading.current_thread().name

    with Workers(CPU) as pool:
        found = [result() for result in [pool.start(seen) for _ in range(workers)]]
        assert sum(share for share, _ in found) == threads
        assert max(share for share, _ in found) <= min(share for share, _ in found) + 1
        assert len({name for _, name in found}) == workers
        assert torch.get_num_threads() == threads_of_a_new_thread() == threads
    assert gone()
    assert torch.get_num_threads() == threads_of_a_new_thread() == threads


def test_python_switches_threads_sooner_while_workers_are_there():
    before = sys.getswitchinterval()
    with Workers(CPU):
        assert sys.getswitchinterval() == pytest.approx(SWITCH)
    assert sys.getswitchinterval() == before


def test_one_thread_feeds_a_gpu(threads):
    def seen():
        time.sleep(0.002)
        return torch.get_num_threads(), threading.current_thread().name

    with Workers(torch.device("cuda")) as pool:
        (found,) = {result() for result in [pool.start(seen) for _ in range(20)]}
    assert found[0] == threads


def test_two_at_once_do_not_change_each_other(threads):
    with Workers(CPU) as one, Workers(CPU) as other:
        share = threads // min(threads, MOST_WORKERS)
        assert one.start(torch.get_num_threads)() in (share, share + 1)
        assert other.start(torch.get_num_threads)() in (share, share + 1)
    assert torch.get_num_threads() == threads_of_a_new_thread() == threads


def test_an_error_of_some_work_is_raised_where_it_is_waited_for(gone):
    def broken(text):
        raise KeyError(text)

    with Workers(CPU) as pool:
        results = [pool.start(int, "1"), pool.start(broken, "here"), pool.start(int, "2")]
        assert (results[0](), results[2]()) == (1, 2)
        with pytest.raises(KeyError, match="here"):
            results[1]()
    assert gone()


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (3, [3]), (4, [4]), (10, [4, 4, 2])])
def test_items_come_in_lists_and_in_their_order(count, sizes, gone):
    with Prefetch(range(count), 4) as ahead:
        found = list(iter(lambda: ahead.next(wait=True), []))
    assert [len(one) for one in found] == sizes
    assert list(itertools.chain(*found)) == list(range(count))
    assert gone()


def test_few_items_are_made_before_they_are_asked_for(gone):
    made = itertools.count()
    with Prefetch(made, 10) as ahead:
        assert len(ahead.next(wait=True)) == 10
        time.sleep(0.2)
        assert next(made) <= 30
    assert gone()


def test_an_error_comes_after_what_was_read_before_it(gone):
    def items():
        yield from range(6)
        raise KeyError("here")

    with Prefetch(items(), 4) as ahead:
        assert ahead.next(wait=True) == [0, 1, 2, 3]
        assert ahead.next(wait=True) == [4, 5]
        with pytest.raises(KeyError, match="here"):
            ahead.next(wait=True)
    assert gone()


def test_what_is_not_there_yet_is_not_waited_for(gone):
    more = threading.Event()

    def items():
        yield 1
        more.wait(30)

    with Prefetch(items(), 1) as ahead:
        assert ahead.next(wait=True) == [1]
        assert ahead.next(wait=False) is None
    more.set()
    assert gone()
