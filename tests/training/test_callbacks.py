"""Throughput and the progress line."""

import time

import pytest
from pytorch_lightning import Callback

from seqpipe.training.callbacks import OneBar, Throughput


def test_throughput_counts_examples_over_the_time_of_training_alone(
    module, trainer, loader, monkeypatch
):
    class Slow(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            time.sleep(0.02)

        def on_validation_start(self, trainer, pl_module):
            time.sleep(0.5)

    run = trainer(Slow(), Throughput(), max_epochs=1, val_check_interval=2)
    run.fit(module(), loader(n=11), loader())  # three batches of 3 and one of 2
    rate = run.callback_metrics["examples_per_second"].item()
    assert 11 / 0.5 < rate <= 11 / (4 * 0.02)


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
