"""Threads that read and compute beside the one that waits for the results."""

import functools
import queue
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, ParamSpec, Self, TypeVar

import torch

MOST_WORKERS = 4  # Python lets one of them run at a time between two operations of torch
SWITCH = (
    1e-4  # seconds that a thread of Python may keep a worker from its next operation; 5e-3 else
)

Item = TypeVar("Item")
Given = ParamSpec("Given")
Result = TypeVar("Result")


class _Closing(ABC):
    """Threads that live as long as a `with`."""

    _finalizing = staticmethod(sys.is_finalizing)  # at the end of Python, modules are gone

    @abstractmethod
    def close(self) -> None:
        """End the threads."""

    def __enter__(self) -> Self:
        """Return the object itself."""
        return self

    def __exit__(self, *_error: object) -> None:
        """End the threads; when Python itself ends, they have ended."""
        if not self._finalizing():
            self.close()


class Prefetch(_Closing, Generic[Item]):
    """Items in lists; a thread reads the next list ahead.

    Args:
        items: read by the thread. If it waits for input that never comes, it ends with the
            process; so `items` must not use torch, where a thread cannot be ended safely.
        size: of a list; the last may be shorter.
    """

    def __init__(self, items: Iterable[Item], size: int) -> None:
        self.made: queue.Queue[list[Item] | BaseException] = queue.Queue(maxsize=1)
        self.stopped = threading.Event()
        run = functools.partial(self._run, items, size)
        self.thread = threading.Thread(target=run, name="reads ahead", daemon=True)
        self.thread.start()

    def next(self, wait: bool) -> list[Item] | None:
        """Return the next list, empty at the end; without `wait`, None if it is not read yet.

        Raises:
            what `items` raises, after all items before the error.
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
        except BaseException as error:  # raised by `next`
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
        """End the thread, unless it waits for input."""
        self.stopped.set()
        if threading.current_thread() is not self.thread:
            self.thread.join(timeout=1.0)


class Workers(_Closing):
    """Threads that compute, each with its share of torch's threads.

    On a CPU, several batches at once, each with fewer threads, take less time than one after
    another with all threads, since no operation waits for its slowest part. On a GPU one thread
    is enough.

    Args:
        device: the device they compute on.
    """

    def __init__(self, device: torch.device) -> None:
        threads = torch.get_num_threads()
        count = min(threads, MOST_WORKERS) if device.type == "cpu" else 1
        shares = iter([threads // count + (n < threads % count) for n in range(count)])
        self.pool = ThreadPoolExecutor(count, "computes", lambda: _set_threads(next(shares)))
        there = threading.Barrier(count + 1)
        for _ in range(count):
            self.pool.submit(there.wait)
        there.wait()
        torch.set_num_threads(threads)  # or every new thread would get the last worker's number
        self.switched_before = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH)

    def start(
        self, work: Callable[Given, Result], *given: Given.args, **named: Given.kwargs
    ) -> Callable[[], Result]:
        """Start some work. Returns a function that waits for its result, or raises its error."""
        return self.pool.submit(work, *given, **named).result

    def close(self) -> None:
        """Let the threads end after their present work."""
        self.pool.shutdown(wait=False, cancel_futures=True)
        sys.setswitchinterval(self.switched_before)


def _set_threads(share: int) -> None:
    """Set the number of torch's threads for the current thread."""
    torch.get_num_threads()  # the first call takes the number of the process: not after it is set
    torch.set_num_threads(share)
