"""Gaussian noise on the weights while the gradient of an update is computed."""

import contextlib
import functools
import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from seqpipe.training.module import SequenceModule
from seqpipe.training.nonfinite_guard import BadSteps


class WeightNoise(Callback):
    """Adds noise N(0, std^2) to all trained parameters of the model, biases included.

    It is drawn once for each update, the same for all its batches and in all processes. The
    gradient is taken at the noisy weights; the optimizer, gradient statistics, validation and
    checkpoints see the weights without it. The noise is a function of the seed and the number of
    the update, so it takes nothing from other random numbers, and a resumed training has the same.

    Args:
        std: standard deviation.
        seed: of the run.

    Source: Jim, Giles & Horne (1996); Graves (2011), section 5, and Chung et al. (2014), section
    4.2, where it is 0.075.
    """

    def __init__(self, std: float, seed: int) -> None:
        self.std, self.seed = std, seed
        self._clean: list[Tensor] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lets an update that is not finite be examined with its noise."""
        _guard(pl_module).with_weights = functools.partial(self._noisy, trainer, pl_module)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Adds the noise of the update."""
        self._add(trainer, pl_module)

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts the weights back, bit for bit."""
        self._remove(pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leaves the module as it was."""
        self._remove(pl_module)
        _guard(pl_module).with_weights = contextlib.nullcontext

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Leaves the module as it was."""
        self.on_train_end(trainer, pl_module)

    @torch.no_grad()
    def _add(self, trainer: Trainer, pl_module: LightningModule) -> None:
        weights = _trained(pl_module)
        text = f"weight noise {self.seed} {trainer.global_step}"
        number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")
        generator = torch.Generator(pl_module.device).manual_seed(number)
        self._clean = [part.clone() for part in weights]
        noise = [torch.empty_like(part).normal_(generator=generator) for part in weights]
        torch._foreach_add_(weights, noise, alpha=self.std)

    @torch.no_grad()
    def _remove(self, pl_module: LightningModule) -> None:
        if self._clean:
            torch._foreach_copy_(_trained(pl_module), self._clean)
        self._clean = []

    @contextlib.contextmanager
    def _noisy(self, trainer: Trainer, pl_module: LightningModule) -> Iterator[None]:
        self._add(trainer, pl_module)
        try:
            yield
        finally:
            self._remove(pl_module)


def _guard(pl_module: LightningModule) -> BadSteps:
    assert isinstance(pl_module, SequenceModule)
    return pl_module.bad_steps


def _trained(pl_module: LightningModule) -> list[Tensor]:
    assert isinstance(pl_module, SequenceModule)
    return [part for part in pl_module.model.parameters() if part.requires_grad]
