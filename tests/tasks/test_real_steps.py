"""Losses over real steps as a GPU computes them, which waits for no number, and as a CPU does."""

import pytest
import torch
from torch.testing import assert_close

from seqpipe.data.base import FieldSpec, SequenceBatch
from seqpipe.tasks import class_weights, real_steps
from seqpipe.tasks.metrics import Accuracy
from seqpipe.tasks.multi_label import MultiLabel
from seqpipe.tasks.regression import Regression
from seqpipe.tasks.tagging import Tagging

B, T, K = 3, 5, 4
LENGTHS = torch.tensor([5, 1, 3])
COUNTS = torch.tensor([5, 1, 2, 9])
TASKS = {
    "tagging": Tagging(y=FieldSpec("tags", K)),
    "weighted": Tagging(
        y=FieldSpec("tags", K, counts=COUNTS), class_weights="balanced", label_smoothing=0.1
    ),
    "roll": MultiLabel(y=FieldSpec("roll", K)),
    "values": Regression(y=FieldSpec("values", K)),
}


@pytest.mark.parametrize("name", TASKS)
def test_a_gpu_has_the_loss_and_gradient_of_a_cpu_whatever_padding_holds(name, monkeypatch):
    torch.manual_seed(0)
    y = torch.randint(0, K, (B, T)) if name in ("tagging", "weighted") else torch.rand(B, T, K)
    batch = SequenceBatch(None, None, y, LENGTHS, torch.arange(B))
    padding = torch.arange(T) >= LENGTHS.unsqueeze(1)

    def found():
        outputs = torch.randn(B, T, K, generator=torch.Generator().manual_seed(1))
        outputs[padding] = torch.nan
        outputs.requires_grad_()
        loss = TASKS[name].loss(outputs, batch, training=True)
        return loss.detach(), *torch.autograd.grad(loss, outputs)

    of_cpu = found()
    for module in (real_steps, class_weights):
        monkeypatch.setattr(module, "taken_out", lambda mask: False)
    of_gpu = found()
    assert_close(of_gpu, of_cpu)
    assert of_gpu[1][padding].eq(0).all()
    assert of_cpu[0].isfinite()


@pytest.mark.parametrize("ignored", [None, -1])
def test_accuracy_counts_what_torchmetrics_counts(ignored):
    torch.manual_seed(0)
    ours = Accuracy(K, average="micro", validate_args=False, ignore_index=ignored)
    theirs = super(Accuracy, ours)
    for _ in range(2):
        predictions, truths = torch.randint(0, K, (2, B, T))
        if ignored is not None:
            truths[torch.arange(T) >= LENGTHS.unsqueeze(1)] = ignored
        ours.update(predictions, truths)
        given = {name: getattr(ours, name).clone() for name in ("tp", "fp", "tn", "fn")}
        theirs.update(predictions, truths)
        twice = {name: getattr(ours, name) for name in given}
        assert {name: 2 * value for name, value in given.items()} == twice
        ours.reset()
