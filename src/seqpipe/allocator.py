"""Memory that a training step frees stays with the process, where the C library is glibc.

A step of training frees its activations and allocates as much again in the next. glibc gives large
blocks back to the system at once, and the system clears every page when it is touched again: each
page costs a fault. Measured with one thread, seconds of the processor: forward and backward of an
LSTM (B, T, H) = (32, 128, 256) take 0.80 of the time, with 6 faults a step instead of 13,000.
The largest memory in use stays about the same for batches of one shape. Where lengths vary, free
memory lies between blocks in use: what a training adds to the process grew from 0.6 to 0.9 GB.
`GLIBC_TUNABLES=glibc.malloc.tcache_count=0`, which must be set before the process starts, takes 0.1
to 0.3 GB of that back and no time: fewer small blocks then lie between large ones.
Predictions gain too: with a bidirectional LSTM of 128, a row takes 0.93 of the time.
"""

import ctypes
import os
from collections.abc import Mapping
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_... in malloc.h
_MOST = 2**31 - 1  # an int
_BLOCK = 2**30  # bytes; larger blocks are given back as before
_OLDER_BLOCK = 2**25  # the largest that glibc before 2.35 accepts


def keep_freed_memory(environ: Mapping[str, str] = os.environ) -> bool:
    """Lets glibc keep freed memory for the next step; does nothing elsewhere.

    Settings of the user's own in the environment (`MALLOC_..._`, `GLIBC_TUNABLES=glibc.malloc...`
    but for those of `tcache`) are respected. It may be called at any time and more than once.

    Args:
        environ: the variables of the process.

    Returns:
        True if both thresholds were set.

    Source: mallopt(3).
    """
    chosen = any(name.startswith("MALLOC_") and name.endswith("_") for name in environ)
    for tunable in environ.get("GLIBC_TUNABLES", "").split(":"):
        chosen |= tunable.startswith("glibc.malloc.") and "tcache" not in tunable
    if chosen:
        return False
    mallopt = _glibc("mallopt", ctypes.c_int, ctypes.c_int)
    if mallopt is None:
        return False
    accepted = mallopt(_MMAP_THRESHOLD, _BLOCK) or mallopt(_MMAP_THRESHOLD, _OLDER_BLOCK)
    return bool(accepted and mallopt(_TRIM_THRESHOLD, _MOST))


def give_back_freed_memory() -> bool:
    """Gives all freed memory back to the system, once; does nothing where the C library is another.

    What was made before a training, the blocks of other sizes above all, then takes no room from
    the training itself. It costs the next step its page faults: about 0.1 s for 100 MB.

    Returns:
        True if there was anything to give back.

    Source: malloc_trim(3).
    """
    malloc_trim = _glibc("malloc_trim", ctypes.c_size_t)
    return malloc_trim is not None and bool(malloc_trim(0))


def _glibc(name: str, *arguments: Any) -> Any:
    """A function of glibc that returns an int; None where the C library is another one."""
    if "CS_GNU_LIBC_VERSION" not in getattr(os, "confstr_names", {}):
        return None
    try:
        function = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError):  # a program that was linked statically
        return None
    function.argtypes, function.restype = arguments, ctypes.c_int
    return function
