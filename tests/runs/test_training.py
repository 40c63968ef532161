"""What a whole run learns, repeats and obeys."""

import functools
import json
import math
import re
import time

import pytest
import torch
from pytorch_lightning import Trainer
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from seqpipe.build import build_data
from seqpipe.commands.train import run
from seqpipe.config.compose import Launch, compose
from seqpipe.errors import TrainingError
from seqpipe.runs import load_data
from seqpipe.tracking.base import NoTracker
from seqpipe.training.module import SequenceModule

QUICK = ("trainer.max_epochs=1", "trainer.limit_train_batches=2", "trainer.limit_val_batches=1")


@pytest.fixture
def launch(launch):
    """As `launch`, without what only looks at a training."""

    def plain(data, *overrides, **options):
        return launch(data, "preflight=none", "diagnostics=none", *overrides, **options)

    return plain


def saved(result, name="last"):
    return torch.load(result.output_dir / "checkpoints" / f"{name}.ckpt", weights_only=True)


@pytest.mark.parametrize("checked", [True, False])
def test_a_run_makes_each_of_its_parts_once_and_validates_once(launch, monkeypatch, checked):
    """A configuration that the command line has checked is not validated again."""
    made = []
    parts = [(kind, "__init__") for kind in (Trainer, NoTracker, torch.optim.AdamW, LambdaLR)]
    for place, name in (*parts, (load_data, "validate")):
        plain = getattr(place, name)

        @functools.wraps(plain)  # with its signature, which is looked at
        def counted(*arguments, made=made, plain=plain, **options):
            made.append(plain.__qualname__)
            return plain(*arguments, **options)

        monkeypatch.setattr(place, name, counted)
    decay = ("optim=adamw", "optim.weight_decay=0.1", "scheduler=warmup_cosine")
    launch("adding", *QUICK, *decay, checked=checked)
    wanted = [f"{kind.__name__}.__init__" for kind, _ in parts]
    assert sorted(made) == sorted(wanted if checked else [*wanted, "validate"])


@pytest.mark.parametrize(
    ("data", "metric", "reached"),
    [
        ("digits", "test/accuracy", 1.0),
        ("adding", "test/mse", 0.01),
        ("copy_memory", "test/accuracy", 1.0),
        ("dates", "test/exact_match", 1.0),
    ],
)
def test_one_batch_can_be_memorised(launch, data, metric, reached):
    overrides = ["trainer=overfit", "hidden_size=32", "optim.lr=0.05", "data.batch_size=4"]
    overrides += ["trainer.accelerator=cpu", "trainer.enable_progress_bar=false"]
    epochs = 250 if data == "copy_memory" else 100
    overrides += [f"trainer.check_val_every_n_epoch={epochs}", f"trainer.max_epochs={epochs}"]
    result = launch(data, *overrides)
    value = result.metrics[metric]
    assert value <= reached if metric == "test/mse" else value == reached
    assert result.metrics[metric.replace("test/", "val/")] == value  # all three are that batch


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(launch):
    overrides = ["dropout=0.3", "trainer.max_epochs=2"]
    torch.manual_seed(1)  # what was drawn before a run has no say
    first = launch("adding", *overrides, "seed=0", folder="first")
    torch.manual_seed(2)
    again = launch("adding", *overrides, "seed=0", folder="again")
    other = launch("adding", *overrides, "seed=1", folder="other")
    assert first.metrics == again.metrics
    weights = [saved(result)["state_dict"] for result in (first, again, other)]
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)
    assert all(first.metrics[k] != other.metrics[k] for k in first.metrics if k.startswith("test/"))
    pages = [(result.output_dir / "report.md").read_text() for result in (first, other)]
    digests = [re.findall(r"sha256 \w+ \| (\w+)", page) for page in pages]
    assert len(digests[0]) == 3
    assert digests[0] == digests[1]  # or two seeds could not be compared


def history_of(result):
    callbacks = saved(result)["callbacks"]
    return next(state for name, state in callbacks.items() if name.startswith("History"))["series"]


@pytest.mark.parametrize(
    ("optim", "overrides", "last_lr"),
    [
        ("adam", ["scheduler=none"], 0.01),
        ("adamw", ["scheduler=cosine"], 0.01 * (1 + math.cos(math.pi * 11 / 12)) / 2),
        ("rmsprop", ["scheduler=step", "scheduler.step_size=1", "scheduler.gamma=0.1"], 0.0001),
        ("adam", ["scheduler=warmup_cosine", "scheduler.warmup_ratio=1.0"], 0.01 * 12 / 13),
        ("sgd", ["scheduler=plateau", "scheduler.factor=0.1"], 0.01),
    ],
)
def test_every_optimizer_trains_and_every_schedule_sets_its_rate(launch, optim, overrides, last_lr):
    more = [f"optim={optim}", *overrides, "optim.lr=0.01", "trainer.max_epochs=3"]
    result = launch("adding", *more)
    groups = saved(result)["optimizer_states"][0]["param_groups"]
    assert {group.get("initial_lr", group["lr"]) for group in groups} == {0.01}
    assert history_of(result)["lr"][-1][1] == pytest.approx(last_lr, rel=1e-4)
    losses = [value for _, value in history_of(result)["train/loss"]]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_clipping_is_done_as_configured(launch, algorithm):
    clip = ["trainer.gradient_clip_val=1e-3", f"trainer.gradient_clip_algorithm={algorithm}"]
    plain = ["optim=sgd", "optim.lr=1.0", "optim.momentum=0.0", "scheduler=none"]
    one_step = [*clip, *plain, "trainer.max_epochs=1", "trainer.limit_train_batches=1"]
    start = launch("adding", *one_step, "optim.lr=1e-30", folder="start")
    moved = launch("adding", *one_step, folder="moved")
    before, after = (saved(result)["state_dict"] for result in (start, moved))
    change = nn.utils.parameters_to_vector(
        [after[name] - before[name] for name in before if name.startswith("model.")]
    )
    size = change.norm() if algorithm == "norm" else change.abs().max()
    assert size.item() == pytest.approx(1e-3, rel=1e-2)
    assert history_of(moved)["grad_norm/total"][0][1] > 1e-2
    assert history_of(moved)["grad_norm/clipped_fraction"][0][1] == 1.0


def test_a_run_in_another_precision_computes_in_it(launch):
    overrides = ["trainer.max_epochs=2", "optim.lr=0.01"]
    full = launch("adding", *overrides, folder="32")
    others = (("bf16-mixed", 1e-2, torch.float32), ("64", 1e-5, torch.float64))
    for precision, tolerance, dtype in others:
        other = launch("adding", *overrides, f"trainer.precision={precision}", folder=precision)
        for name, value in full.metrics.items():
            assert other.metrics[name] == pytest.approx(value, rel=tolerance), name
        assert any(other.metrics[name] != value for name, value in full.metrics.items())
        weights = saved(other)["state_dict"]
        assert {v.dtype for k, v in weights.items() if k.startswith("model.")} == {dtype}


def test_a_diverging_run_says_what_to_do_and_keeps_its_folder(launch, tmp_path):
    overrides = ["optim=sgd", "optim.lr=1e30", "trainer.gradient_clip_val=null", "cell=rnn"]
    overrides += ["cell.nonlinearity=relu", "trainer.max_bad_steps=2"]
    message = r"update \d+ is not finite and trainer.max_bad_steps=2: .*; a lower optim.lr, "
    with pytest.raises(TrainingError, match=message):
        launch("adding", *overrides, "trainer.max_epochs=20")
    assert (tmp_path / "runs" / "run" / "config.yaml").is_file()


@pytest.mark.parametrize("data", ["adding", "dates"])
def test_a_run_that_is_out_of_time_before_its_first_validation_still_tests(
    launch, data, monkeypatch
):
    step = SequenceModule.training_step

    def slow(self, batch, batch_idx):
        time.sleep(0.55)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(SequenceModule, "training_step", slow)
    result = launch(data, "trainer.max_time=00:00:00:01", "trainer.max_epochs=500")
    assert saved(result)["global_step"] == 2  # of four in an epoch
    assert {"val/loss", "test/loss"} <= set(result.metrics)
    assert math.isfinite(result.monitored)


def test_without_callbacks_the_last_weights_are_tested(launch):
    worse = ["optim=sgd", "optim.lr=1.0", "scheduler=none", "trainer.max_epochs=4"]
    worse += ["trainer.gradient_clip_val=null"]
    kept = launch("adding", *worse, folder="kept")
    last = launch("adding", *worse, "callbacks=none", folder="last")
    assert not (last.output_dir / "checkpoints").exists()
    assert "last epoch: 4 " in last.summary
    validations = [value for _, value in history_of(kept)["val/mse"]]
    assert min(validations) != validations[-1]  # so that best and last differ
    assert kept.metrics["best/val/mse"] == kept.monitored == min(validations)
    assert json.loads((kept.output_dir / "metrics.json").read_text()) == kept.metrics
    assert kept.metrics["val/mse"] == validations[-1]
    assert last.metrics["val/mse"] == last.monitored == validations[-1] > kept.monitored
    assert not [name for name in last.metrics if name.startswith("best/")]
    assert kept.metrics["test/mse"] != last.metrics["test/mse"]


@pytest.mark.parametrize("overrides", [["trainer.max_steps=6"], ["trainer.max_steps=2"]])
def test_what_max_steps_leaves_is_validated_before_it_is_tested(launch, overrides):
    plain = ["optim=sgd", "optim.lr=0.05", "scheduler=none"]  # each update is better
    result = launch("adding", *plain, *overrides)
    step = int(overrides[0].partition("=")[2])
    assert saved(result, "best")["global_step"] == saved(result)["global_step"] == step
    assert f"best epoch: {1 + step // 4} " in result.summary
    again = launch("adding", *plain, *overrides, "trainer.val_check_interval=1", folder="again")
    assert result.metrics == pytest.approx(again.metrics)


def test_training_stops_early_when_nothing_gets_better(launch):
    still = ["optim=sgd", "optim.lr=1e-30", "callbacks.early_stopping.patience=2"]
    result = launch("adding", *still, "trainer.max_epochs=50")
    assert saved(result)["global_step"] == 3 * 4  # two more after the first
    assert "best epoch: 3 " in result.summary  # all were equal


def test_debugging_sees_a_few_batches_of_one_epoch(launch):
    settings = ["trainer.accelerator=cpu", "trainer.enable_progress_bar=false"]
    result = launch("adding", "data.batch_size=4", "trainer=debug", *settings)
    assert saved(result)["global_step"] == 5
    assert saved(result)["epoch"] == 0


def test_teacher_forcing_and_label_smoothing_reach_the_training(launch):
    plain = launch("dates", *QUICK, folder="plain")
    for number, override in enumerate(
        ["architecture.teacher_forcing=0.0", "task.label_smoothing=0.3", "optim.weight_decay=0.5"]
    ):
        other = launch("dates", *QUICK, override, folder=f"other{number}")
        assert other.metrics["val/loss"] != plain.metrics["val/loss"], override


@pytest.mark.gpu
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_a_gpu_gives_the_numbers_of_the_cpu(launch, cell, monkeypatch):
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    overrides = [f"cell={cell}", "bidirectional=true", *QUICK]
    on_cpu = launch("adding", *overrides, folder="cpu")
    on_gpu = launch("adding", *overrides, "trainer.accelerator=gpu", folder="gpu")
    for name, value in on_cpu.metrics.items():
        assert on_gpu.metrics[name] == pytest.approx(value, rel=1e-5), name


def test_batches_by_tokens_train_on_the_same_examples(tmp_path):
    typed = ["data=dates", "data.source.train=60", "data.source.valid=10", "data.source.test=10"]
    typed += ["hidden_size=8", "logger=none", "data.batch_tokens=120", "trainer.max_epochs=2"]
    typed += ["preflight=none", "diagnostics=none", "architecture.attention=none"]
    typed += ["trainer.accelerator=cpu", "trainer.enable_progress_bar=false"]
    cfg, choices = compose(typed)
    result = run(cfg, Launch(tmp_path / "run", tmp_path, choices, tuple(typed)))
    data = build_data(cfg)
    sizes = [len(batch) for batch in data.loader("train")]
    assert sum(sizes) == 60
    assert max(sizes) * 10 <= 120
    assert saved(result)["global_step"] == 2 * len(sizes)
