"""A diagnostic of one's own: the norm of all weights, before and after the training."""

import torch
from pytorch_lightning import Callback

from seqpipe.report.findings import Finding, Observer


class WeightNorm(Callback, Observer):
    """Measures the weights after each epoch of training."""

    def __init__(self):
        self.norms = []

    def on_train_start(self, trainer, module):
        self.measure(module)

    def on_train_epoch_end(self, trainer, module):
        self.measure(module)

    def measure(self, module):
        norms = [parameter.detach().norm() for parameter in module.parameters()]
        self.norms.append(torch.stack(norms).norm().item())

    def findings(self, folder, title):
        first, last = self.norms[0], self.norms[-1]
        return (Finding("Weights", f"Their norm went from {first:.4g} to {last:.4g}."),)

    def scalars(self):
        return {"weights/norm": self.norms[-1]}
