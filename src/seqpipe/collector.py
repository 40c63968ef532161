"""Python's garbage collector while libraries are imported, and after.

An import of torch, Lightning and MLflow makes half a million objects that live as long as the
process. By default the collector examines all of them about twenty times on the way, and again at
the end: two of the six seconds that `python -c "import torch, pytorch_lightning, mlflow"` takes.
"""

import atexit
import contextlib
import gc
from collections.abc import Iterator

_SELDOM = (100_000, 50, 50)  # new objects before a collection; Python's own: (700, 10, 10)
_paused: list[tuple[int, int, int]] = []  # the thresholds to restore, while imports are not done
_frozen_once: list[bool] = []  # not empty once the objects of the imports are frozen


@contextlib.contextmanager
def seldom_collecting() -> Iterator[None]:
    """Collects garbage seldom, until `imports_done` or the end of the block."""
    _paused.append(gc.get_threshold())
    gc.set_threshold(*_SELDOM)
    try:
        yield
    finally:
        _restore()


def imports_done() -> None:
    """Takes all objects made so far from the collector's sight, and lets it work as usual.

    Only the first call in a process takes any from sight: what a later job of a sweep leaves, or a
    later call of the command line in a program, must be collected.
    """
    if _restore() and not _frozen_once:
        _frozen_once.append(True)
        gc.freeze()
        atexit.register(_leave)


def _leave() -> None:
    """Collects what the run has left, so that its files are closed, and leaves the rest unread.

    The interpreter would examine all modules several times before it ends: about a second.
    """
    gc.collect()
    gc.freeze()


def _restore() -> bool:
    """Restores the usual thresholds; returns False if that was done already."""
    if not _paused:
        return False
    gc.set_threshold(*_paused.pop())
    return True
