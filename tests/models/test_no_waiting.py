"""A training step hands no number from the device to the program.

Tensors of the device `meta` have no numbers: an operation that needs one fails. Everything takes
the ways of a GPU there, as only the CPU is treated apart.
"""

from contextlib import nullcontext

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from seqpipe.training.module import SequenceModule


@pytest.fixture(autouse=True)
def _no_autocast(monkeypatch):
    """`meta` is no device that autocast knows."""
    monkeypatch.setattr(torch, "autocast", lambda *args, **options: nullcontext())


class Copies(TorchDispatchMode):
    """Refuses a copy from the CPU that the program would wait for."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        options = kwargs or {}
        if function.overloadpacket is torch.ops.aten._to_copy:
            from_cpu = args[0].device.type == "cpu" and options.get("device", "cpu") != "cpu"
            assert not from_cpu or options.get("non_blocking"), "a copy that is waited for"
        return function(*args, **options)


def test_a_training_step_of_any_architecture_and_task_waits_for_no_number(shape, build, ragged):
    model, task, spec, _ = build(shape)
    module, batch = SequenceModule(model, task, None, None, {}).to("meta"), ragged(spec).to("meta")
    with Copies():
        loss, counted = module._run(batch, "train")
        module.bad_steps.mark_loss(loss).backward()
        module.sums_of("train").add(counted)
    assert all(part.grad is not None for part in module.parameters())


def test_a_step_that_waits_fails_on_this_device(build, ragged):
    _, task, spec, _ = build("many_to_many")
    batch = ragged(spec).to("meta")
    with pytest.raises(NotImplementedError):
        batch.x[task.mask(batch)]
    with pytest.raises(RuntimeError, match="meta"):
        batch.x.sum().item()
    with Copies(), pytest.raises(AssertionError, match="waited for"):
        torch.ones(2).to("meta")
