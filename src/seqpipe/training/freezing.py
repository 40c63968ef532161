"""Parts of a model that are not trained: their weights stay as they are."""

from collections.abc import Sequence
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn

from seqpipe.errors import ConfigError
from seqpipe.models.parts import parameters_of
from seqpipe.nn.weight_decay import NORMS
from seqpipe.rules import refusal

KEY = "freeze"


def freeze(model: nn.Module, patterns: str | Sequence[str]) -> None:
    """Freeze the parameters of some parts of a model.

    They get no gradient, and no optimizer, weight decay or noise changes them. The gradient still
    flows through them to what is trained below.

    Args:
        model: before its optimizer is made.
        patterns: see `seqpipe.models.parts.names`.

    Raises:
        ConfigError: a pattern fits no part, or nothing is left to train.
    """
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    for parameter in parameters_of(model, patterns, KEY).values():
        parameter.requires_grad_(False)
    if patterns and not any(parameter.requires_grad for parameter in model.parameters()):
        text = "every part of the model is frozen, so nothing is left to train"
        raise ConfigError(refusal(KEY, patterns, text, "fewer parts"))


def trained_count(model: nn.Module) -> int:
    """Return the number of parameters that are trained; a shared one counts once."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


class FrozenStatistics(Callback):
    """Keeps frozen normalisations in eval mode: their running statistics are weights, too.

    A normalisation is frozen if all of its parameters are. Dropout is not: what is trained above
    frozen parts learns with it.
    """

    @staticmethod
    def of(model: nn.Module) -> list[nn.Module]:
        """List the frozen normalisations of a model that have running statistics."""
        return [
            part
            for part in model.modules()
            if isinstance(part, NORMS)
            and getattr(part, "running_mean", None) is not None
            and (parameters := [*part.parameters()])
            and not any(parameter.requires_grad for parameter in parameters)
        ]

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Puts them in eval mode: Lightning sets the mode of all parts at once."""
        for part in self.of(pl_module):
            part.eval()
