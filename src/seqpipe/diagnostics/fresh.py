"""The last layer of an untrained model, and what it could as well have said: drawn anew."""

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seqpipe.diagnostics.subject import Subject
from seqpipe.nn.crf import CRFHead

DRAWN, FEWEST, WORK = 1000, 10, 2e10
"""Layers drawn; of large ones fewer, as many as stay under that many multiplications."""
DRAWN_BELOW_A_CRF = 100
"""Likewise: each goes through its time steps one by one."""


class Last(NamedTuple):
    """The linear layer whose word is the model's answer.

    Args:
        layer: of the model.
        read: (..., D), what it read.
        potentials: from what a layer says to what a CRF answers; None where there is none.
    """

    layer: nn.Linear
    read: Tensor
    potentials: Callable[[Tensor], Tensor] | None = None

    @property
    def length(self) -> float:
        """Of its weights, as a share of what torch draws.

        K rows of D weights, each uniform in -1/sqrt(D)..1/sqrt(D), have a squared length of K/3 on
        average and of K at most: a fresh layer never has more than sqrt(3) = 1.73 here.
        """
        return float(self.layer.weight.detach().norm()) / math.sqrt(self.layer.out_features / 3)


def last_layer(subject: Subject) -> Last | None:
    """None where what the model answers is not what one linear layer says, or a CRF of it."""
    said: list[tuple[Last, Tensor]] = []

    def keep(layer: Any, args: tuple[Any, ...], output: Tensor) -> None:
        said.append((Last(layer, args[0]), output))

    def keep_crf(head: Any, args: tuple[Any, ...], output: Tensor) -> None:
        last = said[-1][0]
        assert last.layer is head.output, "the last to speak below a CRF"
        potentials = partial(head.potentials, lengths=args[1])
        said.append((last._replace(potentials=potentials), output))

    parts = list(subject.model.modules())
    hooks = [part.register_forward_hook(keep) for part in parts if type(part) is nn.Linear]
    hooks += [part.register_forward_hook(keep_crf) for part in parts if isinstance(part, CRFHead)]
    try:
        answer = subject.answer(subject.batch)
    finally:
        for hook in hooks:
            hook.remove()
    return next((last for last, output in reversed(said) if output is answer), None)


@torch.no_grad()
def losses_of_fresh(subject: Subject, last: Last) -> list[float]:
    """First losses of the same model below other last layers, drawn as torch draws them.

    Where the model's own was drawn so, each of the n + 1 losses is as likely as any other to be
    the largest or the smallest. So a healthy model lies outside the n others in two of n + 1
    cases, whatever its cell, its width and its task: 0.2 % for 1,000.
    """
    cost = last.read.numel() * last.layer.out_features
    most = DRAWN if last.potentials is None else DRAWN_BELOW_A_CRF
    count = int(min(most, max(FEWEST, WORK // cost)))
    other, losses = copy.deepcopy(last.layer), []
    torch.manual_seed(0)
    for _ in range(count):
        other.reset_parameters()
        said = other(last.read)
        answer = said if last.potentials is None else last.potentials(said)
        losses.append(subject.loss(answer, subject.batch))
    return losses
