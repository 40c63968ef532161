"""Throughput and the progress line."""

import pytest
from pytorch_lightning import Callback

from seqpipe.training.callbacks import OneBar, Throughput
from seqpipe.training.checkpoints import BestAndLast


@pytest.fixture
def clock(monkeypatch):
    """One that only moves when it is told to."""

    class Stopped:
        now = 0.0

        def perf_counter(self):
            return self.now

    clock = Stopped()
    for module in ("seqpipe.training.module", "seqpipe.data.batching"):
        monkeypatch.setattr(f"{module}.time", clock)
    return clock


class Looks(Callback):
    """Takes its time wherever a callback may."""

    def __init__(self, clock):
        self.clock = clock

    def _look(self, *_):
        self.clock.now += 1000.0

    on_train_start = on_train_epoch_start = on_train_batch_start = on_train_batch_end = _look
    on_validation_start = on_validation_end = on_train_epoch_end = _look


def timed(module, loader, clock):
    """A module and a loader whose batches take 2 s to load and 3 s to learn from."""
    training, batches = module(), loader(n=11)  # three batches of 3 and one of 2
    load, forward = type(batches.dataset).__getitems__, training.model.forward

    class Slow(type(batches.dataset)):
        def __getitems__(self, index):
            clock.now += 2.0
            return load(self, index)

    def slow(*arguments):
        clock.now += 3.0
        return forward(*arguments)

    batches.dataset.__class__ = Slow
    training.model.forward = slow
    return training, batches


def test_throughput_counts_examples_over_the_time_of_training_alone(module, trainer, loader, clock):
    training, batches = timed(module, loader, clock)
    callbacks = [Looks(clock), Throughput(), Looks(clock)]
    run = trainer(*callbacks, max_epochs=2, val_check_interval=2)
    run.fit(training, batches, loader())
    assert run.callback_metrics["examples_per_second"].item() == pytest.approx(11 / (4 * 5.0))


def test_throughput_of_a_resumed_epoch_is_that_of_the_rest_of_it(
    module, trainer, loader, clock, tmp_path
):
    training, batches = timed(module, loader, clock)
    keeps = BestAndLast(dirpath=tmp_path, monitor="val/mse", mode="min")
    first = trainer(Throughput(), keeps, max_steps=2)
    first.fit(training, batches, loader())
    clock.now += 1e6
    training, batches = timed(module, loader, clock)
    batches.load_state_dict({"batches": 2})
    second = trainer(Throughput(), keeps, max_epochs=1)
    second.fit(training, batches, loader(), ckpt_path=keeps.last_path, weights_only=True)
    assert second.callback_metrics["examples_per_second"].item() == pytest.approx(5 / (2 * 5.0))


def test_where_nobody_watches_each_epoch_is_one_line(module, trainer, loader, capsys):
    run = trainer(OneBar("val/mae"), max_epochs=3, enable_progress_bar=True)
    run.fit(module(), loader(), loader())
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[:2] for line in lines] == [["epoch", f"{n}/3"] for n in (1, 2, 3)]
    for line in lines:
        assert line.split()[2::2] == ["train/loss", "val/loss", "val/mae"]
    shown = [float(line.split()[3]) for line in lines]
    assert shown == sorted(shown, reverse=True)
    assert shown[-1] == pytest.approx(run.callback_metrics["train/loss"].item(), abs=1e-4)
    assert len(set(shown)) == 3
