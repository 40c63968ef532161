"""Cores and GPUs of one machine, divided among the workers of a sweep."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from seqpipe.processes import THREAD_VARIABLES, WORKERS, usable_cores

_COMPILING = "TORCHINDUCTOR_COMPILE_THREADS"
GPUS = "CUDA_VISIBLE_DEVICES"


def share_of_worker(
    place: int, workers: int, environ: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """The variables that give a worker its share of this machine.

    Variables of the user's own stay as they are, and so do the GPUs if there is at most one.

    Args:
        place: of the worker among all, from 0.
        workers: on this machine.
        environ: the variables of the process that starts them.
    """
    cores = str(max(1, usable_cores() // workers))
    found = {} if _COMPILING in environ else {_COMPILING: cores}
    if not any(environ.get(name) for name in THREAD_VARIABLES):
        found |= {WORKERS: str(workers), **dict.fromkeys(THREAD_VARIABLES, cores)}
    gpus = _visible_gpus(environ)
    if len(gpus) > 1 and workers > 1:
        found[GPUS] = ",".join(_share(gpus, place, workers))
    return found


def _share(gpus: Sequence[str], place: int, workers: int) -> Sequence[str]:
    """The GPUs of a worker; several workers share one if there are fewer GPUs than workers."""
    return gpus[place::workers] if len(gpus) >= workers else [gpus[place % len(gpus)]]


def _visible_gpus(environ: Mapping[str, str]) -> list[str]:
    """The GPUs that a process may use, as CUDA_VISIBLE_DEVICES names them."""
    if (given := environ.get(GPUS)) is not None:
        return [name.strip() for name in given.split(",") if name.strip()]
    numbers = [path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia*")]
    return sorted((name for name in numbers if name.isdecimal()), key=int)
