"""Losses: what they go over, what label smoothing does, and what a task refuses."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from seqpipe.data.base import FieldSpec
from seqpipe.errors import ConfigError
from seqpipe.tasks.base import Task
from seqpipe.tasks.classification import Classification
from seqpipe.tasks.language_modeling import LanguageModeling
from seqpipe.tasks.multi_label import MultiLabel
from seqpipe.tasks.ordinal import Ordinal
from seqpipe.tasks.regression import Regression
from seqpipe.tasks.tagging import Tagging
from seqpipe.tasks.transcription import Transcription
from seqpipe.tasks.transduction import Transduction

SYMBOLS = FieldSpec("symbols", 5, unit="characters")
STEP_TASKS = {
    "tagging": lambda **options: Tagging(y=FieldSpec("tags", 5), **options),
    "language_modeling": lambda **options: LanguageModeling(y=SYMBOLS, **options),
    "transduction": lambda **options: Transduction(y=SYMBOLS, longest_y=6, **options),
}
TASKS = {
    "classification": lambda **options: Classification(y=FieldSpec("category", 5), **options),
    "regression": lambda **options: Regression(y=FieldSpec("number", 1), **options),
    "ordinal": lambda **options: Ordinal(y=FieldSpec("ordinal", 5), **options),
    "transcription": lambda **options: Transcription(y=SYMBOLS, **options),
    "multi_label": lambda **options: MultiLabel(y=FieldSpec("roll", 5), **options),
    **STEP_TASKS,
}


@pytest.fixture
def steps(batch_of):
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(0, 5, (4, 6), generator=generator)
    return torch.randn(4, 6, 5, generator=generator), batch_of(y, [6, 1, 4, 2])


def test_a_task_that_counts_other_units_has_losses_in_them(batch_of):
    """`units` alone may be overridden; the loss of each example is weighted by it."""

    class EverySecond(Classification):
        losses = Task.losses  # one by one

        def units(self, batch):
            return (batch.y % 2 == 0).sum()

        def loss(self, outputs, batch, *, training):
            even = batch.y % 2 == 0
            entropies = nn.functional.cross_entropy(outputs, batch.y, reduction="none")
            return entropies[even].sum() / even.sum().clamp(min=1)

    task, batch = EverySecond(y=FieldSpec("category", 5)), batch_of([0, 1, 4, 3])
    outputs = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    losses, units = task.losses(outputs, batch)
    assert units.tolist() == [1, 0, 1, 0]
    whole = task.loss(outputs, batch, training=False)
    assert (losses.sum() / units.sum()).item() == pytest.approx(whole.item())


@pytest.mark.parametrize("name", STEP_TASKS)
def test_the_loss_of_a_step_task_is_the_mean_over_real_steps(name, steps):
    logits, batch = steps
    task = STEP_TASKS[name]()
    log_p = logits.log_softmax(dim=-1)
    real = [(b, t) for b, n in enumerate([6, 1, 4, 2]) for t in range(n)]
    wanted = -sum(log_p[b, t, batch.y[b, t]] for b, t in real) / len(real)
    assert task.loss(logits, batch, training=False).item() == pytest.approx(wanted.item())
    assert task.units(batch).item() == 13


def test_the_loss_of_a_classification_is_the_mean_over_examples(batch_of):
    logits, y = torch.randn(7, 5, generator=torch.Generator().manual_seed(1)), [0, 1, 2, 3, 4, 0, 1]
    task = TASKS["classification"]()
    wanted = -logits.log_softmax(dim=-1)[range(7), y].mean()
    batch = batch_of(y)
    assert task.loss(logits, batch, training=False).item() == pytest.approx(wanted.item())
    assert task.units(batch).item() == 7


@pytest.mark.parametrize("name", [*STEP_TASKS, "classification"])
def test_label_smoothing_changes_the_training_loss_only(name, steps, batch_of):
    logits, batch = steps
    if name == "classification":
        logits, batch = logits[:, 0], batch_of(batch.y[:, 0])
    plain, smooth = TASKS[name](), TASKS[name](label_smoothing=0.2)
    evaluated = plain.loss(logits, batch, training=False)
    assert plain.loss(logits, batch, training=True) == evaluated
    assert smooth.loss(logits, batch, training=False) == evaluated
    log_p = logits.log_softmax(dim=-1)
    if name != "classification":
        log_p = log_p[plain.mask(batch)]
    wanted = 0.8 * evaluated - 0.2 * log_p.mean()  # a fifth of the mass on all five alike
    assert wanted != pytest.approx(evaluated.item(), rel=1e-3)
    assert smooth.loss(logits, batch, training=True).item() == pytest.approx(wanted.item())


def test_smoothed_labels_are_half_there_and_half_not(steps):
    logits, batch = steps
    batch = replace(batch, y=torch.randint(0, 2, logits.shape).to(torch.uint8))
    plain, smooth = TASKS["multi_label"](), TASKS["multi_label"](label_smoothing=0.2)
    evaluated = plain.loss(logits, batch, training=False)
    assert plain.loss(logits, batch, training=True) == evaluated
    assert smooth.loss(logits, batch, training=False) == evaluated
    p, there = logits.sigmoid(), batch.y * 0.8 + 0.1
    each = -(there * p.log() + (1 - there) * (1 - p).log()).sum(dim=-1)
    wanted = each[plain.mask(batch)].mean()
    assert wanted != pytest.approx(evaluated.item(), rel=1e-3)
    assert smooth.loss(logits, batch, training=True).item() == pytest.approx(wanted.item())


def test_smoothing_spreads_mass_over_all_ordered_classes(batch_of):
    outputs = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    batch = batch_of([0, 4, 2])
    plain, smooth = TASKS["ordinal"](), TASKS["ordinal"](label_smoothing=0.2)
    evaluated = plain.loss(outputs, batch, training=False)
    assert smooth.loss(outputs, batch, training=False) == evaluated
    log_p = plain.probabilities(outputs, batch).log()
    wanted = 0.8 * evaluated - 0.2 * log_p.mean()
    assert wanted != pytest.approx(evaluated.item(), rel=1e-3)
    assert smooth.loss(outputs, batch, training=True).item() == pytest.approx(wanted.item())
    weighted = Ordinal(
        y=FieldSpec("ordinal", 5, counts=np.array([1, 2, 1, 1, 3])),
        class_weights="balanced",
        label_smoothing=0.2,
    )
    each = 0.8 * log_p[range(3), batch.y] + 0.2 * log_p.mean(dim=1)
    wanted = -(each * weighted.weights[batch.y]).mean()
    assert weighted.loss(outputs, batch, training=True).item() == pytest.approx(wanted.item())


def test_losses_are_float32_whatever_the_model_computes_in(steps):
    logits, batch = steps
    loss = TASKS["tagging"]().loss(logits.bfloat16(), batch, training=True)
    assert loss.dtype == torch.float32
    wanted = nn.functional.cross_entropy(
        logits.bfloat16().float()[TASKS["tagging"]().mask(batch)],
        batch.y[TASKS["tagging"]().mask(batch)],
    )
    assert loss == wanted


@pytest.mark.parametrize("name", TASKS)
def test_a_monitor_that_the_task_has_not_is_refused_with_those_it_has(name):
    task = TASKS[name]()
    with pytest.raises(ConfigError) as refused:
        TASKS[name](monitor="val/f1", mode="max")
    known = ", ".join(f"val/{metric}" for metric in task.metric_names())
    assert str(refused.value).startswith(f"task.monitor=val/f1: no such metric; allowed: {known}")


@pytest.mark.parametrize("name", TASKS)
def test_every_metric_can_be_monitored_one_way_and_not_the_other(name):
    for metric in TASKS[name]().metric_names():
        low = ("loss", "mse", "mae", "perplexity", "bits_per_character", "error_rate")
        better = "min" if metric in low else "max"
        worse = {"max": "min", "min": "max"}[better]
        assert TASKS[name](monitor=f"val/{metric}", mode=better).mode == better
        with pytest.raises(ConfigError) as refused:
            TASKS[name](monitor=f"val/{metric}", mode=worse)
        assert str(refused.value) == (
            f"task.mode={worse}: would treat a worse val/{metric} as better;"
            f" allowed: task.mode={better}"
        )


@pytest.mark.parametrize("name", TASKS)
def test_a_task_refuses_another_kind_of_y(name):
    other = FieldSpec("tags" if name != "tagging" else "symbols", 5)
    kind = type(TASKS[name]())
    sizes = {"longest_y": 3} if name == "transduction" else {}
    with pytest.raises(
        ConfigError, match=f"task={name}: y is of kind {other.kind}; allowed: a y of kind"
    ):
        kind(y=other, **sizes)


@pytest.mark.parametrize("shape", [(5, 2), (4, 6, 2)])
def test_the_absolute_loss_is_least_at_the_median(shape, batch_of):
    """Of each number on its own; steps after the end of a sequence are left out."""
    y = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    batch = batch_of(y, None if len(shape) == 2 else [6, 1, 4, 2])
    real = y if batch.y_lengths is None else y[Task.mask(batch)]
    kind = "number" if len(shape) == 2 else "values"
    absolute = Regression(y=FieldSpec(kind, 2), loss="absolute")
    squared = Regression(y=FieldSpec(kind, 2))
    for task, best in ((absolute, real.median(dim=0).values), (squared, real.mean(dim=0))):
        constant = best.expand(shape)
        least = task.loss(constant, batch, training=True)
        wanted = (real - best).abs() if task is absolute else (real - best) ** 2
        assert least.item() == pytest.approx(wanted.mean().item(), rel=1e-5)
        sums, units = task.losses(constant, batch)
        assert (sums.sum() / units.sum()).item() == pytest.approx(least.item(), rel=1e-5)
        for step in (-0.5, 0.5):
            assert task.loss(constant + step, batch, training=True) > least
