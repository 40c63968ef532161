"""Noise on the weights: the gradient is taken at noisy weights, the update made from clean ones."""

import pytest
import torch
from pytorch_lightning import Callback

from seqpipe.training.weight_noise import WeightNoise


def flat(parameters):
    return torch.nn.utils.parameters_to_vector(parameters).detach().clone()


class Seen(Callback):
    """The weights that each batch was answered with, in training and validation."""

    def __init__(self, module):
        self.training, self.validation = [], []
        module.model.register_forward_pre_hook(self.note)

    def note(self, model, arguments):
        (self.training if model.training else self.validation).append(flat(model.parameters()))


def gradient_at(weights, x, y):
    """That of the mean of (w x + b - y)^2 at (w, b), by hand."""
    wrong = x @ weights[:2] + weights[2] - y.squeeze(1)
    return torch.cat([2 * (wrong[:, None] * x).mean(dim=0), 2 * wrong.mean()[None]])


def test_each_update_is_a_step_from_clean_weights_along_the_gradient_at_noisy_ones(
    module, trainer, loader, watch
):
    trained = module()
    seen = Seen(trained)
    trainer(WeightNoise(0.1, seed=3), max_epochs=2).fit(trained, loader(), loader())
    clean = watch.weights
    for n, batch in enumerate(watch.batches):
        wanted = clean[n] - 0.1 * gradient_at(seen.training[n], batch.x, batch.y)
        torch.testing.assert_close(clean[n + 1], wanted)
    noise = torch.stack([seen.training[n] - clean[n] for n in range(8)])
    assert noise.ne(0).all()  # of each weight and of the bias, in each update
    assert 0.05 < noise.std() < 0.2
    for validated in seen.validation[:4]:
        assert torch.equal(validated, clean[4])


def test_the_noise_has_its_deviation(module, trainer, loader, watch):
    trained = module(scale=0.0)
    trained.model.linear = torch.nn.Linear(2, 1)
    trained.model.more = torch.nn.Parameter(torch.ones(40_000))
    noise = WeightNoise(0.075, seed=0)
    seen = Seen(trained)
    run = trainer(noise, max_epochs=1, limit_train_batches=1, limit_val_batches=0)
    run.fit(trained, loader(), loader())
    drawn = seen.training[0] - flat(trained.model.parameters())
    assert drawn.mean().item() == pytest.approx(0, abs=0.002)
    assert drawn.std().item() == pytest.approx(0.075, rel=0.02)


def test_all_batches_of_an_update_have_the_same_noise(module, trainer, loader, watch):
    trained = module()
    seen = Seen(trained)
    run = trainer(
        WeightNoise(0.1, seed=0), max_epochs=1, accumulate_grad_batches=2, val_check_interval=1
    )
    run.fit(trained, loader(), loader())
    assert torch.equal(seen.training[0], seen.training[1])
    noise = [seen.training[n] - watch.weights[n] for n in (1, 2)]
    assert not torch.allclose(*noise)
    torch.testing.assert_close(seen.validation[0], watch.weights[0], rtol=0, atol=0)


def test_the_noise_depends_on_seed_and_update_and_takes_no_other_random_number(
    module, trainer, loader, watch
):
    noisy = []
    for seed in (1, 1, 2):
        trained = module()
        seen = Seen(trained)
        torch.manual_seed(5)
        run = trainer(WeightNoise(0.1, seed=seed), max_epochs=1, enable_checkpointing=False)
        run.fit(trained, loader(), loader())
        noisy.append(torch.stack(seen.training))
        drawn = torch.rand(1)
        torch.manual_seed(5)
        assert torch.equal(drawn, torch.rand(1))
    assert torch.equal(noisy[0], noisy[1])
    assert not torch.allclose(noisy[0], noisy[2])


def test_an_update_that_is_not_finite_is_examined_with_its_noise(
    module, trainer, loader, watch, tmp_path
):
    trained = module()

    def overflow(model, arguments, outputs):  # only noise makes the first weight larger than 0
        return outputs * (torch.inf if model.linear.weight[0, 0] > 0 else 1.0)

    trained.model.register_forward_hook(overflow)
    seen = Seen(trained)
    run = trainer(WeightNoise(1e-3, seed=0), max_epochs=1, limit_val_batches=0)
    trained.make_optimizer = lambda parameters: torch.optim.SGD(parameters, lr=1e-12)
    run.fit(trained, loader(), loader())
    assert 0 < trained.bad_steps.count < 4
    for kept in (tmp_path / "bad_steps").iterdir():
        saved = torch.load(kept, weights_only=True)
        assert saved["model"]["linear.weight"][0, 0] > 0
        assert "again" not in saved["text"]
    assert len(seen.training) > 4  # they were run again


def test_frozen_weights_stay_as_they_are(module, trainer, loader, watch):
    trained = module()
    trained.model.linear.bias.requires_grad_(requires_grad=False)
    seen = Seen(trained)
    trainer(WeightNoise(0.1, seed=0), max_epochs=1).fit(trained, loader(), loader())
    assert all(weights[2] == 0 for weights in seen.training)
