"""Work on a stream by some threads at once, a few items ahead of who asks."""

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

import torch

MOST_WORKERS = 4  # Python lets one of them run at a time between two operations of torch
WAITING = 4  # items of each worker that are begun, done or wait for it

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(
    work: Callable[[Item], Result], items: Iterable[Item], device: torch.device
) -> Iterator[Result]:
    """Like `map`, while the next items are made and worked on already.

    On a CPU, several whole batches at once, each by fewer threads of torch, take less time than
    one after the other by all of them: nothing waits for the slowest part of every operation. On
    a GPU one thread feeds it.

    Args:
        work: of torch, mostly; called in threads of its own.
        items: gone through in a thread of its own, a few ahead.
        device: where the work is done.

    Raises:
        what `work` or `items` raises, when the results before it have been asked for.
    """
    threads = torch.get_num_threads()
    workers = min(threads, MOST_WORKERS) if device.type == "cpu" else 1
    share = threads // workers
    pool = ThreadPoolExecutor(workers, "works", torch.set_num_threads, (share,))
    begun = (pool.submit(work, item) for item in items)
    try:
        with closing(read_ahead(begun, WAITING * workers)) as futures:
            for future in futures:
                yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # a part of it is the whole process's: that of MKL


def read_ahead(items: Iterator[Item], most: int) -> Generator[Item]:
    """The same items, the next of which are made in a thread of its own while one is worked on.

    Args:
        items: gone through by that thread.
        most: how many may be made before they are asked for.
    """
    made: queue.Queue[tuple[Item | None, BaseException | None, bool]] = queue.Queue(maxsize=most)
    stopped = threading.Event()

    def put(item: Item | None, error: BaseException | None, last: bool) -> bool:
        while not stopped.is_set():
            try:
                made.put((item, error, last), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def run() -> None:
        try:
            for item in items:
                if not put(item, None, False):
                    return
            put(None, None, True)
        except BaseException as error:  # told where it is waited for
            put(None, error, True)
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=run, name="reads ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error, last = made.get()
            if error is not None:
                raise error
            if last:
                return
            yield item  # type: ignore[misc]  # None only with `last`
    finally:
        stopped.set()
        thread.join(timeout=1.0)  # it may wait for input that never comes; it dies with the process
