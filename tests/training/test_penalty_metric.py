"""`train/penalty`: what a model adds to the training loss, apart from it."""

import pytest
import torch

from seqpipe.nn.penalties import Penalty


class OfX(Penalty):
    """Penalises each example by its first x^2, times a weight of the model."""

    def __init__(self, line):
        super().__init__()
        self.weight, self.x = (line.linear.weight,), None  # in a tuple: it is a part of the line
        line.register_forward_pre_hook(self.keep)

    def keep(self, line, arguments):
        self.x = arguments[0] if line.training else None

    def take(self, lengths):
        x, self.x = self.x, None
        return None if x is None else x[:, 0] ** 2 * (1 + self.weight[0][0, 0])


@pytest.mark.parametrize("max_steps", [-1, 2])  # an epoch, and one that is cut short
def test_it_is_a_mean_over_all_examples_and_the_loss_is_without_it(
    module, trainer, loader, max_steps
):
    trained = module(lambda parameters: torch.optim.SGD(parameters, lr=0.0))
    trained.model.penalty = OfX(trained.model)
    run = trainer(max_epochs=1, max_steps=max_steps)
    run.fit(trained, loader(n=12, batch_size=5), loader())
    batches = list(loader(n=12, batch_size=5))[: None if max_steps < 0 else max_steps]
    squares = [float(x[0]) ** 2 for batch in batches for x in batch.x]
    losses = [float(y) ** 2 for batch in batches for y in batch.y]
    metrics = {name: float(value) for name, value in run.callback_metrics.items()}
    assert metrics["train/penalty"] == pytest.approx(sum(squares) / len(squares))
    assert metrics["train/loss"] == pytest.approx(sum(losses) / len(losses))


def test_it_starts_from_nothing_in_each_epoch_and_is_added_to_the_gradient(
    module, trainer, loader, watch
):
    trained = module()
    trained.model.penalty = OfX(trained.model)
    run = trainer(max_epochs=2)
    run.fit(trained, loader(batch_size=12), loader())
    (batch, *_), (before, after, _) = watch.batches, watch.weights
    mean = float((batch.x[:, 0] ** 2).mean())
    for epoch, weights in zip(
        [watch.epochs[0], run.callback_metrics], (before, after), strict=True
    ):
        assert float(epoch["train/penalty"]) == pytest.approx(mean * (1 + float(weights[0])))
    plain = -2 * (batch.y * batch.x[:, :1]).mean()  # of the loss at w = b = 0
    assert float(after[0]) == pytest.approx(-0.1 * float(plain + mean))


def test_without_penalties_there_is_none(module, trainer, loader):
    run = trainer(max_epochs=1)
    run.fit(module(), loader(), loader())
    assert "train/penalty" not in run.callback_metrics
    assert "train/loss" in run.callback_metrics
