"""Freed memory stays with the process: without page faults, and harmless where glibc is not."""

import ctypes
import os
import subprocess
import sys

import pytest

from seqpipe import allocator

ON_GLIBC = "CS_GNU_LIBC_VERSION" in getattr(os, "confstr_names", {})
# Five steps take four blocks of 48 MiB each, which glibc by itself always gives back. Blocks of
# bytes come from malloc as tensors do, and without the two seconds that torch takes to import.
STEPS = """
import resource, sys
from seqpipe.allocator import keep_freed_memory

if sys.argv[1] == "kept":
    print(keep_freed_memory())
else:
    print(None)

if sys.argv[2] == "tensors":
    import torch
    block = lambda: torch.ones(12 * 2**20)
else:
    block = lambda: b"1" * (48 * 2**20)

def step():
    return [block() for _ in range(4)]

for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


# Of four blocks of 48 MiB three are freed: the last one holds the heap up, so nothing shrinks.
HOLES = """
import torch
from seqpipe.allocator import give_back_freed_memory, keep_freed_memory

def held():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

keep_freed_memory()
blocks = [torch.ones(12 * 2**20) for _ in range(4)]
last = blocks.pop()
del blocks
before = held()
give_back_freed_memory()
print(before - held(), bool((last == 1).all()))
"""


def faults(how: str, of: str = "bytes", **environ: str) -> tuple[str, int]:
    """What `keep_freed_memory` returned, and the page faults of five steps."""
    done = subprocess.run(
        [sys.executable, "-c", STEPS, how, of],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=True,
    )
    returned, count = done.stdout.split()
    return returned, int(count)


@pytest.mark.skipif(not ON_GLIBC, reason="another C library")
@pytest.mark.parametrize("of", ["tensors", "bytes"])
def test_memory_that_a_step_frees_is_there_for_the_next_one(of):
    _, before = faults("as it is", of)
    returned, kept = faults("kept", of)
    assert returned == "True"
    assert before > 1_000
    assert kept < before / 20


@pytest.mark.skipif(not ON_GLIBC, reason="another C library")
@pytest.mark.parametrize(
    "environ",
    [
        {"MALLOC_MMAP_THRESHOLD_": "131072"},
        {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=131072"},
        {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.malloc.perturb=0"},
    ],
)
def test_settings_of_the_users_own_are_respected(environ):
    returned, count = faults("kept", **environ)
    assert returned == "False"
    assert count > 1_000


@pytest.mark.skipif(not ON_GLIBC, reason="another C library")
def test_a_tunable_of_the_caches_of_threads_changes_nothing():
    returned, count = faults("kept", GLIBC_TUNABLES="glibc.malloc.tcache_count=0")
    assert returned == "True"
    assert count < 1_000


@pytest.mark.skipif(not ON_GLIBC, reason="another C library")
def test_freed_memory_between_blocks_in_use_is_given_back():
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True)
    given_back, intact = done.stdout.split()
    assert float(given_back) > 120
    assert intact == "True"


def test_another_c_library_is_harmless(monkeypatch):
    monkeypatch.delattr(os, "confstr_names", raising=False)  # Windows
    assert allocator.keep_freed_memory({}) is False
    assert allocator.give_back_freed_memory() is False
    monkeypatch.setattr(os, "confstr_names", {"CS_PATH": 0}, raising=False)  # macOS, musl
    assert allocator.keep_freed_memory({}) is False
    names = {"CS_GNU_LIBC_VERSION": 2}
    monkeypatch.setattr(os, "confstr_names", names, raising=False)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())  # linked statically
    assert allocator.keep_freed_memory({}) is False
    assert allocator.give_back_freed_memory() is False


def test_an_older_glibc_takes_the_largest_threshold_that_it_accepts(monkeypatch):
    accepted = []

    def mallopt(parameter, value):
        if parameter == -3 and value > 2**25:
            return 0
        accepted.append((parameter, value))
        return 1

    monkeypatch.setattr(allocator, "_glibc", lambda name, *arguments: mallopt)
    assert allocator.keep_freed_memory({}) is True
    assert accepted == [(-3, 2**25), (-1, 2**31 - 1)]
    assert allocator.keep_freed_memory({"MALLOC_ARENA_MAX": "2"}) is True  # no name of glibc's
    assert allocator.keep_freed_memory({"MALLOC_ARENA_MAX_": "2"}) is False
