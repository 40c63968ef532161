"""Numbers that a training reads back from its device: a GPU is waited for at each of them.

What only the CPU would read is found by `tests/models/test_no_waiting.py`, and not counted here.
"""

import sys
from collections import Counter
from pathlib import Path

import pytest
from torch.overrides import TorchFunctionMode

import seqpipe

SRC = str(Path(seqpipe.__file__).parent)
READING = {"item", "tolist", "__bool__", "__int__", "__float__", "__index__", "numpy", "cpu"}
CPU_ALONE = {"check_lengths"}  # which says so


class Readings(TorchFunctionMode):
    """Counts calls that read numbers, by the function of seqpipe in which they are."""

    def __init__(self):
        super().__init__()
        self.found = Counter()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if getattr(function, "__name__", "") in READING:
            frame = sys._getframe(1)
            while not frame.f_code.co_filename.startswith(SRC):
                frame = frame.f_back
            self.found[frame.f_code.co_qualname.partition(".")[0]] += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("data", ["adding", "copy_memory"])
def test_an_update_reads_the_norm_of_its_gradient_and_nothing_else(launch, data):
    updates, readings = (2, 6), []
    for count in updates:
        options = [f"trainer.max_steps={count}", "data.source.train=200", "optim=sgd"]
        with Readings() as counting:
            launch(data, *options, "trainer.log_every_n_steps=99", folder=str(count))
        readings.append(counting.found)
    more = {name: n - readings[0][name] for name, n in readings[1].items()}
    each_update = {name for name, n in more.items() if n >= updates[1] - updates[0]}
    assert each_update - CPU_ALONE == {"_norms"}
    assert more["_norms"] == updates[1] - updates[0]
