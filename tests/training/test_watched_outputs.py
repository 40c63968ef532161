"""Outputs that somebody may read after the loss are not overwritten by their gradient."""

import pytest
import torch
from torch import nn
from torchmetrics.classification import MulticlassAccuracy

from seqpipe.data.base import FieldSpec, SequenceBatch
from seqpipe.nn import cross_entropy
from seqpipe.tasks.language_modeling import LanguageModeling
from seqpipe.training.module import SequenceModule
from seqpipe.training.schedules import constant

K = 9
Y = FieldSpec("symbols", K, unit="words")


class Scores(nn.Module):
    """The same logits for every batch of its size, by one product."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(5, K)
        self.x = torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(0))

    def forward(self, x, x_lengths, y, y_lengths):
        return self.head(self.x)


class Watching(LanguageModeling):
    """A task with a metric of the training that keeps the logits themselves."""

    def predict(self, model, outputs, batch):
        return outputs.detach()

    def pairs(self, predictions, batch):
        return predictions.flatten(0, 1), batch.y.flatten()

    def metrics(self, stage):
        return {"top3": MulticlassAccuracy(K, top_k=3, average="micro")}


@pytest.fixture
def batch():
    y = torch.randint(0, K, (4, 6), generator=torch.Generator().manual_seed(1))
    return SequenceBatch(None, None, y, torch.full((4,), 6), torch.arange(4))


def step(monkeypatch, task, batch, hook=None):
    """What a training step counts, and the module after it."""
    monkeypatch.setattr(cross_entropy, "LARGE", 1)
    torch.manual_seed(0)
    module = SequenceModule(Scores(), task, torch.optim.SGD, constant, {})
    if hook is not None:
        module.model.head.register_forward_hook(hook)
    _, counted = module._run(batch, "train")
    return module, counted


def test_a_hook_sees_logits_whenever_it_reads_them(monkeypatch, batch):
    seen = []
    module, _ = step(
        monkeypatch, LanguageModeling(y=Y), batch, lambda *given: seen.append(given[2].detach())
    )
    assert torch.equal(seen[0], module.model(None, None, None, None))


def test_a_metric_of_the_training_counts_logits(monkeypatch, batch):
    module, counted = step(monkeypatch, Watching(y=Y), batch)
    assert torch.equal(counted.pairs[0], module.model(None, None, None, None).flatten(0, 1))


def test_where_nobody_looks_the_gradient_takes_the_place_of_the_logits(monkeypatch, batch):
    kept = []
    monkeypatch.setattr(
        "seqpipe.training.module.answer",
        lambda model, *_: kept.append(model(None, None, None, None)) or kept[0],
    )
    module, _ = step(monkeypatch, LanguageModeling(y=Y), batch)
    assert not torch.equal(kept[0], module.model(None, None, None, None))
