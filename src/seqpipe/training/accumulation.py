"""How the batches of one update are weighted: every real step counts the same, however cut.

An update may be made of several batches (`trainer.accumulate_grad_batches`) in several processes.
Their mean losses go over different numbers of steps, so the mean of their gradients, which is what
Lightning and DistributedDataParallel take, would give the steps of a small batch more weight.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from seqpipe.nn.precision import widest


class Accumulation:
    """Keeps the gradient of an update at the mean over all that its loss counts so far.

    A gradient held so is never larger than that of a batch, whatever the number of steps: half
    precision neither overflows nor underflows by it. With one batch an update nothing is changed.
    """

    def __init__(self) -> None:
        self._seen: Tensor | None = None  # what this process has counted in the present update

    def start(self) -> None:
        """The next batch is the first of an update."""
        self._seen = None

    def weighted(
        self,
        loss: Tensor,
        units: Tensor,
        parameters: Iterable[nn.Parameter],
        *,
        over_processes: tuple[int, Callable[[Tensor], Tensor]] | None,
    ) -> Tensor:
        """Scales the gradients held so far, and returns the loss, scaled to be added to them.

        Args:
            loss: mean over `units`, a scalar.
            units: how many things it goes over.
            parameters: whose gradients are added up.
            over_processes: at the last batch of an update in several processes, which then take
                the mean of their gradients: how many there are, and what adds a number up over
                them; None: only what this process has counted is known.
        """
        units = units.detach().to(widest(units.device))
        before, self._seen = self._seen, units if self._seen is None else self._seen + units
        if before is None and over_processes is None:
            return loss
        if over_processes is None:
            each = self._seen
        else:
            processes, added_up = over_processes
            each = added_up(self._seen.clone()) / processes  # counted by a process on average
        if before is not None:
            held = [p.grad for p in parameters if p.grad is not None]
            if held:
                torch._foreach_mul_(held, _share(before, each))
        return loss * _share(units, each).to(loss.dtype)


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """Part / whole; 0 of nothing."""
    return torch.where(whole > 0, part / whole.clamp(min=1e-30), 0.0)
