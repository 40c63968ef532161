"""Weights of the batches of one update: every real step counts the same in any division.

An update may use several batches (`trainer.accumulate_grad_batches`) in several processes. Their
losses are means over different numbers of steps, so the mean of their gradients, which Lightning
and DistributedDataParallel take, would give the steps of a small batch more weight.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from seqpipe.data.base import SequenceBatch
from seqpipe.nn.penalties import Penalty
from seqpipe.nn.precision import widest
from seqpipe.tasks.base import Task


class Accumulation:
    """Keeps the accumulated gradient equal to that of the mean over all steps seen so far.

    Such a gradient is never larger than that of one batch, for any number of steps, so half
    precision neither overflows nor underflows. With one batch per update nothing changes.
    """

    def __init__(self) -> None:
        self._seen: Tensor | None = None  # counted by this process in the present update

    def start(self) -> None:
        """Start an update with the next batch."""
        self._seen = None

    def weighted(
        self,
        loss: Tensor,
        units: Tensor,
        parameters: Iterable[nn.Parameter],
        *,
        over_processes: tuple[int, Callable[[Tensor], Tensor]] | None,
    ) -> Tensor:
        """Scale the gradients accumulated so far; return the loss, scaled to be added to them.

        Args:
            loss: mean over `units`, a scalar.
            units: number of steps or examples of that mean.
            parameters: with the accumulated gradients.
            over_processes: for the last batch of an update in several processes, which then average
                their gradients: the number of processes, and a function that sums a number over
                them. None: only the count of this process is known.
        """
        units = units.detach().to(widest(units.device))
        before, self._seen = self._seen, units if self._seen is None else self._seen + units
        if before is None and over_processes is None:
            return loss
        if over_processes is None:
            each = self._seen
        else:
            processes, added_up = over_processes
            each = added_up(self._seen.clone()) / processes  # mean over processes
        if before is not None:
            held = [p.grad for p in parameters if p.grad is not None]
            if held:
                torch._foreach_mul_(held, _share(before, each))
        return loss * _share(units, each).to(loss.dtype)


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """Return part / whole; 0 if the whole is 0."""
    return torch.where(whole > 0, part / whole.clamp(min=1e-30), 0.0)


def penalty_of(parts: Iterable[nn.Module], task: Task, batch: SequenceBatch) -> Tensor | None:
    """The penalties of what a model put out for a batch, to be added to its loss; None: none.

    Each sequence has a penalty of its own, and counts in their mean as much as it does in the loss.
    So the gradient of an update does not depend on how its sequences were divided into batches.

    Args:
        parts: all modules of the model, which was just called.
        task: says how much each sequence counts.
        batch: the sequences.
    """
    found = [part.take(batch.y_lengths) for part in parts if isinstance(part, Penalty)]
    penalties = [each for each in found if each is not None]
    if not penalties:
        return None
    counts = task.unit_counts(batch).to(penalties[0].dtype)
    shares = counts / counts.sum().clamp(min=1)
    return (torch.stack(penalties).sum(0) * shares).sum()
