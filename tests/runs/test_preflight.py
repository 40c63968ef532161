"""The pre-flight of whole runs: it changes no number, and refuses before anything is written."""

import logging

import pytest
import torch

from seqpipe.errors import ConfigError
from seqpipe.models.many_to_many import ManyToMany
from seqpipe.models.many_to_one import ManyToOne
from seqpipe.nn.masks import length_mask


class Peeks(ManyToMany):
    """Step t reads x_{t+1}, the last one x_T."""

    def _run(self, x, x_lengths, *args, **options):
        ends = ~length_mask(x_lengths - 1, x.shape[1])
        peeking = torch.where(ends, x, torch.roll(x, -1, dims=1))
        return super()._run(peeking, x_lengths, *args, **options)


class Loud(ManyToOne):
    """Says a hundred times as much."""

    def forward(self, x, x_lengths, y=None, y_lengths=None):
        return 100 * super().forward(x, x_lengths)


@pytest.mark.parametrize("data", ["adding", "dates"])
def test_a_run_that_was_looked_over_has_the_same_numbers(launch, data, capsys):
    overrides = ["dropout=0.3", "trainer.max_epochs=2", "trainer.limit_train_batches=3"]
    overrides += ["diagnostics=none"]
    results = {
        how: launch(data, *overrides, f"preflight={how}", folder=how) for how in ("none", "full")
    }
    assert results["none"].metrics == results["full"].metrics
    weights = [
        torch.load(result.output_dir / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for result in results.values()
    ]
    torch.testing.assert_close(*weights, rtol=0, atol=0)
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("preflight:")]
    assert len(told) == 1
    pages = [(result.output_dir / "report.md").read_text() for result in results.values()]
    assert ["## Pre-flight" in page for page in pages] == [False, True]
    assert [" memorising " in page for page in pages] == [False, True]


def test_a_model_that_peeks_is_refused_and_nothing_is_written(launch, tmp_path):
    target = f"architecture._target_={__name__}.Peeks"
    message = (
        r"^preflight=quick: causality: the answer at time step 1 depends on later steps: "
        r"input.embedding is the first part that differs, example 1 of the batch, time step 1, "
        r"by .*; allowed: a model without that, or preflight=none to train it as it is$"
    )
    with pytest.raises(ConfigError, match=message):
        launch("copy_memory", target)
    assert not (tmp_path / "runs").exists()
    assert launch("copy_memory", target, "preflight=none", "trainer.max_epochs=1").metrics


def test_a_first_loss_out_of_scale_is_a_warning(launch, caplog):
    overrides = ["trainer.max_epochs=1", "trainer.limit_train_batches=1"]
    with caplog.at_level(logging.WARNING):
        result = launch("digits", f"architecture._target_={__name__}.Loud", *overrides)
    warnings = [r.getMessage() for r in caplog.records if "preflight" in r.getMessage()]
    assert len(warnings) == 1
    assert warnings[0].startswith("preflight: loss at initialisation: ")
    assert "expected ln 10 = 2.303, entropy of the training labels 2.30" in warnings[0]
    page = (result.output_dir / "report.md").read_text()
    assert "please check: **loss at initialisation**" in page
    assert "| head | Head | 16 x 10 |" in page


@pytest.mark.parametrize(
    "overrides",
    [
        ["data=python_docs", "data.bptt=16", "data.window=null"],
        ["data=digits_flat"],
        ["data=dates", "architecture.teacher_forcing=0.5"],
        ["data=python_tokens", "data.source.files=12", "cell=gru", "bidirectional=true"],
    ],
)
def test_whatever_is_trained_can_be_looked_over(launch, overrides, capsys):
    few = [f"trainer.limit_{split}_batches=1" for split in ("train", "val", "test")]
    few += ["diagnostics=none"]
    launch(overrides[0].removeprefix("data="), *overrides[1:], *few, "trainer.max_epochs=1")
    line = next(e for e in capsys.readouterr().err.splitlines() if e.startswith("preflight:"))
    assert "not checked" not in line
    assert "warned" not in line
