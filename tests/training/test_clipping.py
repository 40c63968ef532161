"""The gradient is measured, then clipped, then used."""

from functools import partial

import pytest
import torch
from pytorch_lightning.plugins.precision import MixedPrecision

from seqpipe.data.base import SequenceBatch


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=1.0)


def updates(watch):
    return [after - before for before, after in zip(watch.weights, watch.weights[1:], strict=False)]


def gradient_by_hand(weights, batch: SequenceBatch, scale):
    """Of mean((scale (w x + b) - y)^2), as (dw, db)."""
    ones = torch.cat([batch.x, torch.ones(len(batch), 1)], dim=1)
    errors = scale * (ones @ weights) - batch.y[:, 0]
    return 2 * scale * (errors.unsqueeze(1) * ones).mean(dim=0)


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_an_update_is_never_longer_than_the_norm_allows(module, trainer, loader, watch, scale):
    run = trainer(max_epochs=2, gradient_clip_val=0.5)
    run.fit(module(sgd, scale=scale), loader(), loader())
    lengths = torch.stack([update.norm() for update in updates(watch)])
    assert (lengths <= 0.5 * (1 + 1e-5)).all()
    for update, weights, batch in zip(updates(watch), watch.weights, watch.batches, strict=False):
        gradient = gradient_by_hand(weights, batch, scale)
        wanted = -gradient * min(1.0, 0.5 / gradient.norm().item())
        torch.testing.assert_close(update, wanted, rtol=1e-4, atol=1e-4)


def test_an_update_is_never_larger_than_the_value_allows(module, trainer, loader, watch):
    run = trainer(max_epochs=2, gradient_clip_val=0.5, gradient_clip_algorithm="value")
    run.fit(module(sgd), loader(), loader())
    for update, weights, batch in zip(updates(watch), watch.weights, watch.batches, strict=False):
        wanted = -gradient_by_hand(weights, batch, 1.0).clamp(-0.5, 0.5)
        torch.testing.assert_close(update, wanted, rtol=1e-4, atol=1e-5)
    assert any(update.abs().max() == 0.5 for update in updates(watch))


def test_without_a_limit_the_gradient_is_used_as_it_is(module, trainer, loader, watch):
    run = trainer(max_epochs=1)
    run.fit(module(sgd), loader(), loader())
    wanted = -gradient_by_hand(watch.weights[0], watch.batches[0], 1.0)
    torch.testing.assert_close(updates(watch)[0], wanted)
    assert "grad_norm/clipped_fraction" not in run.callback_metrics


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_the_norm_is_logged_as_it_was_before_clipping(module, trainer, loader, watch, algorithm):
    run = trainer(max_epochs=1, gradient_clip_val=0.01, gradient_clip_algorithm=algorithm)
    run.fit(module(sgd), loader(), loader())
    wanted = gradient_by_hand(watch.weights[3], watch.batches[3], 1.0).norm()
    assert wanted > 1
    assert run.callback_metrics["grad_norm/total"].item() == pytest.approx(wanted.item(), rel=1e-5)
    assert run.callback_metrics["lr"] == 1.0


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_the_clipped_fraction_counts_the_updates_that_clipping_changed(
    module, trainer, loader, watch, algorithm
):
    limit = 6.0
    run = trainer(max_epochs=3, gradient_clip_val=limit, gradient_clip_algorithm=algorithm)
    small = module(lambda parameters: torch.optim.SGD(parameters, lr=0.03))
    run.fit(small, loader(), loader())
    sizes = [
        gradient.norm() if algorithm == "norm" else gradient.abs().max()
        for weights, batch in zip(watch.weights, watch.batches, strict=False)
        for gradient in [gradient_by_hand(weights, batch, 1.0)]
    ]
    clipped = [float(size > limit) for size in sizes]
    fractions = [sum(clipped[start : start + 4]) / 4 for start in (0, 4, 8)]
    assert 0 < fractions[0] < 1  # so that a constant would be seen
    logged = [epoch["grad_norm/clipped_fraction"] for epoch in watch.epochs]
    assert logged == pytest.approx(fractions[:2])
    assert run.callback_metrics["grad_norm/clipped_fraction"].item() == fractions[2]


@pytest.mark.parametrize(("limit", "fraction"), [(1e-9, 1.0), (1e9, 0.0)])
def test_an_update_that_a_scaler_skips_is_neither_clipped_nor_counted(
    module, trainer, loader, monkeypatch, limit, fraction
):
    class Skipping(torch.optim.SGD):
        def step(self, closure):
            return closure()

    def target(x):
        y = x.sum(dim=1, keepdim=True)
        y[7] = float("inf")  # in the third of four batches
        return y

    made = module(lambda parameters: Skipping(parameters, lr=1.0))
    run = trainer(max_epochs=1, gradient_clip_val=limit)
    monkeypatch.setattr(run.precision_plugin, "scaler", object(), raising=False)
    monkeypatch.setattr(made.bad_steps, "has_bad_loss", lambda: False)
    run.fit(made, loader(target=target), loader())
    assert run.callback_metrics["grad_norm/clipped_fraction"] == fraction


def half(*, scale=2.0**8):
    """16-mixed, which Lightning itself would not allow on a CPU."""
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    return MixedPrecision("16-mixed", "cpu", scaler)


@pytest.mark.parametrize("windows", [1, 2])
@pytest.mark.parametrize("algorithm", ["norm", "value"])
@pytest.mark.parametrize("fused", [False, True])
def test_with_a_scaler_the_gradient_is_measured_and_clipped_without_its_scale(
    module, trainer, loader, watch, fused, algorithm, windows
):
    made = module(partial(torch.optim.SGD, lr=1.0, fused=fused))
    options = {"gradient_clip_val": 0.5, "gradient_clip_algorithm": algorithm}
    run = trainer(max_epochs=1, plugins=[half()], accumulate_grad_batches=windows, **options)
    run.fit(made, loader(), loader())
    assert made.bad_steps.count == 0
    for start in range(0, 4, windows):
        batches = watch.batches[start : start + windows]
        gradients = [gradient_by_hand(watch.weights[start], batch, 1.0) for batch in batches]
        gradient = torch.stack(gradients).mean(dim=0)
        wanted = -gradient.clamp(-0.5, 0.5)
        if algorithm == "norm":
            wanted = -gradient * min(1.0, 0.5 / gradient.norm().item())
        moved = watch.weights[start + windows] - watch.weights[start]
        torch.testing.assert_close(moved, wanted, rtol=2e-2, atol=2e-3)
    logged = run.callback_metrics["grad_norm/total"].item()
    assert logged == pytest.approx(gradient.norm().item(), rel=2e-2)


@pytest.mark.parametrize("optimizer", ["Adam", "AdamW", "Adagrad"])
def test_a_fused_optimizer_makes_the_steps_that_it_makes_otherwise(
    module, trainer, loader, watch, optimizer
):
    weights = []
    for fused in (False, True):
        made = module(partial(getattr(torch.optim, optimizer), lr=0.1, fused=fused))
        run = trainer(max_epochs=2, plugins=[half()], gradient_clip_val=0.5)
        run.fit(made, loader(), loader())
        weights.append(watch.weights[-1])
    assert weights[0].abs().max() > 0.1
    torch.testing.assert_close(weights[1], weights[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("windows", [1, 2])
@pytest.mark.parametrize("fused", [False, True])
def test_a_gradient_that_overflows_under_a_scaler_makes_no_step(
    module, trainer, loader, watch, fused, windows
):
    made = module(partial(torch.optim.SGD, lr=1.0, fused=fused))
    plugin = half(scale=2.0**120)
    run = trainer(max_epochs=1, plugins=[plugin], accumulate_grad_batches=windows)
    run.fit(made, loader(target=lambda x: 1e3 * x[:, :1]), loader())
    assert torch.equal(watch.weights[windows], watch.weights[0])
    assert plugin.scaler.get_scale() < 2.0**120
    assert made.bad_steps.count == 0
    assert watch.weights[-1].isfinite().all()
