"""Reading and computing in threads, beside the one that asks for the results."""

import queue
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, ParamSpec, Self, TypeVar

import torch

MOST_WORKERS = 4  # Python lets one of them run at a time between two operations of torch

Item = TypeVar("Item")
Given = ParamSpec("Given")
Result = TypeVar("Result")


class _Ended(ABC):
    """Threads that are there for the length of a `with`."""

    _finalizing = staticmethod(sys.is_finalizing)  # of the class: at the very end modules are gone

    @abstractmethod
    def close(self) -> None:
        """Ends them."""

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Ends the threads; when Python itself ends, they have."""
        if not self._finalizing():
            self.close()


class Ahead(_Ended, Generic[Item]):
    """Items in lists, the next of which is made in a thread of its own.

    Args:
        items: gone through by that thread. It may wait for input that never comes: then it ends
            with the process. So it is not to use torch, which a thread must not be ended in.
        size: of a list; the last may be shorter.
    """

    def __init__(self, items: Iterable[Item], size: int) -> None:
        self.made: queue.Queue[list[Item] | BaseException] = queue.Queue(maxsize=1)
        self.stopped = threading.Event()
        arguments = (items, size)
        self.thread = threading.Thread(
            target=self._run, args=arguments, name="reads ahead", daemon=True
        )
        self.thread.start()

    def next(self, wait: bool) -> list[Item] | None:
        """The next list, empty at the end; without `wait`, None where it is not there yet.

        Raises:
            what `items` raises, after all that came before it.
        """
        try:
            made = self.made.get(block=wait)
        except queue.Empty:
            return None
        if isinstance(made, BaseException):
            raise made
        return made

    def _run(self, items: Iterable[Item], size: int) -> None:
        some: list[Item] = []
        last: list[Item] | BaseException = []
        try:
            for item in items:
                if self.stopped.is_set():
                    return
                some.append(item)
                if len(some) == size:
                    self._put(some)
                    some = []
        except BaseException as error:  # raised where it is waited for
            last = error
        if some:
            self._put(some)
        self._put(last)

    def _put(self, made: list[Item] | BaseException) -> None:
        while not self.stopped.is_set():
            try:
                self.made.put(made, timeout=0.1)
                return
            except queue.Full:
                continue

    def close(self) -> None:
        """Ends the thread, if it does not wait for input."""
        self.stopped.set()
        if threading.current_thread() is not self.thread:
            self.thread.join(timeout=1.0)


class Workers(_Ended):
    """Threads that compute, each by its share of the threads of torch.

    On a CPU, several whole batches at once, each by fewer threads, take less time than one after
    the other by all of them: nothing waits for the slowest part of every operation. On a GPU one
    thread feeds it.

    Args:
        device: where they compute.
    """

    def __init__(self, device: torch.device) -> None:
        threads = torch.get_num_threads()
        count = min(threads, MOST_WORKERS) if device.type == "cpu" else 1
        shares = iter([threads // count + (n < threads % count) for n in range(count)])
        self.pool = ThreadPoolExecutor(count, "computes", lambda: _take(next(shares)))
        there = threading.Barrier(count + 1)
        for _ in range(count):
            self.pool.submit(there.wait)
        there.wait()
        torch.set_num_threads(threads)  # what the last one took is else that of every new thread

    def start(
        self, work: Callable[Given, Result], *given: Given.args, **named: Given.kwargs
    ) -> Callable[[], Result]:
        """Begins some work. Returns what waits for it, and gives its result or raises its error."""
        return self.pool.submit(work, *given, **named).result

    def close(self) -> None:
        """Lets the threads end when they have done what they are at."""
        self.pool.shutdown(wait=False, cancel_futures=True)


def _take(share: int) -> None:
    """Sets how many threads of torch the current one has."""
    torch.get_num_threads()  # takes the number of the process, the first time: not after it is set
    torch.set_num_threads(share)
