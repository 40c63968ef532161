"""Fewer calls in an update: every hook that does something is called as before."""

from collections import Counter

import pytest
import torch
from pytorch_lightning import Callback
from pytorch_lightning.profilers import PassThroughProfiler, SimpleProfiler
from torch import nn

from seqpipe.training.lean import UPDATE_HOOKS, EmptyHooks, Unprofiled


class Counting(Callback):
    """Counts the calls of its hooks, and notes what is hidden meanwhile."""

    def __init__(self):
        self.calls, self.hidden = Counter(), set()

    def on_train_batch_start(self, trainer, pl_module, *_):
        self.calls["on_train_batch_start"] += 1
        self.hidden = {
            (type(part).__name__, hook)
            for part in (*trainer.callbacks, pl_module)
            for hook in UPDATE_HOOKS
            if getattr(part, hook) is None
        }

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.calls["on_before_optimizer_step"] += 1


class Inheriting(Callback):
    def on_before_backward(self, trainer, pl_module, loss):
        super().on_before_backward(trainer, pl_module, loss)


class OfBoth(Inheriting):
    def on_after_backward(self, trainer, pl_module):
        self.seen = True


def test_hooks_that_do_something_are_called_and_the_others_are_back_afterwards(
    module, trainer, loader
):
    training, of_both = module(), OfBoth()

    class Watched(type(training)):
        def on_before_zero_grad(self, optimizer):
            calls["module"] += 1

    calls = Counter()
    training.__class__ = Watched
    plain = Callback()
    plain.on_train_batch_end = lambda *_: calls.update(["of an object"])
    counting = Counting()
    made = trainer(EmptyHooks(), plain, of_both, counting, max_epochs=1)
    made.fit(training, loader(), loader())
    updates = made.global_step
    assert updates == 4
    assert calls == {"module": updates, "of an object": updates}
    assert counting.calls == dict.fromkeys(
        ("on_train_batch_start", "on_before_optimizer_step"), updates
    )
    assert of_both.seen
    hidden = {hook for name, hook in counting.hidden if name == "OfBoth"}
    assert hidden == {*UPDATE_HOOKS} - {"on_before_backward", "on_after_backward"}
    assert ("Watched", "on_train_batch_end") in counting.hidden
    assert ("Watched", "on_before_zero_grad") not in counting.hidden
    assert ("Callback", "on_train_batch_end") not in counting.hidden
    for part in (training, of_both, plain, counting):
        assert all(callable(getattr(part, hook)) for hook in UPDATE_HOOKS)


def test_hooks_are_back_after_an_exception(module, trainer, loader):
    class Failing(Callback):
        def on_train_batch_end(self, *_):
            raise ValueError("a fault of the user")

    training, plain, failing, empty = module(), Callback(), Failing(), EmptyHooks()
    with pytest.raises(ValueError, match="a fault of the user"):
        trainer(empty, plain, failing, max_epochs=1).fit(training, loader(), loader())
    for part in (training, plain, failing, empty):
        assert all(callable(getattr(part, hook)) for hook in UPDATE_HOOKS)


@pytest.mark.parametrize("own", [False, True])
def test_the_profiler_of_the_user_stays(module, trainer, loader, own):
    options = {"profiler": SimpleProfiler()} if own else {}
    made = trainer(EmptyHooks(), max_epochs=1, **options)
    assert own or type(made.profiler) is PassThroughProfiler
    made.fit(module(), loader(), loader())
    if own:
        assert made.profiler.recorded_durations["run_training_batch"]
    else:
        assert type(made.profiler) is Unprofiled


def test_attributes_that_are_set_plainly_may_become_parameters_and_modules(module):
    training = module()
    training.of_the_user = 1.0
    training.of_the_user = 2.0
    assert training.of_the_user == 2.0
    training.of_the_user = nn.Parameter(torch.ones(1))
    assert "of_the_user" in dict(training.named_parameters())
    assert "of_the_user" not in vars(training)
    with pytest.raises(TypeError, match="cannot assign"):
        training.of_the_user = 3.0
    training.of_the_user = None
    assert "of_the_user" not in dict(training.named_parameters())


def test_a_batch_that_is_on_the_device_is_not_copied(module, loader):
    training, batch = module(), next(iter(loader()))
    assert training.transfer_batch_to_device(batch, torch.device("cpu"), 0) is batch
    moved = training.transfer_batch_to_device(batch, torch.device("meta"), 0)
    assert moved.index.device.type == moved.x.device.type == "meta"
